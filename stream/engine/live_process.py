"""The live process: tracks faces and draws avatars for all sessions, at the rate of the camera.

One thread serves all sessions in turn, woken by its two pipes. The avatars are refined by the fit process.
"""

import logging
import math
from collections import Counter
from multiprocessing.connection import Connection, wait

import cv2
import torch

from fitme.errors import FitmeError
from fitme.fit.keyframe import Keyframe
from fitme.hair.strands import strand_pattern
from fitme.shape.model_file import load_default_model
from fitme.track.factory import landmark_backend
from fitme.track.tracker import FrameTracker
from stream.engine.avatar_pieces import AvatarEncoder, grey_avatar
from stream.engine.avatar_view import AvatarView
from stream.engine.freed_memory import give_back_freed_memory
from stream.engine.live_session import LiveSession
from stream.engine.messages import (
    AttachFit,
    AvatarExported,
    AvatarPieces,
    CloseSession,
    DriveAvatar,
    EngineReady,
    ExportAvatar,
    FitAlive,
    FitOpened,
    FitOpening,
    Fitted,
    FittedCorrectives,
    FittedGlasses,
    FittedHair,
    FitUnreadable,
    FitWaiting,
    FrameArrived,
    LiveAlive,
    OpenFit,
    OpenSession,
    Ping,
    RequestRender,
    SessionClosed,
    SessionEvent,
    SetScene,
    SharedPiece,
    WarmUp,
)
from stream.engine.queued_sender import QueuedSender
from stream.engine.shared_pieces import model_piece, packed_shared
from stream.protocol.avatar import Slot
from stream.protocol.events import ErrorEvent, StoredEvent
from stream.protocol.scene import Scene
from stream.settings import ServeSettings

logger = logging.getLogger(__name__)

SESSION_ERRORS = (FitmeError, RuntimeError, ValueError, ArithmeticError, LookupError, cv2.error)
"""Errors of one session that must not end the others."""
LARGEST_FAILED_OPENINGS = 2
"""Fit processes that may end while they open a session; after that, it is not opened any more."""
ERROR_PAUSE_S = 0.1
"""Before a session that has raised an error is served again."""
TENSOR_THREADS = 1
"""Tensors here are too small to share out."""


class LiveProcess:
    """Serves one web process over a pipe until that is closed, with a fit process at its side."""

    def __init__(self, web: Connection, fit: Connection, settings: ServeSettings) -> None:
        self._web = web
        self._fit: Connection | None = fit
        self._to_fit = QueuedSender(fit, "fit-sender")  # the fit reads only between its slices
        self._settings = settings
        self._model = load_default_model()
        self._sessions: dict[str, LiveSession] = {}
        self._grey_pieces: tuple[tuple[Slot, bytes], ...] = ()
        """As soon as a session has needed them."""
        self._opening: str | None = None
        """The session that the fit process is opening."""
        self._failed_openings: Counter[str] = Counter()
        """How many fit processes have ended while they were opening a session."""

    def run(self) -> None:
        """Warm up, then work until the web process closes its pipe."""
        self._warm_up_keyframe = self._warm_up()
        model = packed_shared(model_piece(self._model))
        try:
            self._web.send(SharedPiece(model.digest, model.message, is_model=True))
            # Sessions that wait already are opened first: with them the fit process needs no warm-up.
            self._read(self._web)
            if not self._sessions:
                self._encoded_grey_head()
            self._send_to_fit(WarmUp(self._warm_up_keyframe))
            delay_s = math.inf
            while True:
                connections = [self._web] if self._fit is None else [self._web, self._fit]
                for connection in wait(connections, None if math.isinf(delay_s) else delay_s):
                    assert isinstance(connection, Connection)
                    if connection in (self._web, self._fit):  # a message may have replaced the fit's pipe
                        self._read(connection)
                delay_s = min((self._step(session) for session in list(self._sessions.values())), default=math.inf)
                if delay_s > 0.0 and any(self._check(session) for session in list(self._sessions.values())):
                    delay_s = 0.0  # new frames come before further checks
        except (EOFError, BrokenPipeError, ConnectionResetError):
            logger.info("the web process has ended")
        finally:
            for session in self._sessions.values():
                session.close()

    def _read(self, connection: Connection) -> None:
        """Handle what has come over a pipe; goes on without a fit process that has ended, until another is attached.

        :raises EOFError, OSError: if the web process has ended.
        """
        try:
            while connection.poll():
                self._handle(connection.recv())
        except (EOFError, OSError):
            if connection is self._web or connection is not self._fit:
                raise
            logger.warning("the fit process has ended")
            self._detach_fit()

    def _step(self, session: LiveSession) -> float:
        """One step of a session; an error costs its frame, and no other session anything."""
        try:
            return session.step()
        except SESSION_ERRORS:
            logger.exception("a camera frame could not be used")
            return ERROR_PAUSE_S

    def _check(self, session: LiveSession) -> bool:
        """Check a session's last frame if that is not done yet; whether something was done."""
        try:
            return session.check()
        except SESSION_ERRORS:
            logger.exception("a camera frame could not be checked")
            return True

    def _attach_fit(self, connection: Connection) -> None:
        """Serve a fit process that takes the place of another: open all sessions there."""
        if self._fit is not None:
            self._read(self._fit)  # what the other one sent before it ended, and its end
        self._detach_fit()
        self._fit = connection
        self._to_fit = QueuedSender(connection, "fit-sender")
        for session in self._sessions.values():
            session.detach_fit()
            self._open_fit(session)
        self._send_to_fit(WarmUp(self._warm_up_keyframe))

    def _detach_fit(self) -> None:
        if self._fit is not None:
            self._to_fit.close()
            self._fit.close()
            self._fit = None
        if self._opening is not None:
            self._failed_openings[self._opening] += 1
            self._opening = None

    def _send_to_fit(self, message: object) -> None:
        """Queue a message for the fit process; while there is none, it is dropped, and sessions are opened again."""
        self._to_fit.send(message)

    def _warm_up(self) -> Keyframe:
        """Draw, encode and track a head once: kernels are compiled, networks loaded, strands of hair laid. The frame is
        for the fit."""
        strand_pattern()
        view = AvatarView(self._model, self._settings.render)
        image = view.draw(Scene(), None, None, 0.0)
        view.encode(image)
        view.close()
        tracker = FrameTracker(self._model, backend=landmark_backend(self._settings.networks))
        observation = tracker.track(image, 0.0)
        tracker.close()
        if observation is None:
            raise FitmeError("the average head is not recognised as a face: the installation is damaged")
        return Keyframe("warm-up", image, observation, 0.0)

    def _handle(self, message: object) -> None:
        match message:
            case FrameArrived():
                pass  # only wakes this process
            case RequestRender():
                if session := self._sessions.get(message.session):
                    session.request_render()
            case DriveAvatar():
                if session := self._sessions.get(message.session):
                    session.drive(message.parameters)
            case SetScene():
                if session := self._sessions.get(message.session):
                    session.set_scene(message.scene)
            case Fitted():
                if session := self._sessions.get(message.session):
                    session.adopt(message)
            case FittedCorrectives():
                if session := self._sessions.get(message.session):
                    session.set_correctives(message)
            case FittedHair():
                if session := self._sessions.get(message.session):
                    session.set_hair(message)
            case FittedGlasses():
                if session := self._sessions.get(message.session):
                    session.set_glasses(message)
            case FitOpening():
                self._opening = message.session
            case FitWaiting():
                self._opening = None
            case FitUnreadable():
                self._opening = None
                self._report_unreadable(message.session, message.reason)
            case FitOpened():
                self._opening = None
                del self._failed_openings[message.session]
                if session := self._sessions.get(message.session):
                    session.resume(message)
            case OpenSession():
                self._open(message)
            case CloseSession():
                if session := self._sessions.pop(message.session, None):
                    session.close()
                    del session
                    give_back_freed_memory()
                del self._failed_openings[message.session]
                self._send_to_fit(message)
            case ExportAvatar():
                self._send_to_fit(message)
            case SessionEvent() | SessionClosed() | AvatarExported() | EngineReady() | FitAlive():
                self._web.send(message)
            case AvatarPieces() | SharedPiece():
                self._web.send(message)
            case Ping():
                self._web.send(LiveAlive(message.number))
                self._send_to_fit(message)
            case AttachFit():
                self._attach_fit(message.connection)

    def _open(self, message: OpenSession) -> None:
        try:
            session = self._sessions[message.session] = LiveSession(
                message, self._model, self._settings, self._web.send, self._send_to_fit
            )
        except FileNotFoundError:
            logger.info("a session was closed before it was opened")
            return
        if not message.has_avatar:  # pages of others go on drawing what they have until the fit has read its last round
            self._web.send(AvatarPieces(message.session, self._encoded_grey_head()))
        self._open_fit(session)

    def _encoded_grey_head(self) -> tuple[tuple[Slot, bytes], ...]:
        """Pieces of the head that everybody has at first, encoded only once."""
        if not self._grey_pieces:
            grey = AvatarEncoder(self._model).update(grey_avatar(self._model), None)
            self._grey_pieces = tuple((piece.slot, piece.pack()) for piece in grey.pieces)
        return self._grey_pieces

    def _open_fit(self, session: LiveSession) -> None:
        """Have a session opened in the fit process, unless that has ended too often while it opened this one."""
        if self._failed_openings[session.id] < LARGEST_FAILED_OPENINGS:
            self._send_to_fit(OpenFit(session.id, session.folder, session.secret))
        else:
            self._report_unreadable(session.id, "reading it ended the process")

    def _report_unreadable(self, session: str, reason: str) -> None:
        logger.error("a stored session cannot be read; it is left as it is: %s", reason)
        self._web.send(SessionEvent(session, StoredEvent(False)))
        self._web.send(
            SessionEvent(session, ErrorEvent("session_unreadable", f"the stored session is damaged: {reason}"))
        )


def run_live_process(web: Connection, fit: Connection, settings: ServeSettings) -> None:
    """Entry of the process."""
    torch.set_num_threads(TENSOR_THREADS)
    LiveProcess(web, fit, settings).run()
