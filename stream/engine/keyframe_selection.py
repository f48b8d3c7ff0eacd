"""Selection of keyframes from a stream: a bounded set, diverse in direction and expression, each of good quality.

Only frames that show the person well are considered. One that differs enough from all that are kept is added; one that
resembles a kept frame takes its place if it is clearly better. When the set is full, the more redundant goes. The best
frame of a direction that is wanted leaves only for a better one.
"""

import itertools
import math
from collections.abc import Callable, Collection
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, NamedTuple

import numpy as np

from fitme.arrays import Float64Array, UInt8Array
from fitme.fit.keyframe import Keyframe
from fitme.shape.expressions import expression_index
from fitme.track.observation import FaceObservation, FaceStatus
from stream.protocol.events import CoverageEvent, Direction
from stream.protocol.protocol import PromptCode
from stream.settings import SelectorSettings

YAWS_DEG: Final = (-40.0, -20.0, 0.0, 20.0, 40.0)
"""Centres of the dial's columns; > 0 is the person's left."""
PITCHES_DEG: Final = (-18.0, 0.0, 18.0)
"""Centres of the dial's rows; > 0 is up."""
_JAW_OPEN: Final = expression_index("jawOpen")
_SMILES: Final = [expression_index("mouthSmileLeft"), expression_index("mouthSmileRight")]
_PUCKERS: Final = [expression_index("mouthPucker"), expression_index("mouthFunnel")]
_BLINKS: Final = [expression_index("eyeBlinkLeft"), expression_index("eyeBlinkRight")]

SHOWN: Final = 0.35
"""Coefficient from which an expression counts as shown."""

Identify = Callable[[FaceObservation], FaceObservation | None]
"""Checks the identity of the frame that an observation is of: the observation with the frame's own embedding, or None
if it shows another person. It is expensive, so that only frames that would be kept are checked."""

Cell = tuple[int, int]
"""(column, row) of the dial."""

WANTED: Final[tuple[tuple[Cell, PromptCode], ...]] = (
    ((2, 1), PromptCode.LOOK_STRAIGHT),
    ((3, 1), PromptCode.TURN_LEFT),
    ((1, 1), PromptCode.TURN_RIGHT),
    ((2, 2), PromptCode.LOOK_UP),
    ((2, 0), PromptCode.LOOK_DOWN),
    ((4, 1), PromptCode.TURN_LEFT),
    ((0, 1), PromptCode.TURN_RIGHT),
)
"""The directions that a fit profits from and how to ask for them, the most useful first."""


class Reason(StrEnum):
    """Decision on an offered frame, with its cause."""

    ADDED = "added"
    REPLACED = "replaced"
    NOT_THE_PERSON = "not_the_person"
    TOO_SMALL = "too_small"
    TOO_CLOSE = "too_close"
    TOO_DARK = "too_dark"
    TOO_BRIGHT = "too_bright"
    OCCLUDED = "occluded"
    BLURRED = "blurred"
    REDUNDANT = "redundant"
    """A kept frame is like it and about as good."""
    TOO_SOON = "too_soon"
    """The last keyframe is too recent."""


_PROMPT_OF_REASON: Final = {
    Reason.TOO_SMALL: PromptCode.COME_CLOSER,
    Reason.TOO_CLOSE: PromptCode.MOVE_BACK,
    Reason.TOO_DARK: PromptCode.MORE_LIGHT,
    Reason.TOO_BRIGHT: PromptCode.LESS_LIGHT,
    Reason.BLURRED: PromptCode.HOLD_STILL,
}


class Decision(NamedTuple):
    """Decision on a frame."""

    keyframe: Keyframe | None
    """The frame as a keyframe, or None if it is not kept."""
    dropped: tuple[str, ...]
    """Keys of keyframes that are not kept any more."""


@dataclass(frozen=True)
class _Held:
    keyframe: Keyframe
    cell: Cell
    features: Float64Array
    """(5,) in units in which a distance of 1 is not redundant."""
    worth: float


class KeyframeSelector:
    """Chooses keyframes from a stream. The same frames in the same order give the same choice."""

    def __init__(self, settings: SelectorSettings | None = None) -> None:
        """:raises ValueError: if `count` is less than the number of wanted directions."""
        self._settings = settings or SelectorSettings()
        if self._settings.count < len(WANTED):
            raise ValueError(f"count is {self._settings.count}; it must be at least {len(WANTED)}")
        self._held: dict[str, _Held] = {}
        self._number = 0
        self._time_s = -math.inf
        self._reason = Reason.REDUNDANT

    @property
    def keyframes(self) -> tuple[Keyframe, ...]:
        """The kept frames in the order of their keeping."""
        return tuple(held.keyframe for held in self._held.values())

    @property
    def reason(self) -> Reason:
        """Decision on the frame that was offered last."""
        return self._reason

    def restore(self, keyframe: Keyframe) -> None:
        """Keep a keyframe of an earlier process without checks."""
        self._held[keyframe.key] = self._describe(keyframe)
        self._number = max(self._number, number_of(keyframe.key) + 1)

    def discard(self, keys: Collection[str]) -> None:
        """Forget kept frames."""
        for key in keys:
            self._held.pop(key, None)

    def offer(
        self, image: UInt8Array, observation: FaceObservation, timestamp_s: float, identify: Identify
    ) -> Decision:
        """Decide on a frame; `reason` gives the cause.

        :param image: (H, W, 3) uint8 sRGB frame that `observation` is of. It is copied if it is kept.
        :param timestamp_s: time of capture, seconds, growing.
        :param identify: called before the frame is kept.
        """
        found = flaw(observation, self._settings)
        if found is not None:
            return self._reject(found)
        if timestamp_s - self._time_s < self._settings.interval_s:
            return self._reject(Reason.TOO_SOON)
        candidate = self._describe(Keyframe(f"live-{self._number:06d}", image, observation, timestamp_s))
        alike = [held for held in self._held.values() if self._distance(held, candidate) < 1.0]
        in_cell = [held for held in alike if held.cell == candidate.cell]
        needed = _is_wanted(candidate.cell) and not any(held.cell == candidate.cell for held in self._held.values())
        if not alike or needed:
            return self._add(candidate, identify)
        if len(in_cell) == len(alike) and all(
            candidate.worth > self._settings.improvement * held.worth for held in in_cell
        ):
            return self._keep(candidate, [held.keyframe.key for held in in_cell], Reason.REPLACED, identify)
        return self._reject(Reason.REDUNDANT)

    def coverage(self) -> CoverageEvent:
        """Directions seen and wanted, and the prompt as long as directions or expressions are missing."""
        seen = {held.cell for held in self._held.values()}
        wanted = [cell for cell, _ in WANTED]
        directions = tuple(
            Direction(math.radians(yaw), math.radians(pitch), (column, row) in seen, (column, row) in wanted)
            for (row, pitch), (column, yaw) in itertools.product(enumerate(PITCHES_DEG), enumerate(YAWS_DEG))
        )
        fraction = sum(cell in seen for cell in wanted) / len(wanted)
        return CoverageEvent(directions, fraction, len(self._held), self._wish(seen))

    def prompt(self) -> PromptCode | None:
        """Prompt for the person now: a better frame than the last, or else for a missing direction or mouth shape."""
        return _PROMPT_OF_REASON.get(self._reason) or self._wish({held.cell for held in self._held.values()})

    def _wish(self, seen: set[Cell]) -> PromptCode | None:
        for cell, prompt in WANTED:
            if cell not in seen:
                return prompt
        expressions = [held.keyframe.observation.expression for held in self._held.values()]
        if not any(expression[_SMILES].mean() > SHOWN for expression in expressions):
            return PromptCode.SMILE
        if not any(expression[_JAW_OPEN] > SHOWN for expression in expressions):
            return PromptCode.OPEN_MOUTH
        return None

    def _describe(self, keyframe: Keyframe) -> _Held:
        settings, observation = self._settings, keyframe.observation
        yaw, pitch, _ = observation.pose.yaw_pitch_roll()
        expression = observation.expression
        mouth = np.array([expression[_JAW_OPEN], expression[_SMILES].mean(), expression[_PUCKERS].mean()], np.float64)
        direction = [yaw / settings.yaw_step_rad, pitch / settings.pitch_step_rad]
        features = np.concatenate([direction, mouth / settings.expression_step])
        return _Held(keyframe, _cell(yaw, pitch), features, worth(observation))

    def _distance(self, a: _Held, b: _Held) -> float:
        return float(np.abs(a.features - b.features).max())

    def _add(self, candidate: _Held, identify: Identify) -> Decision:
        """Add a frame; of a set that is then too large, the less worthy of the two that are most alike goes.

        The set must clearly gain by it, in spread or in worth: else frames of a person who moves on and on would take
        each other's places without end, and the fit would never converge.
        """
        if len(self._held) < self._settings.count:
            return self._keep(candidate, [], Reason.ADDED, identify)
        everyone = [*self._held.values(), candidate]
        best = {
            cell: max((held for held in everyone if held.cell == cell), key=lambda held: held.worth).keyframe.key
            for cell in {held.cell for held in everyone}
            if _is_wanted(cell)
        }
        pairs = sorted(itertools.combinations(everyone, 2), key=lambda pair: self._distance(*pair))
        for pair in pairs:
            for held in sorted(pair, key=lambda one: one.worth):
                if held.keyframe.key in best.values():
                    continue
                if held is candidate or not self._gains(candidate, pair, held):
                    return self._reject(Reason.REDUNDANT)
                return self._keep(candidate, [held.keyframe.key], Reason.REPLACED, identify)
        return self._reject(Reason.REDUNDANT)

    def _gains(self, candidate: _Held, pair: tuple[_Held, _Held], dropped: _Held) -> bool:
        """Whether the set clearly gains by a candidate in place of one of the two frames that are most alike."""
        factor = self._settings.improvement
        if _is_wanted(candidate.cell) and all(held.cell != candidate.cell for held in self._held.values()):
            return True
        if any(one is candidate for one in pair):
            return candidate.worth > factor * dropped.worth
        nearest = min(self._distance(candidate, held) for held in self._held.values() if held is not dropped)
        return nearest > factor * self._distance(*pair)

    def _keep(self, candidate: _Held, dropped: list[str], reason: Reason, identify: Identify) -> Decision:
        found = candidate.keyframe
        observation = identify(found.observation)
        if observation is None:
            return self._reject(Reason.NOT_THE_PERSON)
        for key in dropped:
            del self._held[key]
        keyframe = Keyframe(found.key, found.image.copy(), observation, found.timestamp_s)
        self._held[keyframe.key] = _Held(keyframe, candidate.cell, candidate.features, candidate.worth)
        self._number += 1
        self._time_s, self._reason = found.timestamp_s, reason
        return Decision(keyframe, tuple(dropped))

    def _reject(self, reason: Reason) -> Decision:
        self._reason = reason
        return Decision(None, ())


def flaw(observation: FaceObservation, settings: SelectorSettings) -> Reason | None:
    """Flaw that makes a frame useless for the fit; None if it has none."""
    quality, camera = observation.quality, observation.camera
    flaws = (
        (observation.status is not FaceStatus.OK, Reason.NOT_THE_PERSON),
        (quality.face_size_px < settings.smallest_face_px, Reason.TOO_SMALL),
        (quality.face_size_px > settings.largest_face * min(camera.width, camera.height), Reason.TOO_CLOSE),
        (quality.exposure < settings.least_exposure, Reason.TOO_DARK),
        (quality.exposure > settings.most_exposure or quality.clipped > settings.most_clipped, Reason.TOO_BRIGHT),
        (quality.occlusion > settings.most_occlusion, Reason.OCCLUDED),
        (quality.sharpness < settings.least_sharpness, Reason.BLURRED),
    )
    return next((reason for holds, reason in flaws if holds), None)


def worth(observation: FaceObservation) -> float:
    """Quality of a frame for the fit, > 0: sharp, large, well exposed, eyes open."""
    quality = observation.quality
    size = min(quality.face_size_px / 200.0, 1.5)
    exposure = max(1.0 - 1.5 * abs(quality.exposure - 0.5), 0.1)
    eyes = 1.0 - 0.5 * float(observation.expression[_BLINKS].max())
    return max(quality.sharpness, 1e-3) * math.sqrt(size) * exposure * (1.0 - quality.clipped) * eyes


def _cell(yaw: float, pitch: float) -> Cell:
    column = int(np.argmin(np.abs(np.radians(YAWS_DEG) - yaw)))
    return column, int(np.argmin(np.abs(np.radians(PITCHES_DEG) - pitch)))


def _is_wanted(cell: Cell) -> bool:
    return any(cell == wanted for wanted, _ in WANTED)


def number_of(key: str) -> int:
    """The number at the end of a frame's key; 0 where there is none."""
    digits = key.rpartition("-")[2]
    return int(digits) if digits.isdecimal() else 0
