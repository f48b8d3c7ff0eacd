"""What the fit process sends of a session's fit: to the live process what it draws, to the pages what they show."""

from collections.abc import Iterable
from multiprocessing.connection import Connection

import msgspec
import numpy as np

from fitme.arrays import Float32Array
from fitme.fit.state import FitState, RoundReport
from fitme.hair.hair import hair_arrays
from fitme.stage import Stage
from stream.engine.messages import (
    AvatarPieces,
    CorrectiveArrays,
    Fitted,
    FittedCorrectives,
    FittedGlasses,
    FittedHair,
    FittedMaps,
    SessionEvent,
    SharedPiece,
)
from stream.engine.session_fit import SessionFit
from stream.protocol.events import Event, ProgressEvent, RoundEvent

PROGRESS = {
    Stage.WAITING: 0.0,
    Stage.LANDMARKS: 0.15,
    Stage.SKIN: 0.35,
    Stage.INVERSION: 0.7,
    Stage.TUNING: 1.0,
}
"""Share of a full fit that is done at each stage, for the page's progress bar."""


class FitPublisher:
    """Sends results and events of the sessions' fits over the pipe; large results only when they have changed."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def send_round(self, session: SessionFit, report: RoundReport) -> None:
        """Send the pages what a round of refinement has done."""
        losses = {name: float(value) for name, value in report.losses.items() if np.isfinite(value)}
        event = RoundEvent(report.index, report.stage, report.seconds, report.keyframes, losses)
        self.send_event(session.id, event)

    def send_state(self, session: SessionFit, state: FitState) -> None:
        """Send the live process what it draws, and the pages how far the fit is."""
        maps = None
        if state.maps is not None:
            arrays = state.maps.by_name()
            maps = FittedMaps.from_names({name: np.asarray(part, np.float16) for name, part in arrays.items()})
        newest = state.estimates.get(state.keyframes[-1].key) if state.keyframes else None
        light = None if newest is None else newest.illumination.unshadowed_sh
        rounds = len(state.rounds)
        self._connection.send(Fitted(session.id, state.stage, rounds, state.focal, state.identity, maps, light))
        self._send_correctives(session)
        self._send_hair(session)
        self._send_glasses(session)
        self._send_pieces(session, light)
        progress = ProgressEvent(state.stage, PROGRESS[state.stage], maps is not None, converged=not session.has_work)
        self._send_progress(session, progress)

    def send_correctives(self, session: SessionFit) -> None:
        """Send the live process correctives that have changed, and the pages what they change of the avatar."""
        self._send_correctives(session)
        self._send_pieces(session, session.sent_light)

    def report_convergence(self, sessions: Iterable[SessionFit]) -> None:
        """Send the pages whether there is work for a session's fit, if that has changed."""
        for session in sessions:
            progress = session.progress
            if progress is not None and progress.converged == session.has_work:
                self._send_progress(session, msgspec.structs.replace(progress, converged=not session.has_work))

    def send_event(self, session_id: str, event: Event) -> None:
        """Send a session's pages an event."""
        self._connection.send(SessionEvent(session_id, event))

    def _send_correctives(self, session: SessionFit) -> None:
        """Send the correctives if they have changed: they are large, and change only when the fit has converged."""
        known = session.fitter.avatar().correctives
        if known is session.sent_correctives:
            return
        session.sent_correctives = known
        arrays = None
        if known is not None:
            arrays = CorrectiveArrays(*(part.numpy() for part in vars(known).values()))
        self._connection.send(FittedCorrectives(session.id, arrays))

    def _send_hair(self, session: SessionFit) -> None:
        """Send the hair if it has changed: it is fitted once after keyframes were added."""
        hair = session.fitter.avatar().hair
        if hair is session.sent_hair:
            return
        session.sent_hair = hair
        self._connection.send(FittedHair(session.id, None if hair is None else hair_arrays(hair)))

    def _send_glasses(self, session: SessionFit) -> None:
        """Send the glasses if they have changed."""
        glasses = session.fitter.avatar().glasses
        if glasses is session.sent_glasses:
            return
        session.sent_glasses = glasses
        self._connection.send(FittedGlasses(session.id, glasses))

    def _send_pieces(self, session: SessionFit, light: Float32Array | None) -> None:
        """Send the pages that draw for themselves what has changed of the avatar.

        :param light: (9, 3) illumination of the newest keyframe.
        """
        session.sent_light = light
        update = session.encoder.update(session.fitter.avatar(), light)
        for shared in update.shared:
            self._connection.send(SharedPiece(shared.digest, shared.message))
        if update.pieces or update.dropped:
            packed = tuple((piece.slot, piece.pack()) for piece in update.pieces)
            self._connection.send(AvatarPieces(session.id, packed, update.dropped))

    def _send_progress(self, session: SessionFit, progress: ProgressEvent) -> None:
        session.progress = progress
        self.send_event(session.id, progress)
