"""Keyframe set: the keyframes of a fit, and which of them a round works on.

A round works on all new keyframes and a few old ones, the reference keyframes. The others are marginalised
(`fitme.fit.keyframes.marginalized`).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from fitme.arrays import Float32Array, Float64Array
from fitme.fit.alignment.face_crop import FaceCrop
from fitme.fit.alignment.limbus import LimbusView
from fitme.fit.estimate import KeyframeEstimate
from fitme.fit.inversion.losses import TargetFace
from fitme.fit.keyframe import Keyframe
from fitme.fit.keyframes.marginalized import MarginalizedKeyframes
from fitme.fit.solver.marginal_information import MarginalInformation
from fitme.fit.texture.delighting import ViewAlbedo
from fitme.fit.texture.teeth import TeethView


@dataclass(frozen=True, eq=False)
class KeyframeTeeth:
    """Teeth of a keyframe, and the head by which they were found."""

    view: TeethView | None
    """None where its mouth is closed."""
    estimate: KeyframeEstimate
    usable: Float32Array
    """(H, W) weights of pixels."""
    identity: Float32Array
    """(K + 1,) with the height of the upper row."""
    focal: float
    """Focal length over the longer side of the image."""

    def still_of(self, entry: "KeyframeEntry", identity: Float32Array, focal: float) -> bool:
        """Whether they would be found the same now."""
        same = self.estimate is entry.estimate and self.usable is entry.usable and self.focal == focal
        return same and np.array_equal(self.identity, identity)


@dataclass
class KeyframeEntry:
    """A keyframe of the set, its estimate, and what is computed from its image once."""

    keyframe: Keyframe
    usable: Float32Array
    """(H, W) weight in [0, 1] of each pixel: 0 where the head is covered or absent."""
    crop: FaceCrop
    """The face at the resolution of the dense stages."""
    estimate: KeyframeEstimate | None = None
    """None before the first solve."""
    view_albedo: ViewAlbedo | None = None
    """De-lit albedo of the image; None before it is sampled at full resolution."""
    teeth: KeyframeTeeth | None = None
    """Teeth in the image; None before they are looked for."""
    disagreement: float | None = None
    """Disagreement with the fused texture of the others, sRGB-encoded units; None before the first comparison."""
    target_face: TargetFace | None = None
    """Target of the identity loss; None before it is computed."""
    limbus: tuple[LimbusView, ...] | None = None
    """Rims of the irises; None before they are computed."""
    glasses_left_out: bool = False
    """Whether `usable` is 0 where glasses cover the head."""
    hair_left_out: bool = False
    """Whether `usable` is 0 where hair falls on cheeks and ears."""
    track_information: MarginalInformation | None = None
    """This keyframe's share of the marginal information of its last track solve."""

    @property
    def key(self) -> str:
        """Key of the keyframe."""
        return self.keyframe.key

    @property
    def direction(self) -> Float64Array:
        """Yaw and pitch (2,) of the head as tracked, radians."""
        return np.array(self.keyframe.observation.pose.yaw_pitch_roll()[:2])

    @property
    def sharpness(self) -> float:
        """Sharpness of the face in the image (`fitme.track.observation.FrameQuality`)."""
        return self.keyframe.observation.quality.sharpness

    @property
    def solved(self) -> KeyframeEstimate:
        """The estimate of a keyframe that must have one. Raises LookupError otherwise."""
        if self.estimate is None:
            raise LookupError(f"keyframe {self.key!r} has not been solved for yet")
        return self.estimate


class KeyframeSet:
    """Keyframes in order of arrival: new, active and marginalised ones; and the reasons why others were dropped."""

    def __init__(self, marginalized: MarginalizedKeyframes, reference_count: int) -> None:
        """Keyframe set with at most `reference_count` old keyframes active beside the new ones."""
        self._marginalized = marginalized
        self._reference_count = reference_count
        self._entries: dict[str, KeyframeEntry] = {}
        self._new: set[str] = set()
        self._active: tuple[str, ...] = ()
        self.dropped: dict[str, str] = {}
        """Reasons, by the keys of keyframes that were dropped as outliers."""
        self.selection_stale = False
        """Whether the active keyframes are to be selected anew."""

    def __contains__(self, key: str) -> bool:
        return key in self._entries

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def entries(self) -> Mapping[str, KeyframeEntry]:
        """All entries, by their keys."""
        return self._entries

    @property
    def active(self) -> list[KeyframeEntry]:
        """Entries that a round works on."""
        return [self._entries[key] for key in self._active]

    @property
    def new(self) -> tuple[str, ...]:
        """Keys of the keyframes that were added since the fit last converged."""
        return tuple(key for key in self._entries if key in self._new)

    @property
    def estimates(self) -> dict[str, KeyframeEstimate]:
        """Estimates of the keyframes that have been solved for, by their keys."""
        return {key: entry.estimate for key, entry in self._entries.items() if entry.estimate is not None}

    @property
    def track_information(self) -> dict[str, MarginalInformation]:
        """Shares of the marginal information of track solves, by the keys of the keyframes that took part in one."""
        return {
            key: entry.track_information
            for key, entry in self._entries.items()
            if entry.track_information is not None
        }  # fmt: skip

    @property
    def marginalized(self) -> MarginalizedKeyframes:
        """Sums over the marginalised keyframes."""
        return self._marginalized

    def add(self, entry: KeyframeEntry, *, new: bool) -> None:
        """Add a keyframe; `new` unless the fit has converged with it."""
        self._entries[entry.key] = entry
        if new:
            self._new.add(entry.key)
        self.selection_stale = True

    def remove(self, key: str) -> None:
        """Remove a keyframe, if it is in the set."""
        self._entries.pop(key, None)
        self._new.discard(key)
        self._marginalized.reactivate(key)
        self.selection_stale = True

    def converge(self) -> None:
        """The fit has converged: no keyframe is new any more."""
        self._new.clear()

    def activate_solved(self) -> None:
        """Make all keyframes with an estimate active, until the active ones are selected anew."""
        self._active = tuple(self.estimates)
        self.selection_stale = True

    def select_active(self, information_of: Callable[[KeyframeEntry], MarginalInformation]) -> None:
        """Select the active keyframes and marginalise all others.

        :param information_of: marginal information of a keyframe's landmarks on identity and focal length.
        :raises LookupError: if a keyframe is to be marginalised whose albedo was never sampled.
        """
        entries = self._entries
        new = self.new
        directions = {key: entry.direction for key, entry in entries.items()}
        losses = {key: entry.solved.loss for key, entry in entries.items() if key not in self._new}
        selected = {*new, *reference_keyframes(directions, losses, new, self._reference_count)}
        for key in selected:
            self._marginalized.reactivate(key)
        for key, entry in entries.items():
            if key not in selected and key not in self._marginalized:
                if entry.view_albedo is None:
                    raise LookupError(f"keyframe {key!r} cannot be marginalised before its albedo is sampled")
                self._marginalized.marginalize(key, entry.view_albedo, entry.sharpness, information_of(entry))
        self._active = tuple(key for key in entries if key in selected)
        self.selection_stale = False


def reference_keyframes(
    directions: Mapping[str, Float64Array],
    losses: Mapping[str, float],
    new: Sequence[str],
    count: int,
) -> list[str]:
    """Keys of at most `count` old keyframes, chosen greedily by the distance of their head directions to those of the
    `new` and already chosen ones, times their loss over the median loss.

    :param directions: yaw and pitch (2,) of every head, radians, by key.
    :param losses: photometric errors of the old keyframes, by key.
    """
    chosen = list(new)
    old = [key for key in directions if key not in chosen]
    typical = float(np.median([losses[key] for key in old])) if old else 1.0

    def worth(key: str) -> float:
        nearest = min((float(np.abs(directions[key] - directions[other]).sum()) for other in chosen), default=1.0)
        return nearest * losses[key] / max(typical, 1e-6)

    for _ in range(min(count, len(old))):
        chosen.append(max((key for key in old if key not in chosen), key=worth))
    return chosen[len(new) :]


def parallax(entries: Sequence[KeyframeEntry]) -> float:
    """Largest distance between the yaws and pitches of two heads, degrees; 0 without heads."""
    if not entries:
        return 0.0
    directions = np.stack([entry.direction for entry in entries])  # (N, 2)
    return float(np.degrees(np.linalg.norm(directions[:, None] - directions[None], axis=-1).max()))
