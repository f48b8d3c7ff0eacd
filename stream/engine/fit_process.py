"""The fit process: refines the sessions' avatars in slices of time, in turn, and commits every round.

Once the fit of a session has converged, correctives are extracted from its expression frames, a few a slice; a new
keyframe comes first. The process runs at a lower priority than those that people wait for. Whatever ends it, every
session goes on from its last commit; what goes wrong in one session ends no other.
"""

import logging
import math
import os
import time
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection
from pathlib import Path

import torch

from fitme.errors import FitmeError
from fitme.export.gltf.avatar import write_glb
from fitme.fit.fitter import IncrementalFitter
from fitme.fit.inversion.settings import InversionSettings
from fitme.fit.keyframe import Keyframe
from fitme.fit.settings import FitSettings as FitterSettings
from fitme.fit.state import FitState
from fitme.reflectance.packaged_models import packaged_generator
from fitme.session.folder import SessionFolder, temporary_export
from fitme.session.lease import BusyError
from fitme.shape.model_file import load_default_model
from fitme.stage import Stage
from fitme.track.identity import DlibEmbedder
from stream.engine.avatar_pieces import AvatarEncoder
from stream.engine.fit_publisher import FitPublisher
from stream.engine.freed_memory import give_back_freed_memory
from stream.engine.messages import (
    AddExpressionFrame,
    AddKeyframe,
    AvatarExported,
    CloseSession,
    DiscardFrames,
    EngineReady,
    ExportAvatar,
    FitAlive,
    FitOpened,
    FitOpening,
    FitUnreadable,
    FitWaiting,
    OpenFit,
    Ping,
    RemoveExpressionFrame,
    RemoveKeyframe,
    SessionClosed,
    WarmUp,
)
from stream.engine.session_fit import FIT_ERRORS, SessionFit
from stream.engine.session_storage import SessionStorage
from stream.protocol.events import ErrorEvent, StoredEvent
from stream.settings import FitSettings

logger = logging.getLogger(__name__)

WARM_UP_STEPS = InversionSettings(coarse_steps=1, inversion_steps=1, tuning_steps=1)
"""One step of each kind loads and compiles all that a fit needs."""
WARM_UP_LIMIT_S = 120.0
BUSY_PAUSE_S = 1.0
"""Between two attempts to open a session that another process still writes."""


class FitProcess:
    """Serves one live process over a pipe until that is closed."""

    def __init__(self, connection: Connection, settings: FitSettings) -> None:
        self._connection = connection
        self._publisher = FitPublisher(connection)
        self._settings = settings
        self._effort = FitterSettings(
            reflectance_model=settings.reflectance_model,
            skin_detail=settings.skin_detail,
            expression_prior=settings.expression_prior,
            alignment_rounds=settings.alignment_rounds,
            inversion=InversionSettings(
                coarse_steps=settings.coarse_steps,
                inversion_steps=settings.inversion_steps,
                tuning_steps=settings.tuning_steps,
            ),
        )
        self._model = load_default_model()
        self._embedder = DlibEmbedder()
        self._sessions: dict[str, SessionFit] = {}
        self._busy: dict[str, tuple[float, OpenFit]] = {}
        """Sessions that another process still writes, and when to try to open them again."""
        self._warm_up_keyframe: Keyframe | None = None

    def run(self) -> None:
        """Work until the other end of the pipe closes."""
        turn = self._turns()
        try:
            while True:
                self._publisher.report_convergence(self._sessions.values())
                while self._connection.poll(self._idle_s()):
                    self._handle(self._connection.recv())
                self._warm_up()
                self._retry_opening()
                self._retry_storing()
                session = next(turn)
                if session is not None:
                    self._work(session)
        except (EOFError, BrokenPipeError, ConnectionResetError):
            logger.info("the live process has ended")
        finally:
            for session in self._sessions.values():
                session.fitter.close()
                session.storage.close()

    def _idle_s(self) -> float | None:
        """How long to wait for a message: not at all while there is work, None for as long as it takes."""
        if self._warm_up_keyframe is not None or any(session.has_work for session in self._sessions.values()):
            return 0.0
        due = [session.storage.due_s for session in self._sessions.values()]
        due_s = min([*due, *(due_s for due_s, _ in self._busy.values())], default=math.inf)
        return None if math.isinf(due_s) and due_s > 0.0 else max(0.0, due_s - time.monotonic())

    def _turns(self) -> Iterator[SessionFit | None]:
        """Sessions that have work, in turn; None whenever there is none."""
        while True:
            waiting = [session for session in self._sessions.values() if session.has_work]
            if not waiting:
                yield None
            for session in waiting:
                if session.id in self._sessions:
                    yield session

    def _handle(self, message: object) -> None:
        match message:
            case Ping():
                self._connection.send(FitAlive(message.number))
            case WarmUp():
                self._warm_up_keyframe = message.keyframe
            case OpenFit():
                self._open(message)
            case AddKeyframe():
                if session := self._sessions.get(message.session):
                    session.changes.append(message.keyframe)
            case RemoveKeyframe():
                if session := self._sessions.get(message.session):
                    session.remove(message.key)
            case AddExpressionFrame():
                if session := self._sessions.get(message.session):
                    session.fitter.add_expression_frame(message.frame)
            case RemoveExpressionFrame():
                if session := self._sessions.get(message.session):
                    session.fitter.remove_expression_frame(message.key)
            case DiscardFrames():
                if session := self._sessions.get(message.session):
                    self._discard(session, message.keys)
            case ExportAvatar():
                self._export(message)
            case CloseSession():
                self._close(message)

    def _warm_up(self) -> None:
        """Run the stages once, unless the settings say otherwise, so that the first person does not wait for kernels.

        A process that takes the place of another has sessions waiting: they are served instead, and load the kernels.
        """
        keyframe, self._warm_up_keyframe = self._warm_up_keyframe, None
        if keyframe is None:
            return
        if self._settings.warm_up and not self._sessions:
            settings = FitterSettings(alignment_rounds=1, inversion=WARM_UP_STEPS)
            generator, device = packaged_generator(self._effort.reflectance_model), self._settings.device
            fitter = IncrementalFitter(self._model, generator, settings, self._embedder, device)
            try:
                fitter.add_keyframe(keyframe)
                fitter.refine(WARM_UP_LIMIT_S)
            except FIT_ERRORS:
                logger.exception("the warm-up failed; sessions may still work")
            finally:
                fitter.close()
        self._connection.send(EngineReady())

    def _open(self, message: OpenFit) -> None:
        session_id = message.session
        self._connection.send(FitOpening(session_id))
        storage = SessionStorage(message.folder, message.secret)
        try:
            state = storage.resume()
            fitter = self._fitter(state)
        except BusyError as error:
            logger.info("a session is opened later: %s", error)
            self._busy[session_id] = (time.monotonic() + BUSY_PAUSE_S, message)
            self._connection.send(FitWaiting(session_id))
            return
        except FIT_ERRORS as error:
            # Not begun anew: what is stored may be of use to somebody, and rounds from 0 would overwrite it.
            logger.exception("a stored session cannot be read; it is left as it is")
            storage.close()
            self._connection.send(FitUnreadable(session_id, str(error)))
            return
        session = SessionFit(session_id, storage, fitter, AvatarEncoder(self._model), stored=state is not None)
        self._sessions[session_id] = session
        frames = ((), ()) if state is None else (state.keyframes, state.expression_frames)
        self._connection.send(FitOpened(session_id, *frames))
        self._publisher.send_event(session_id, StoredEvent(session.stored))
        if state is not None:
            self._publisher.send_state(session, state)

    def _fitter(self, state: FitState | None) -> IncrementalFitter:
        generator, device = packaged_generator(self._effort.reflectance_model), self._settings.device
        if state is None:
            return IncrementalFitter(self._model, generator, self._effort, self._embedder, device)
        return IncrementalFitter.from_state(state, self._model, generator, self._effort, self._embedder, device)

    def _work(self, session: SessionFit) -> None:
        """One slice of a session's fit."""
        try:
            if session.adopts(self._settings):
                session.adopt(self._settings.batch)
            if not session.fitter.keyframes:
                return
            if session.extracting_correctives:
                self._extract_correctives(session)
                return
            report = session.fitter.refine(self._settings.slice_s)
            state = session.fitter.state()
        except FIT_ERRORS as error:
            logger.exception("a round of refinement failed")
            session.failed = True
            message = f"refinement stopped until the next keyframe: {error}"
            self._publisher.send_event(session.id, ErrorEvent("fit_failed", message))
            return
        self._publisher.send_state(session, state)
        if self._store(session, lambda: session.storage.write(state)):
            self._publisher.send_round(session, report)

    def _extract_correctives(self, session: SessionFit) -> None:
        if session.extract_correctives():
            # Their frames show teeth, too, which are part of the maps.
            state = session.fitter.state()
            self._publisher.send_state(session, state)
            if not session.has_work:
                self._store(session, lambda: session.storage.write(state))

    def _discard(self, session: SessionFit, keys: tuple[str, ...]) -> None:
        """Remove frames from the fit and from the disk."""
        if session.discard(keys) and session.fitter.stage is not Stage.WAITING:
            state = session.fitter.state()
            self._store(session, lambda: session.storage.purge(state))
            self._publisher.send_correctives(session)

    def _retry_opening(self) -> None:
        """Open sessions that another process was still writing."""
        for session_id, (due_s, message) in list(self._busy.items()):
            if due_s <= time.monotonic():
                del self._busy[session_id]
                self._open(message)

    def _retry_storing(self) -> None:
        """Store what could not be stored before."""
        for session in self._sessions.values():
            if session.storage.due_s <= time.monotonic():
                self._store(session, session.storage.retry)

    def _store(self, session: SessionFit, action: Callable[[], bool]) -> bool:
        """Store a session's state; whether it is on disk. Changes of this are sent to its pages."""
        stored, failure = False, ""
        try:
            stored = action()
        except FitmeError as error:
            logger.warning("a round could not be stored, storing is tried again: %s", error)
            failure = str(error)
        if failure and not session.storage_failed:
            self._publisher.send_event(session.id, ErrorEvent("store_failed", failure))
        session.storage_failed = not stored
        if stored != session.stored:
            session.stored = stored
            self._publisher.send_event(session.id, StoredEvent(stored))
        return stored

    def _export(self, message: ExportAvatar) -> None:
        session = self._sessions.get(message.session)
        if session is None or not session.fitter.stage.has_reached(Stage.SKIN):
            exported = AvatarExported(message.session, message.request, None, "there is no avatar yet", ready=False)
            self._connection.send(exported)
            return
        path: Path | None = None
        try:
            path = _export_path(session.storage.folder, message.request)
            write_glb(session.fitter.avatar(), self._model, path)
        except (*FIT_ERRORS, OSError) as error:
            logger.exception("an avatar could not be exported")
            if path is not None:
                path.unlink(missing_ok=True)
            self._connection.send(AvatarExported(message.session, message.request, None, f"export failed: {error}"))
            return
        self._connection.send(AvatarExported(message.session, message.request, path))

    def _close(self, message: CloseSession) -> None:
        self._busy.pop(message.session, None)
        session = self._sessions.pop(message.session, None)
        if session is not None:
            session.fitter.close()
            try:
                session.storage.retry()
            except FitmeError:
                logger.exception("the last rounds of a session could not be stored")
            session.storage.close()
            del session
            give_back_freed_memory()
        self._connection.send(SessionClosed(message.session))


def _export_path(folder: SessionFolder, request: int) -> Path:
    """File for an exported avatar: in the session's folder, or of this machine if that lies in an object store."""
    if not isinstance(folder, Path):
        return temporary_export()
    folder.mkdir(parents=True, exist_ok=True)
    return folder / f"export-{request}.glb"


def run_fit_process(connection: Connection, settings: FitSettings) -> None:
    """Entry of the process."""
    os.nice(settings.niceness)
    torch.set_num_threads(settings.threads)
    FitProcess(connection, settings).run()
