"""Mutations of files: bits flipped, cut, headers swapped, and what broken copies and hostile files are like."""

from collections.abc import Callable, Sequence

import numpy as np

from fitme.bench.fuzz.seeds import Seed

MOST_MUTATIONS = 3
"""Mutations of one file, at most."""
HEADER_BYTES = 512
"""Beginning of a file in which sizes and counts are most often."""
LONGEST_BLOCK_BYTES = 4096
_MOST_FLIPS = 400
_EXTREMES = (b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff", b"\xff\xff\xff\x7f", b"\x00\x00\x00\x00", b"\x00\x00\x00\x01")
"""Integers of 32 bits of both byte orders that sizes are not expected to be."""

_Random = np.random.Generator
Mutation = Callable[[bytearray, _Random, Sequence[Seed]], None]


def mutated(seeds: Sequence[Seed], index: int, seed: int) -> tuple[Seed, str]:
    """Damaged file number `index` of a run with a seed, and the names of its mutations."""
    random = np.random.default_rng((seed, index))
    chosen = seeds[int(random.integers(len(seeds)))]
    content, names = bytearray(chosen.content), []
    for _ in range(int(random.integers(1, MOST_MUTATIONS + 1))):
        name = str(random.choice(list(MUTATIONS)))
        MUTATIONS[name](content, random, seeds)
        names.append(name)
    return Seed(f"{index:05d}_{chosen.name}", bytes(content)), ", ".join(names)


def _flip(content: bytearray, random: _Random, _seeds: Sequence[Seed]) -> None:
    """Bits anywhere."""
    count = int(np.exp(random.uniform(0.0, np.log(_MOST_FLIPS))))
    for position in random.integers(0, max(len(content), 1), count if content else 0):
        content[position] ^= 1 << int(random.integers(8))


def _flip_header(content: bytearray, random: _Random, _seeds: Sequence[Seed]) -> None:
    """Bits in the header."""
    for position in random.integers(0, max(min(len(content), HEADER_BYTES), 1), 8 if content else 0):
        content[position] ^= 1 << int(random.integers(8))


def _cut(content: bytearray, random: _Random, _seeds: Sequence[Seed]) -> None:
    """End lost, as of a copy that was interrupted."""
    del content[int(random.integers(0, len(content) + 1)) :]


def _swap_header(content: bytearray, random: _Random, seeds: Sequence[Seed]) -> None:
    """Header of another file."""
    count = int(random.integers(4, HEADER_BYTES + 1))
    content[:count] = seeds[int(random.integers(len(seeds)))].content[:count]


def _erase(content: bytearray, random: _Random, _seeds: Sequence[Seed]) -> None:
    """Block of zeros, as file systems leave it after a crash."""
    begin, end = _block(content, random)
    content[begin:end] = bytes(end - begin)


def _repeat(content: bytearray, random: _Random, _seeds: Sequence[Seed]) -> None:
    """Block that comes twice."""
    begin, end = _block(content, random)
    content[end:end] = content[begin:end]


def _remove(content: bytearray, random: _Random, _seeds: Sequence[Seed]) -> None:
    """Block that is missing."""
    begin, end = _block(content, random)
    del content[begin:end]


def _exaggerate(content: bytearray, random: _Random, _seeds: Sequence[Seed]) -> None:
    """Extreme integer in the header: sizes of billions of pixels, boxes without an end."""
    if len(content) >= 4:
        position = int(random.integers(0, min(len(content), HEADER_BYTES) - 3))
        content[position : position + 4] = _EXTREMES[int(random.integers(len(_EXTREMES)))]


def _block(content: bytearray, random: _Random) -> tuple[int, int]:
    begin = int(random.integers(0, len(content) + 1))
    return begin, min(len(content), begin + int(random.integers(1, LONGEST_BLOCK_BYTES + 1)))


MUTATIONS: dict[str, Mutation] = {
    "bits flipped": _flip,
    "bits of the header flipped": _flip_header,
    "cut": _cut,
    "header swapped": _swap_header,
    "block of zeros": _erase,
    "block repeated": _repeat,
    "block missing": _remove,
    "extreme number": _exaggerate,
}
