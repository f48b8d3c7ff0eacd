"""Reasons for which a server gives no session."""

from fitme.errors import FitmeError


class UnknownSessionError(FitmeError):
    """No session has this id, or it has ended."""


class FullError(FitmeError):
    """All slots are taken."""

    def __init__(self, message: str, place: int = 0) -> None:
        """
        :param place: number in the waiting line, from 1; 0 if there is none to wait in.
        """
        super().__init__(message)
        self.place = place


class TooManyError(FitmeError):
    """One user, or one address, has as many sessions as it may have."""
