"""Selection of keyframes, of expression frames and of held-out frames."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from statistics import median

import numpy as np

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

YAW_STEP_DEG, PITCH_STEP_DEG = 20.0, 18.0
"""Steps of the head's directions of which each that frames show has a keyframe."""
LARGEST_STEPS = (2, 1)
"""Steps of yaw and pitch beyond which directions are one."""
LEAST_WORTH = 0.5
"""Least value of the frame of a direction that no segment's best one shows, over the keyframes' median."""

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
    other frames by finer segments; memory holds one image a segment and direction.

    A direction of the head that none of these keyframes shows, because it was turned for moments only, takes the place
    of a frame of the most frequent direction.

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
    directions = _Directions()
    place = {id(candidate): index for index, candidate in enumerate(candidates)}
    for candidate, tracked_frame in person.tracked_frames(candidates, prefetcher):
        index = place[id(candidate)]
        if on_progress is not None:
            on_progress(index + 1)
        coarse.offer(index, tracked_frame)
        fine.offer(index, tracked_frame)
        directions.offer(index, tracked_frame)
    keyframes = directions.added_to(dict(coarse.best))
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


Direction = tuple[int, int]
"""Steps of yaw and of pitch."""


class _Directions:
    """Best frame of each direction of the head."""

    def __init__(self) -> None:
        self._held: dict[Direction, tuple[int, TrackedFrame]] = {}

    def offer(self, index: int, tracked_frame: TrackedFrame) -> None:
        """Keep the frame of a candidate if it is the best of its direction."""
        held = self._held.get(direction := _direction(tracked_frame))
        if held is None or _value(tracked_frame) > _value(held[1]):
            self._held[direction] = (index, tracked_frame)

    def added_to(self, keyframes: dict[int, TrackedFrame]) -> dict[int, TrackedFrame]:
        """Keyframes by their index, as many, with a frame of each direction that is worth it, in order."""
        found = dict(keyframes)
        least = LEAST_WORTH * median(_value(frame) for frame in keyframes.values()) if keyframes else 0.0
        # Directions near the camera's first: there are more of them than keyframes to give away.
        for direction in sorted(self._held, key=lambda steps: (abs(steps[0]) + abs(steps[1]), steps)):
            index, candidate = self._held[direction]
            shown = Counter(_direction(frame) for frame in found.values())
            if shown[direction] or _value(candidate) < least or not shown:
                continue
            frequent, count = shown.most_common(1)[0]
            if count == 1:
                break
            alike = [key for key, frame in found.items() if _direction(frame) == frequent]
            del found[min(alike, key=lambda key: _value(found[key]))]
            found[index] = candidate
        return dict(sorted(found.items()))


def _direction(tracked_frame: TrackedFrame) -> Direction:
    yaw, pitch, _ = np.degrees(tracked_frame.observation.pose.yaw_pitch_roll())
    steps = np.rint([yaw / YAW_STEP_DEG, pitch / PITCH_STEP_DEG]).astype(int)
    across, up = np.clip(steps, np.negative(LARGEST_STEPS), LARGEST_STEPS).tolist()
    return across, up


def choose_held_out(person: PersonTracker, candidates: Sequence[Candidate]) -> list[TrackedFrame]:
    """At most `LARGEST_HOLDOUT` tracked frames, evenly spaced."""
    tracked_frames = [tracked_frame for _, tracked_frame in person.tracked_frames(candidates)] if candidates else []
    return [tracked_frames[index] for index in even_indices(len(tracked_frames), LARGEST_HOLDOUT)]


def _value(tracked_frame: TrackedFrame) -> float:
    """Value of a frame for a fit: sharp, unoccluded, neither under- nor overexposed, eyes open."""
    quality, expression = tracked_frame.observation.quality, tracked_frame.observation.expression
    closed = max(float(expression[index]) for index in _BLINKS)
    return quality.sharpness * (1.0 - quality.occlusion) * (1.0 - quality.clipped) * (1.0 - CLOSED_EYES_LOSS * closed)
