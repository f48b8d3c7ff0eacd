"""The keyframes that a fit holds, and which of them a round works on: all new ones and a few old ones.

The others rest in what they have said (`fitme.fit.keyframes.marginalized`).
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


@dataclass
class KeyframeEntry:
    """A keyframe that is held, and all that is known of it."""

    keyframe: Keyframe
    usable: Float32Array
    """(H, W) how far each pixel shows the uncovered head."""
    crop: FaceCrop
    """At the resolution of dense stages."""
    estimate: KeyframeEstimate | None = None
    """None before the first solve."""
    view_albedo: ViewAlbedo | None = None
    """What it says of the albedo; None before it was sampled finely."""
    disagreement: float | None = None
    """With what the others show; None before the first comparison."""
    face: TargetFace | None = None
    """As the identity network sees it; None before it was asked."""
    eyes: tuple[LimbusView, ...] | None = None
    """Rims of its irises; None before they were looked for."""
    tracked: MarginalInformation | None = None
    """Its share of what the last tracks that it took part in said."""

    @property
    def key(self) -> str:
        """Its name."""
        return self.keyframe.key

    @property
    def direction(self) -> Float64Array:
        """Yaw and pitch (2,) of the head as tracked, radians."""
        return np.array(self.keyframe.observation.pose.yaw_pitch_roll()[:2])

    @property
    def sharpness(self) -> float:
        """Of the face in its picture."""
        return self.keyframe.observation.quality.sharpness

    @property
    def known(self) -> KeyframeEstimate:
        """Its estimate, where it must have one. Raises LookupError otherwise."""
        if self.estimate is None:
            raise LookupError(f"keyframe {self.key!r} has not been solved for yet")
        return self.estimate


class KeyframeSet:
    """The keyframes held, in order of arrival: new, active, resting; and why others were dropped."""

    def __init__(self, rest: MarginalizedKeyframes, reference_count: int) -> None:
        """`reference_count` old keyframes at most are worked on beside new ones."""
        self._rest = rest
        self._reference_count = reference_count
        self._entries: dict[str, KeyframeEntry] = {}
        self._new: set[str] = set()
        self._active: tuple[str, ...] = ()
        self.dropped: dict[str, str] = {}
        """Reasons, by the keys of keyframes that are not held any more."""
        self.stale = False
        """Who is active is to be settled again."""

    def __contains__(self, key: str) -> bool:
        return key in self._entries

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def entries(self) -> Mapping[str, KeyframeEntry]:
        """All, by their keys."""
        return self._entries

    @property
    def active(self) -> list[KeyframeEntry]:
        """Those that are worked on."""
        return [self._entries[key] for key in self._active]

    @property
    def new(self) -> tuple[str, ...]:
        """Keys of those that have come since the fit last rested."""
        return tuple(key for key in self._entries if key in self._new)

    @property
    def estimates(self) -> dict[str, KeyframeEstimate]:
        """Of those that have been solved for."""
        return {key: entry.estimate for key, entry in self._entries.items() if entry.estimate is not None}

    @property
    def tracked(self) -> dict[str, MarginalInformation]:
        """What tracks have said, of those that took part in some."""
        return {key: entry.tracked for key, entry in self._entries.items() if entry.tracked is not None}

    @property
    def rest(self) -> MarginalizedKeyframes:
        """What resting keyframes have said."""
        return self._rest

    def add(self, entry: KeyframeEntry, *, new: bool) -> None:
        """One more; `new` unless the fit has rested with it."""
        self._entries[entry.key] = entry
        if new:
            self._new.add(entry.key)
        self.stale = True

    def remove(self, key: str) -> None:
        """One less, if it is held."""
        self._entries.pop(key, None)
        self._new.discard(key)
        self._rest.reactivate(key)
        self.stale = True

    def settle(self) -> None:
        """The fit rests: nobody is new any more."""
        self._new.clear()

    def recall(self) -> None:
        """Work on all that have been solved for, until it is settled again who is active."""
        self._active = tuple(self.estimates)
        self.stale = True

    def choose(self, information_of: Callable[[KeyframeEntry], MarginalInformation]) -> None:
        """Settle who is worked on and who rests; `information_of` tells what landmarks say of one that goes to rest."""
        entries = self._entries
        new = self.new
        directions = {key: entry.direction for key, entry in entries.items()}
        losses = {key: entry.known.loss for key, entry in entries.items() if key not in self._new}
        called = {*new, *reference_keyframes(directions, losses, new, self._reference_count)}
        for key in called:
            self._rest.reactivate(key)
        for key, entry in entries.items():
            if key not in called and key not in self._rest:
                if entry.view_albedo is None:
                    raise LookupError(f"keyframe {key!r} cannot rest before its texture was seen")
                self._rest.marginalize(key, entry.view_albedo, entry.sharpness, information_of(entry))
        self._active = tuple(key for key in entries if key in called)
        self.stale = False


def reference_keyframes(
    directions: Mapping[str, Float64Array],
    losses: Mapping[str, float],
    new: Sequence[str],
    count: int,
) -> list[str]:
    """At most `count` old keyframes to go with `new` ones, as different from these and from each other as can be; of
    equally different ones those that are explained worst.

    `directions` holds yaw and pitch (2,) of every head in radians, `losses` the error of the old keyframes.
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
    """Largest distance between two of some heads' yaws and pitches, degrees; 0 without heads."""
    if not entries:
        return 0.0
    directions = np.stack([entry.direction for entry in entries])  # (N, 2)
    return float(np.degrees(np.linalg.norm(directions[:, None] - directions[None], axis=-1).max()))
