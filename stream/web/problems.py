"""Errors as the protocol has them: HTTP statuses and codes."""

from fitme.errors import FitmeError, StoreError
from stream.engine.interface import EngineError, NotReadyError
from stream.protocol.protocol import ProtocolError
from stream.web.access import AccessError, UserError
from stream.web.motion import MotionTakenError, UnknownMotionError
from stream.web.peers.checks import ManyChecksError
from stream.web.peers.rtc import OfferError
from stream.web.peers.voice import NoVoiceError
from stream.web.sessions.errors import FullError, TooManyError, UnknownSessionError
from stream.web.sessions.folders import EraseError
from stream.web.sessions.rights import ForbiddenError, LinkLimitError


class UnknownPieceError(FitmeError):
    """No piece that is everybody's has this digest."""


_STATUS: dict[type[FitmeError], tuple[int, str]] = {
    OfferError: (400, "bad_offer"),
    UserError: (401, "no_user"),
    AccessError: (403, "no_key"),
    ForbiddenError: (403, "forbidden"),
    UnknownSessionError: (404, "unknown_session"),
    UnknownPieceError: (404, "unknown_piece"),
    UnknownMotionError: (404, "unknown_motion"),
    MotionTakenError: (409, "motion_taken"),
    NotReadyError: (409, "not_ready"),
    LinkLimitError: (409, "too_many_links"),
    NoVoiceError: (409, "no_voice"),
    TooManyError: (429, "too_many"),
    ManyChecksError: (429, "too_many_checks"),
    FullError: (503, "full"),
    EngineError: (503, "engine_gone"),
    EraseError: (500, "erase_failed"),
    StoreError: (500, "store_failed"),
}
_PROTOCOL_STATUS = {"bad_key": 403, "timeout": 408, "too_large": 413}
"""HTTP statuses of protocol errors other than 400."""


def status_and_code(error: Exception) -> tuple[int, str]:
    """HTTP status and the protocol's code of an error."""
    if isinstance(error, ProtocolError):
        return _PROTOCOL_STATUS.get(error.code, 400), error.code
    return next((_STATUS[kind] for kind in type(error).__mro__ if kind in _STATUS), (500, "internal"))
