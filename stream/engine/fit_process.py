"""The fit process: refines the sessions' avatars in slices of time, in turn, and commits every round.

While the fit of a session rests, it studies the expressions of further pictures, one a slice; a keyframe comes first.
It runs at a lower priority than the processes that people wait for. Whatever it dies of, every session goes on from its
last commit.
"""

import logging
import math
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np
import torch

from fitme.arrays import Float64Array
from fitme.errors import FitmeError
from fitme.export.gltf import write_glb
from fitme.fit.fitter import IncrementalFitter
from fitme.fit.inversion.settings import InversionSettings
from fitme.fit.keyframe import Keyframe
from fitme.fit.settings import FitSettings as FitterSettings
from fitme.fit.state import FitState, RoundReport
from fitme.reflectance.expression_correctives import AlbedoCorrectives
from fitme.reflectance.weights import load_default_generator
from fitme.sampling import farthest_points
from fitme.session.store import SessionStore
from fitme.shape.model_file import load_default_model
from fitme.stage import Stage
from fitme.track.identity import DlibEmbedder
from stream.engine.messages import (
    Close,
    Closed,
    CorrectiveArrays,
    DropExpressionFrame,
    DropKeyframe,
    Export,
    Exported,
    FitOpened,
    Fitted,
    FittedCorrectives,
    FittedMaps,
    KeepExpressionFrame,
    KeepKeyframe,
    OpenFit,
    Ready,
    Tell,
    WarmUp,
)
from stream.protocol.events import ErrorEvent, Event, ProgressEvent, RoundEvent
from stream.settings import FitSettings

logger = logging.getLogger(__name__)

WORK_ERRORS = (FitmeError, RuntimeError, ValueError, ArithmeticError, LookupError, np.linalg.LinAlgError)
"""What may come out of the fit of one session and must not end the others."""
WARM_UP_STEPS = InversionSettings(coarse_steps=1, inversion_steps=1, tuning_steps=1)
"""One step of each kind loads and compiles all that a fit needs."""
WARM_UP_LIMIT_S = 120.0
SHOWN_TOGETHER = 4
"""Pictures that are studied before what they taught is told, unless no more wait: to work that out and send it takes
nearly as long as to study one."""
PROGRESS = {
    Stage.WAITING: 0.0,
    Stage.LANDMARKS: 0.15,
    Stage.SKIN: 0.35,
    Stage.INVERSION: 0.7,
    Stage.TUNING: 1.0,
}
"""How much of a full fit each stage stands for, for the page's progress bar."""


@dataclass
class _SessionFit:
    """One session in this process."""

    id: str
    store: SessionStore | None
    fitter: IncrementalFitter
    failed: bool = False
    """The fit raised; a new keyframe gives it another chance."""
    changes: list[Keyframe | str] = field(default_factory=list)
    """New keyframes, and keys of known ones that are to go, in the order in which they came."""

    first_keyframe_s: float | None = None
    """When the first keyframe came; `time.monotonic()`, as all times here."""
    adopted_s: float = -math.inf
    """When changes were last adopted."""
    collected: bool = False
    """The keyframes of the first seconds have been adopted."""
    worn: AlbedoCorrectives | None = None
    """What was last told of the skin's changes."""
    untold: int = 0
    """Studies since then."""

    def adopts(self, settings: FitSettings) -> bool:
        """Whether waiting changes are to be adopted now."""
        now_s = time.monotonic()
        if not self.changes:
            return False
        if not self.fitter.keyframes or self.fitter.converged or self.failed:
            return True
        if not self.collected and self.first_keyframe_s is not None:
            return now_s - self.first_keyframe_s >= settings.collect_s
        return self.fitter.stage is Stage.TUNING and now_s - self.adopted_s >= settings.adopt_period_s

    def drop(self, key: str) -> None:
        """Forget a keyframe that still waits, or note that a known one is to go."""
        waiting = [change for change in self.changes if isinstance(change, Keyframe) and change.key == key]
        if waiting:
            self.changes = [change for change in self.changes if change is not waiting[0]]
        else:
            self.changes.append(key)

    def adopt(self, count: int) -> None:
        """Give the fitter up to `count` new keyframes, the most different ones; the others go on waiting."""
        for key in [change for change in self.changes if isinstance(change, str)]:
            self.fitter.remove_keyframe(key)
        waiting = [change for change in self.changes if isinstance(change, Keyframe)]
        known, offered = (
            np.array([_direction(keyframe) for keyframe in keyframes]).reshape(-1, 2)
            for keyframes in (self.fitter.keyframes, waiting)
        )
        nearest = np.abs(offered[:, None] - known).sum(-1).min(1, initial=math.inf)  # (W,)
        chosen = farthest_points(lambda index: np.abs(offered - offered[index]).sum(-1), nearest, count)
        for index in chosen:
            self.fitter.add_keyframe(waiting[index])
        self.changes = [keyframe for index, keyframe in enumerate(waiting) if index not in chosen]
        self.adopted_s, self.failed = time.monotonic(), False
        self.collected = self.first_keyframe_s is not None
        if self.first_keyframe_s is None:
            self.first_keyframe_s = self.adopted_s

    @property
    def has_work(self) -> bool:
        if self.changes:
            return True
        if self.failed or not self.fitter.keyframes:
            return False
        return self.extracting_correctives or not self.fitter.converged

    @property
    def extracting_correctives(self) -> bool:
        """Whether nothing but expressions is left to learn."""
        return not self.changes and self.fitter.correctives_pending

    def study(self) -> bool:
        """Study one picture; whether there is something to tell."""
        try:
            self.fitter.extract_corrective()
        except WORK_ERRORS:
            logger.exception("a picture could not be studied and is left out")
        self.untold += 1
        if self.untold < SHOWN_TOGETHER and self.extracting_correctives:
            return False
        self.untold = 0
        self.fitter.apply_correctives()
        return True


class FitProcess:
    """Serves one live process over a pipe until that is closed."""

    def __init__(self, connection: Connection, settings: FitSettings) -> None:
        self._connection = connection
        self._settings = settings
        self._effort = FitterSettings(
            alignment_rounds=settings.alignment_rounds,
            inversion=InversionSettings(
                coarse_steps=settings.coarse_steps,
                inversion_steps=settings.inversion_steps,
                tuning_steps=settings.tuning_steps,
            ),
        )
        self._model = load_default_model()
        self._embedder = DlibEmbedder()
        self._sessions: dict[str, _SessionFit] = {}

    def run(self) -> None:
        """Work until the other end of the pipe closes."""
        turn = self._turns()
        try:
            while True:
                idle = not any(session.has_work for session in self._sessions.values())
                while self._connection.poll(None if idle else 0.0):
                    self._handle(self._connection.recv())
                    idle = False
                session = next(turn)
                if session is not None:
                    self._work(session)
        except (EOFError, BrokenPipeError, ConnectionResetError):
            logger.info("the live process is gone")
        finally:
            for session in self._sessions.values():
                if session.store is not None:
                    session.store.close()

    def _turns(self) -> Iterator[_SessionFit | None]:
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
            case WarmUp():
                self._warm_up(message.keyframe)
            case OpenFit():
                self._open(message.session, message.folder)
            case KeepKeyframe():
                if session := self._sessions.get(message.session):
                    session.changes.append(message.keyframe)
            case DropKeyframe():
                if session := self._sessions.get(message.session):
                    session.drop(message.key)
            case KeepExpressionFrame():
                if session := self._sessions.get(message.session):
                    session.fitter.add_expression_frame(message.picture)
            case DropExpressionFrame():
                if session := self._sessions.get(message.session):
                    session.fitter.remove_expression_frame(message.key)
            case Export():
                self._export(message)
            case Close():
                self._close(message)

    def _warm_up(self, keyframe: Keyframe) -> None:
        """Go through the stages once, so that the first person does not wait for kernels to be compiled."""
        settings = FitterSettings(alignment_rounds=1, inversion=WARM_UP_STEPS)
        fitter = IncrementalFitter(self._model, load_default_generator(), settings, self._embedder)
        try:
            fitter.add_keyframe(keyframe)
            fitter.refine(WARM_UP_LIMIT_S)
        except WORK_ERRORS:
            logger.exception("the warm-up failed; sessions may still work")
        self._connection.send(Ready())

    def _open(self, session_id: str, folder: Path) -> None:
        store, state = None, None
        try:
            store = SessionStore(folder)
            state = store.read()
        except FitmeError as error:
            logger.exception("a session's store cannot be used")
            self._tell(session_id, ErrorEvent("store_failed", str(error)))
        session = _SessionFit(session_id, store, self._fitter(state))
        self._sessions[session_id] = session
        held = ((), ()) if state is None else (state.keyframes, state.expression_frames)
        self._connection.send(FitOpened(session_id, *held))
        if state is not None:
            self._report(session, state)

    def _fitter(self, state: FitState | None) -> IncrementalFitter:
        generator = load_default_generator()
        if state is None:
            return IncrementalFitter(self._model, generator, self._effort, self._embedder)
        return IncrementalFitter.from_state(state, self._model, generator, self._effort, self._embedder)

    def _work(self, session: _SessionFit) -> None:
        try:
            if session.adopts(self._settings):
                session.adopt(self._settings.batch)
            if not session.fitter.keyframes:
                return
            if session.extracting_correctives:
                self._study(session)
                return
            report = session.fitter.refine(self._settings.slice_s)
            state = session.fitter.state()
        except WORK_ERRORS as error:
            logger.exception("a round of refinement failed")
            session.failed = True
            self._tell(session.id, ErrorEvent("fit_failed", f"refinement stopped until the next keyframe: {error}"))
            return
        self._report(session, state)
        if self._commit(session, state):
            self._tell_round(session, report)

    def _study(self, session: _SessionFit) -> None:
        if session.study():
            self._report_correctives(session)
            if not session.has_work:
                self._commit(session, session.fitter.state())

    def _commit(self, session: _SessionFit, state: FitState) -> bool:
        """Store a state; whether it is stored."""
        if session.store is None:
            return False
        try:
            session.store.write_round(state)
        except FitmeError as error:
            logger.exception("a round could not be stored")
            self._tell(session.id, ErrorEvent("store_failed", str(error)))
            return False
        return True

    def _tell_round(self, session: _SessionFit, report: RoundReport) -> None:
        losses = {name: float(value) for name, value in report.losses.items() if np.isfinite(value)}
        self._tell(session.id, RoundEvent(report.index, report.stage, report.seconds, report.keyframes, losses))

    def _report(self, session: _SessionFit, state: FitState) -> None:
        """Give the live process what it draws, and the pages how far it is."""
        maps = None
        if state.maps is not None:
            arrays = state.maps.by_name()
            maps = FittedMaps.from_names({name: np.asarray(part, np.float16) for name, part in arrays.items()})
        newest = state.estimates.get(state.keyframes[-1].key) if state.keyframes else None
        light = None if newest is None else newest.light_sh
        embedding = state.reference_embedding
        rounds = len(state.rounds)
        self._connection.send(
            Fitted(session.id, state.stage, rounds, state.focal, state.identity, maps, light, embedding)
        )
        self._report_correctives(session)
        progress = PROGRESS[state.stage]
        self._tell(session.id, ProgressEvent(state.stage, progress, maps is not None))

    def _report_correctives(self, session: _SessionFit) -> None:
        """They are large, and change only when the fit rests."""
        known = session.fitter.avatar().correctives
        if known is session.worn:
            return
        session.worn = known
        arrays = None
        if known is not None:
            arrays = CorrectiveArrays(*(part.numpy() for part in vars(known).values()))
        self._connection.send(FittedCorrectives(session.id, arrays))

    def _export(self, message: Export) -> None:
        session = self._sessions.get(message.session)
        if session is None or session.store is None or not session.fitter.stage.has_reached(Stage.SKIN):
            exported = Exported(message.session, message.request, None, "there is no avatar yet", ready=False)
            self._connection.send(exported)
            return
        path = session.store.folder / f"export-{message.request}.glb"
        try:
            write_glb(session.fitter.avatar(), self._model, path)
        except (*WORK_ERRORS, OSError) as error:
            logger.exception("an avatar could not be exported")
            self._connection.send(Exported(message.session, message.request, None, f"export failed: {error}"))
            return
        self._connection.send(Exported(message.session, message.request, path))

    def _close(self, message: Close) -> None:
        session = self._sessions.pop(message.session, None)
        if session is not None and session.store is not None:
            try:
                if message.delete:
                    session.store.delete()
                else:
                    session.store.close()
            except FitmeError:
                logger.exception("a session could not be deleted")
        self._connection.send(Closed(message.session))

    def _tell(self, session_id: str, event: Event) -> None:
        self._connection.send(Tell(session_id, event))


def _direction(keyframe: Keyframe) -> Float64Array:
    """Yaw and pitch (2,) of the head, radians."""
    return np.array(keyframe.observation.pose.yaw_pitch_roll()[:2])


def run_fit_process(connection: Connection, settings: FitSettings) -> None:
    """Entry of the process."""
    os.nice(settings.niceness)
    torch.set_num_threads(settings.threads)
    FitProcess(connection, settings).run()
