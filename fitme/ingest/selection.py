"""Which sightings a fit explains, and which of those kept from it score it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from fitme.ingest.gather import Candidate
from fitme.ingest.observe import Observer, TrackedFrame
from fitme.ingest.prefetch import Prefetcher
from fitme.ingest.spread import even_indices
from fitme.shape import EXPRESSION_NAMES

KEYFRAMES = 12
"""Pictures that a fit explains."""
EXPRESSION_FRAMES = 60
"""Further pictures from which a fit learns how expressions change the skin."""
LARGEST_HOLDOUT = 8
"""Held-out frames that are explained and written; all others of the share are only kept from the fit."""
CLOSED_EYES_LOSS = 0.5
"""Share of its worth that a picture loses when the eyes are closed."""

_BLINKS = [EXPRESSION_NAMES.index(name) for name in ("eyeBlinkLeft", "eyeBlinkRight")]


@dataclass(frozen=True)
class Choice:
    """What a fit sees of a person."""

    keyframes: tuple[TrackedFrame, ...]
    """Pictures that it explains, in order."""
    expression_frames: tuple[TrackedFrame, ...]
    """Others that it learns expressions from, in order."""


def choose(
    observer: Observer,
    candidates: Sequence[Candidate],
    on_progress: Callable[[int], None] | None = None,
    prefetcher: Prefetcher | None = None,
) -> Choice:
    """The best sighting of each of `KEYFRAMES` stretches of the candidates, and of finer stretches the best of those
    that are left, `EXPRESSION_FRAMES` at most; holds no more pictures than all stretches have.

    `on_progress` is called with the number of candidates done; a `prefetcher` may have begun with them already.
    """
    coarse, fine = _Stretches(KEYFRAMES, len(candidates)), _Stretches(KEYFRAMES + EXPRESSION_FRAMES, len(candidates))
    place = {id(candidate): index for index, candidate in enumerate(candidates)}
    for candidate, tracked_frame in observer.tracked_frames(candidates, prefetcher):
        index = place[id(candidate)]
        if on_progress is not None:
            on_progress(index + 1)
        coarse.offer(index, tracked_frame)
        fine.offer(index, tracked_frame)
    keyframes = dict(coarse.best)
    left = [tracked_frame for index, tracked_frame in fine.best if index not in keyframes]
    return Choice(tuple(keyframes.values()), tuple(left[index] for index in even_indices(len(left), EXPRESSION_FRAMES)))


class _Stretches:
    """The best sighting of each of at most `count` stretches of as many candidates as there are."""

    def __init__(self, count: int, candidates: int) -> None:
        self._count, self._candidates = min(count, candidates), candidates
        self._held: dict[int, tuple[int, TrackedFrame]] = {}

    def offer(self, index: int, tracked_frame: TrackedFrame) -> None:
        """Keep the sighting of a candidate if it is the best of its stretch."""
        stretch = index * self._count // self._candidates
        held = self._held.get(stretch)
        if held is None or _worth(tracked_frame) > _worth(held[1]):
            self._held[stretch] = (index, tracked_frame)

    @property
    def best(self) -> list[tuple[int, TrackedFrame]]:
        """Index and sighting of each stretch that has one, in order."""
        return [self._held[stretch] for stretch in sorted(self._held)]


def choose_held_out(observer: Observer, candidates: Sequence[Candidate]) -> list[TrackedFrame]:
    """At most `LARGEST_HOLDOUT` sightings, spread evenly."""
    tracked_frames = [tracked_frame for _, tracked_frame in observer.tracked_frames(candidates)] if candidates else []
    return [tracked_frames[index] for index in even_indices(len(tracked_frames), LARGEST_HOLDOUT)]


def _worth(tracked_frame: TrackedFrame) -> float:
    """How much a sighting tells: sharp, uncovered, neither crushed nor blown out, eyes open."""
    quality, expression = tracked_frame.observation.quality, tracked_frame.observation.expression
    closed = max(float(expression[index]) for index in _BLINKS)
    return quality.sharpness * (1.0 - quality.occlusion) * (1.0 - quality.clipped) * (1.0 - CLOSED_EYES_LOSS * closed)
