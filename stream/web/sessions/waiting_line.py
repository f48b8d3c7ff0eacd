"""Line of those who wait for a place on a full server: first come, first served, as long as they keep asking."""

import time
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class _Entry:
    address: str
    asked_s: float


class WaitingLine:
    """Who waits, in order. Whoever has not asked again for `patience_s` has left the line."""

    def __init__(
        self,
        patience_s: float,
        limit: int,
        per_address_limit: int,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """
        :param limit: people in the line at most; others are told their place, but it is not held for them.
        :param per_address_limit: the same of one IP address: one program can ask as many people.
        """
        self._patience_s = patience_s
        self._limit = limit
        self._per_address_limit = per_address_limit
        self._clock = clock
        self._entries: dict[str, _Entry] = {}

    def __len__(self) -> int:
        return len(self._entries)

    def ask(self, identity: str, free: int, address: str) -> int:
        """Ask for one of `free` places; 0 if the caller may take it now, else the caller's number in the line, from 1.

        A caller who may take a place leaves the line.
        """
        now_s = self._clock()
        for other, entry in list(self._entries.items()):
            if now_s - entry.asked_s > self._patience_s:
                del self._entries[other]
        order = list(self._entries)
        ahead = order.index(identity) if identity in self._entries else len(order)
        if ahead < free:
            self._entries.pop(identity, None)
            return 0
        near = sum(entry.address == address for entry in self._entries.values())
        if identity in self._entries or (len(order) < self._limit and near < self._per_address_limit):
            self._entries[identity] = _Entry(address, now_s)  # a known key keeps its place in the dictionary's order
        return ahead + 1
