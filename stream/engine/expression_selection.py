"""Selection of expression frames from a stream: a bounded set beside the keyframes, for albedo correctives.

Only frames that show the person well and sharply from the front are considered. One whose expression neither a keyframe
nor a kept frame shows is added; when the set is full, it takes the place of the least novel of them if it is clearly
more novel. Each such exchange leaves one frame less that is as little novel, and faces can differ only so
much: however long somebody talks, the set stops changing.
"""

import math
from collections.abc import Collection, Sequence

import numpy as np
from scipy.spatial.distance import cdist

from fitme.arrays import Float64Array, UInt8Array
from fitme.fit.keyframe import Keyframe
from fitme.fit.texture.expression_distance import expression_axes, expression_gram
from fitme.shape.morphable_model import MorphableModel
from fitme.track.observation import FaceObservation
from stream.engine.keyframe_selection import Decision, Identify, flaw, number_of
from stream.settings import ExpressionSettings, SelectorSettings

NOT_KEPT = Decision(None, ())


class ExpressionSelector:
    """Chooses expression frames from a stream. The same frames in the same order give the same choice."""

    def __init__(
        self,
        model: MorphableModel,
        count: int,
        settings: ExpressionSettings | None = None,
        quality: SelectorSettings | None = None,
    ) -> None:
        """
        :param count: frames at most; none are kept if it is 0.
        :param quality: limits that a frame must keep, those of keyframes.
        """
        self._axes = expression_axes(expression_gram(model).double().numpy())
        self._count = count
        self._settings = settings or ExpressionSettings()
        self._quality = quality or SelectorSettings()
        self._held: dict[str, Float64Array] = {}
        self._number = 0
        self._time_s = -math.inf

    @property
    def keys(self) -> tuple[str, ...]:
        """Of the kept frames, in the order of their keeping."""
        return tuple(self._held)

    def restore(self, frame: Keyframe) -> None:
        """Keep a frame of an earlier process without checks."""
        self._held[frame.key] = self._point(frame.observation)
        self._number = max(self._number, number_of(frame.key) + 1)

    def discard(self, keys: Collection[str]) -> None:
        """Forget kept frames."""
        for key in keys:
            self._held.pop(key, None)

    def offer(
        self,
        image: UInt8Array,
        observation: FaceObservation,
        timestamp_s: float,
        keyframes: Sequence[Keyframe],
        identify: Identify,
    ) -> Decision:
        """Decide on a frame that is no keyframe.

        :param image: (H, W, 3) uint8 sRGB frame that `observation` is of. It is copied if it is kept.
        :param timestamp_s: time of capture, seconds, growing.
        :param keyframes: those that are kept now; nothing is kept before there are some.
        """
        settings = self._settings
        too_soon = timestamp_s - self._time_s < settings.interval_s
        if self._count == 0 or not keyframes or too_soon or not self._shows_well(observation, keyframes):
            return NOT_KEPT
        point = self._point(observation)
        known = np.stack([keyframe.observation.expression for keyframe in keyframes]) @ self._axes  # (N, 52)
        dropped: tuple[str, ...] = ()
        least_m = settings.novelty_m
        if len(self._held) >= self._count:
            key, novelty_m = self._least_novel(known)
            dropped, least_m = (key,), max(least_m, settings.gain * novelty_m)
        others = [held for key, held in self._held.items() if key not in dropped]
        if cdist([point], [*known, *others]).min() < least_m:
            return NOT_KEPT
        identified = identify(observation)
        if identified is None:
            return NOT_KEPT
        for key in dropped:
            del self._held[key]
        frame = Keyframe(f"study-{self._number:06d}", image.copy(), identified, timestamp_s)
        self._held[frame.key] = point
        self._number += 1
        self._time_s = timestamp_s
        return Decision(frame, dropped)

    def _shows_well(self, observation: FaceObservation, keyframes: Sequence[Keyframe]) -> bool:
        sharpness = float(np.median([keyframe.observation.quality.sharpness for keyframe in keyframes]))
        yaw, pitch, _ = observation.pose.yaw_pitch_roll()
        return (
            flaw(observation, self._quality) is None
            and observation.quality.sharpness >= self._settings.sharpness * sharpness
            and max(abs(yaw), abs(pitch)) <= self._settings.turn_rad
        )

    def _point(self, observation: FaceObservation) -> Float64Array:
        return np.asarray(observation.expression @ self._axes)

    def _least_novel(self, known: Float64Array) -> tuple[str, float]:
        """The key of the kept frame that is nearest to another, or to points (N, 52), and how near in metres."""
        held = np.stack(list(self._held.values()))  # (M, 52)
        among = cdist(held, held)
        np.fill_diagonal(among, np.inf)
        novelty_m = np.minimum(among.min(1), cdist(held, known).min(1))  # (M,)
        index = int(novelty_m.argmin())
        return list(self._held)[index], float(novelty_m[index])
