"""Selection of keyframes, of expression frames and of held-out frames."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from fitme.ingest.candidates import Candidate
from fitme.ingest.even_spacing import even_indices
from fitme.ingest.monochrome import face_of, is_monochrome
from fitme.ingest.person_tracking import PersonTracker, TrackedFrame
from fitme.ingest.prefetch import Prefetcher
from fitme.shape.expressions import EXPRESSION_NAMES
from fitme.track.occlusion import FEWEST_OF_MAJORITY, SMALLEST_COVERED, FaceOcclusion

KEYFRAMES = 12
"""Largest number of keyframes."""
EXPRESSION_FRAMES = 60
"""Largest number of expression frames, from which a fit extracts expression correctives."""
LARGEST_HOLDOUT = 8
"""Largest number of held-out frames that are fitted, scored and written; all others are only kept from the fit."""
CLOSED_EYES_LOSS = 0.5
"""Share of its value that a frame loses when the eyes are closed."""

_BLINKS = [EXPRESSION_NAMES.index(name) for name in ("eyeBlinkLeft", "eyeBlinkRight")]


@dataclass(frozen=True)
class Choice:
    """Selected frames of a fit."""

    keyframes: tuple[TrackedFrame, ...]
    """In the order of the candidates."""
    expression_frames: tuple[TrackedFrame, ...]
    """Other frames, for expression correctives, in the order of the candidates."""
    least_covered: TrackedFrame | None = None
    """Keyframe whose face differs least from most others'; None of too few."""


def choose(
    person: PersonTracker,
    candidates: Sequence[Candidate],
    on_progress: Callable[[int], None] | None = None,
    prefetcher: Prefetcher | None = None,
) -> Choice:
    """Select the best frame of each of `KEYFRAMES` segments of the candidates, and at most `EXPRESSION_FRAMES` of the
    other frames by finer segments; memory holds one image a segment.

    :param on_progress: called with the number of candidates done.
    :param prefetcher: one that has begun with the candidates already.
    """
    choice = _choose_once(person, candidates, on_progress, prefetcher)
    # The vote is complete only now: if the first image did not show the person of the majority, all are tracked again.
    if person.elect():
        del choice  # Its images, before as many others are read.
        choice = _choose_once(person, candidates, on_progress, None)
    choice = replace(choice, least_covered=_find_occluders(person, choice.keyframes))
    if person.turned:
        turned = ", ".join(f"{name} by {turns * 90} degrees" for name, turns in sorted(person.turned.items()))
        person.warnings.append(f"the face was not upright, so these were turned: {turned}")
    faces = [face_of(keyframe.frame.image, keyframe.observation.landmarks) for keyframe in choice.keyframes]
    if faces and all(is_monochrome(face) for face in faces):
        person.warnings.append("all images are black and white: the colour of the skin is not to be known from them")
    return choice


def _find_occluders(person: PersonTracker, keyframes: Sequence[TrackedFrame]) -> TrackedFrame | None:
    """Name the keyframes in which something covers the face that is not there in most of them: it is left out. Returns
    the one in which least does; None of fewer than `FEWEST_OF_MAJORITY`."""
    if len(keyframes) < FEWEST_OF_MAJORITY:
        return None
    faces = [(k.frame.image, k.observation.landmarks, k.observation.pose) for k in keyframes]
    shares = FaceOcclusion(person.model, patience=len(faces)).majority_shares(faces)
    covered = [k.frame.source for k, share in zip(keyframes, shares, strict=True) if share >= SMALLEST_COVERED]
    if covered:
        person.warnings.append(
            f"something covers the face in {len(covered)} of {len(keyframes)} images, and is left out there: "
            + ", ".join(covered)
        )
    return keyframes[shares.index(min(shares))]


def _choose_once(
    person: PersonTracker,
    candidates: Sequence[Candidate],
    on_progress: Callable[[int], None] | None,
    prefetcher: Prefetcher | None,
) -> Choice:
    coarse, fine = _Segments(KEYFRAMES, len(candidates)), _Segments(KEYFRAMES + EXPRESSION_FRAMES, len(candidates))
    place = {id(candidate): index for index, candidate in enumerate(candidates)}
    for candidate, tracked_frame in person.tracked_frames(candidates, prefetcher):
        index = place[id(candidate)]
        if on_progress is not None:
            on_progress(index + 1)
        coarse.offer(index, tracked_frame)
        fine.offer(index, tracked_frame)
    keyframes = dict(coarse.best)
    left = [tracked_frame for index, tracked_frame in fine.best if index not in keyframes]
    return Choice(tuple(keyframes.values()), tuple(left[index] for index in even_indices(len(left), EXPRESSION_FRAMES)))


class _Segments:
    """Best frame of each of at most `count` equal segments of the candidates."""

    def __init__(self, count: int, candidates: int) -> None:
        self._count, self._candidates = min(count, candidates), candidates
        self._held: dict[int, tuple[int, TrackedFrame]] = {}

    def offer(self, index: int, tracked_frame: TrackedFrame) -> None:
        """Keep the frame of a candidate if it is the best of its segment."""
        segment = index * self._count // self._candidates
        held = self._held.get(segment)
        if held is None or _value(tracked_frame) > _value(held[1]):
            self._held[segment] = (index, tracked_frame)

    @property
    def best(self) -> list[tuple[int, TrackedFrame]]:
        """Index and frame of each segment that has one, in order; with a covered face only if all are covered."""
        held = [self._held[segment] for segment in sorted(self._held)]
        return [entry for entry in held if entry[1].observation.quality.occlusion == 0.0] or held


def choose_held_out(person: PersonTracker, candidates: Sequence[Candidate]) -> list[TrackedFrame]:
    """At most `LARGEST_HOLDOUT` tracked frames, evenly spaced."""
    tracked_frames = [tracked_frame for _, tracked_frame in person.tracked_frames(candidates)] if candidates else []
    return [tracked_frames[index] for index in even_indices(len(tracked_frames), LARGEST_HOLDOUT)]


def _value(tracked_frame: TrackedFrame) -> float:
    """Value of a frame for a fit: sharp, unoccluded, neither under- nor overexposed, eyes open."""
    quality, expression = tracked_frame.observation.quality, tracked_frame.observation.expression
    closed = max(float(expression[index]) for index in _BLINKS)
    return quality.sharpness * (1.0 - quality.occlusion) * (1.0 - quality.clipped) * (1.0 - CLOSED_EYES_LOSS * closed)
