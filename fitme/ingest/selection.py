"""Which sightings a fit explains, and which of those kept from it score it."""

from collections.abc import Callable, Sequence

from fitme.ingest.gather import Candidate
from fitme.ingest.lookout import Lookout
from fitme.ingest.observe import Observer, Sighting
from fitme.ingest.spread import even_indices
from fitme.shape import EXPRESSION_NAMES

KEYFRAMES = 12
"""Pictures that a fit explains."""
LARGEST_HOLDOUT = 8
"""Held-out frames that are explained and written; all others of the share are only kept from the fit."""
CLOSED_EYES_LOSS = 0.5
"""Share of its worth that a picture loses when the eyes are closed."""

_BLINKS = [EXPRESSION_NAMES.index(name) for name in ("eyeBlinkLeft", "eyeBlinkRight")]


def choose_keyframes(
    observer: Observer,
    candidates: Sequence[Candidate],
    on_progress: Callable[[int], None] | None = None,
    lookout: Lookout | None = None,
) -> list[Sighting]:
    """The best sighting of each of `KEYFRAMES` stretches of the candidates; holds no more pictures than that.

    `on_progress` is called with the number of candidates done; a `lookout` may have begun with them already.
    """
    stretches = min(KEYFRAMES, len(candidates))
    place = {id(candidate): index for index, candidate in enumerate(candidates)}
    best: dict[int, Sighting] = {}
    for candidate, sighting in observer.sightings(candidates, lookout):
        index = place[id(candidate)]
        if on_progress is not None:
            on_progress(index + 1)
        stretch = index * stretches // len(candidates)
        held = best.get(stretch)
        if held is None or _worth(sighting) > _worth(held):
            best[stretch] = sighting
    return [best[stretch] for stretch in sorted(best)]


def choose_held_out(observer: Observer, candidates: Sequence[Candidate]) -> list[Sighting]:
    """At most `LARGEST_HOLDOUT` sightings, spread evenly."""
    sightings = [sighting for _, sighting in observer.sightings(candidates)] if candidates else []
    return [sightings[index] for index in even_indices(len(sightings), LARGEST_HOLDOUT)]


def _worth(sighting: Sighting) -> float:
    """How much a sighting tells: sharp, uncovered, neither crushed nor blown out, eyes open."""
    quality, expression = sighting.observation.quality, sighting.observation.expression
    closed = max(float(expression[index]) for index in _BLINKS)
    return quality.sharpness * (1.0 - quality.occlusion) * (1.0 - quality.clipped) * (1.0 - CLOSED_EYES_LOSS * closed)
