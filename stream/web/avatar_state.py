"""The newest piece of each slot of one session's avatar, with versions: what pages get that join late or come back."""

import secrets
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from stream.protocol.avatar import Slot, stamped
from stream.protocol.requests import HeldAvatar

NAME_BYTES = 6


@dataclass(frozen=True)
class _Entry:
    version: int
    message: bytes


class AvatarState:
    """Pieces of one avatar, as many as it has slots: an older piece of a slot is dropped."""

    def __init__(self) -> None:
        self.name = secrets.token_hex(NAME_BYTES)
        """Versions count under this name alone: another `AvatarState` has another one."""
        self.version = 0
        self._entries: dict[Slot, _Entry] = {}
        """In order of their versions."""

    def put(self, pieces: Iterable[tuple[Slot, bytes]], dropped: Iterable[Slot] = ()) -> list[Slot]:
        """Take packed pieces in, each as a version of its own; returns the slots that have changed."""
        for slot in dropped:
            self._entries.pop(slot, None)
        changed = []
        for slot, message in pieces:
            known = self._entries.get(slot)
            if known is not None and known.message == message:
                continue  # an engine that was started again sends all of its pieces anew
            self.version += 1
            self._entries.pop(slot, None)
            self._entries[slot] = _Entry(self.version, message)
            changed.append(slot)
        return changed

    def slots_after(self, held: HeldAvatar | None) -> Sequence[Slot]:
        """Slots that a page lacks which has an avatar already; all for None, or for an avatar of another name."""
        version = held.version if held is not None and held.avatar == self.name else 0
        return [slot for slot, entry in self._entries.items() if entry.version > version]

    def message(self, slot: Slot, *, last: bool) -> bytes | None:
        """The newest piece of a slot, as it is sent; None if the avatar has none (any more).

        :param last: the page has the whole avatar with it: its version is then the avatar's.
        """
        entry = self._entries.get(slot)
        if entry is None:
            return None
        return stamped(entry.message, self.version if last else entry.version, complete=last)
