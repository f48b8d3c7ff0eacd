"""Plan of which frames of a long video are decoded: in bounded time, and spread over all of it."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from fitme.arrays import BoolArray, Int64Array

DECODED_LIMIT = 6000
"""Largest number of frames of one video that are decoded: some 20 s at 1080p on one core."""


@dataclass(frozen=True)
class PacketIndex:
    """Times of the packets of a video, in the order of display."""

    timestamps: Int64Array
    """(N,) ascending, in the stream's time base."""
    is_key: BoolArray
    """(N,) whether decoding can begin there."""

    @staticmethod
    def of_packets(timestamps: Sequence[int], is_key: Sequence[bool]) -> "PacketIndex":
        """Index of packets in the order of decoding."""
        order = np.argsort(np.asarray(timestamps, np.int64), kind="stable")
        return PacketIndex(np.asarray(timestamps, np.int64)[order], np.asarray(is_key, bool)[order])


@dataclass(frozen=True)
class Run:
    """Frames that are decoded one after another from a key frame."""

    key: int
    """Position of the key frame, in the order of display."""
    positions: tuple[int, ...]
    """Ascending positions to take."""
    indices: tuple[int, ...]
    """The requested index for each of them."""


def plan_runs(index: PacketIndex, indices: Sequence[int], limit: int = DECODED_LIMIT) -> list[Run]:
    """Runs that decode at most about `limit` frames.

    Requested frames too far behind their key frame are replaced by frames that lie evenly within reach of it.
    """
    keys = np.flatnonzero(index.is_key)
    if not len(keys):
        keys = np.zeros(1, np.int64)
    groups: dict[int, list[int]] = {}
    for wanted in indices:
        key = keys[max(int(np.searchsorted(keys, wanted, "right")) - 1, 0)]
        groups.setdefault(int(key), []).append(wanted)
    if sum(max(group) - key + 1 for key, group in groups.items()) <= limit:
        return [Run(key, tuple(group), tuple(group)) for key, group in groups.items()]
    reach = max(1, limit // len(groups))
    runs = []
    for key, group in groups.items():
        last = min(max(group), key + reach - 1)
        positions = np.unique(np.linspace(key, last, len(group)).round().astype(int)).tolist()
        runs.append(Run(key, tuple(positions), tuple(group[: len(positions)])))
    return runs
