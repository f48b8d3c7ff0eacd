"""The live process: tracks faces and draws avatars for all sessions, so fast that a person sees themselves in a mirror.

One thread serves all sessions in turn, woken by its two pipes. What refines the avatars is another process.
"""

import logging
import math
from multiprocessing.connection import Connection, wait

import torch

from fitme.errors import FitmeError
from fitme.fit.keyframe import Keyframe
from fitme.shape.model_file import load_default_model
from fitme.track.factory import landmark_backend
from fitme.track.tracker import FrameTracker
from stream.engine.avatar_view import AvatarView
from stream.engine.live_session import LiveSession
from stream.engine.messages import (
    Close,
    Closed,
    Export,
    Exported,
    FitOpened,
    Fitted,
    FittedCorrectives,
    FrameArrived,
    Open,
    OpenFit,
    Ping,
    Ready,
    RequestRender,
    SetScene,
    Tell,
    WarmUp,
)
from stream.engine.queued_sender import QueuedSender
from stream.protocol.scene import Scene
from stream.settings import ServeSettings

logger = logging.getLogger(__name__)

TENSOR_THREADS = 1
"""Tensors here are too small to share out."""


class LiveProcess:
    """Serves one web process over a pipe until that is closed, with a fit process at its side."""

    def __init__(self, web: Connection, fit: Connection, settings: ServeSettings) -> None:
        self._web = web
        self._fit = fit
        self._to_fit = QueuedSender(fit, "fit-sender")  # the fit reads only between its rounds
        self._settings = settings
        self._model = load_default_model()
        self._sessions: dict[str, LiveSession] = {}

    def run(self) -> None:
        """Warm up, then work until a pipe closes."""
        self._warm_up()
        try:
            delay_s = math.inf
            while True:
                for connection in wait([self._web, self._fit], None if math.isinf(delay_s) else delay_s):
                    assert isinstance(connection, Connection)
                    while connection.poll():
                        self._handle(connection.recv())
                delay_s = min((session.step() for session in self._sessions.values()), default=math.inf)
        except (EOFError, BrokenPipeError, ConnectionResetError):
            logger.info("another process is gone: ending")

    def _warm_up(self) -> None:
        """Draw, encode, track and fit a head once: kernels are compiled and networks loaded."""
        view = AvatarView(self._model, self._settings.render)
        image = view.draw(Scene(), None, None, 0.0)
        view.encode(image)
        tracker = FrameTracker(self._model, backend=landmark_backend(self._settings.networks))
        observation = tracker.track(image, 0.0)
        tracker.close()
        if observation is None:
            raise FitmeError("the average head is not recognised as a face: the installation is damaged")
        self._to_fit.send(WarmUp(Keyframe("warm-up", image, observation, 0.0)))

    def _handle(self, message: object) -> None:
        match message:
            case FrameArrived():
                pass  # only wakes this process
            case RequestRender():
                if session := self._sessions.get(message.session):
                    session.request_render()
            case SetScene():
                if session := self._sessions.get(message.session):
                    session.set_scene(message.scene)
            case Fitted():
                if session := self._sessions.get(message.session):
                    session.adopt(message)
            case FittedCorrectives():
                if session := self._sessions.get(message.session):
                    session.wear(message)
            case FitOpened():
                if session := self._sessions.get(message.session):
                    session.resume(message)
            case Open():
                self._open(message)
            case Close():
                if session := self._sessions.pop(message.session, None):
                    session.close()
                self._to_fit.send(message)
            case Export():
                self._to_fit.send(message)
            case Tell() | Closed() | Exported() | Ready():
                self._web.send(message)
            case Ping():
                self._web.send(message)

    def _open(self, message: Open) -> None:
        try:
            self._sessions[message.session] = LiveSession(
                message, self._model, self._settings, self._web.send, self._to_fit.send
            )
        except FileNotFoundError:
            logger.info("a session was closed before it was opened")
            return
        self._to_fit.send(OpenFit(message.session, message.folder))


def run_live_process(web: Connection, fit: Connection, settings: ServeSettings) -> None:
    """Entry of the process."""
    torch.set_num_threads(TENSOR_THREADS)
    LiveProcess(web, fit, settings).run()
