"""Line of those who wait for a place on a full server: first come, first served, as long as they keep asking."""

import time
from collections.abc import Callable


class WaitingLine:
    """Who waits, in order. Whoever has not asked again for `patience_s` has left the line."""

    def __init__(self, patience_s: float, limit: int, clock: Callable[[], float] = time.monotonic) -> None:
        """
        :param limit: people in the line at most; others are told their place, but it is not held for them.
        """
        self._patience_s = patience_s
        self._limit = limit
        self._clock = clock
        self._asked_s: dict[str, float] = {}

    def __len__(self) -> int:
        return len(self._asked_s)

    def ask(self, identity: str, free: int) -> int:
        """Ask for one of `free` places; 0 if the caller may take it now, else the caller's number in the line, from 1.

        A caller who may take a place leaves the line.
        """
        now_s = self._clock()
        for other, asked_s in list(self._asked_s.items()):
            if now_s - asked_s > self._patience_s:
                del self._asked_s[other]
        order = list(self._asked_s)
        ahead = order.index(identity) if identity in self._asked_s else len(order)
        if ahead < free:
            self._asked_s.pop(identity, None)
            return 0
        if identity in self._asked_s or len(order) < self._limit:
            self._asked_s[identity] = now_s  # a known key keeps its place in the dictionary's order
        return ahead + 1
