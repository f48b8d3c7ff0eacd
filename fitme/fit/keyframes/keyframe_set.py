"""The keyframes that a fit holds, and which of them a round works on: all new ones and a few old ones.

The others rest in what they have said (`fitme.fit.keyframes.marginalized`).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from fitme.fit.alignment.face_crop import FaceCrop
from fitme.fit.alignment.limbus import LimbusView
from fitme.fit.estimate import KeyframeEstimate
from fitme.fit.inversion.losses import TargetFace
from fitme.fit.keyframe import Keyframe
from fitme.fit.keyframes.marginalized import Rest
from fitme.fit.solver.marginal_information import SharedEvidence
from fitme.fit.texture.delighting import DelitView


@dataclass
class Member:
    """A keyframe that is held, and all that is known of it."""

    keyframe: Keyframe
    usable: npt.NDArray[np.float32]
    """(H, W) how far each pixel shows the uncovered head."""
    crop: FaceCrop
    """At the resolution of dense stages."""
    estimate: KeyframeEstimate | None = None
    """None before the first solve."""
    delit: DelitView | None = None
    """What it says of the albedo; None before it was sampled finely."""
    disagreement: float | None = None
    """With what the others show; None before the first comparison."""
    face: TargetFace | None = None
    """As the identity network sees it; None before it was asked."""
    eyes: tuple[LimbusView, ...] | None = None
    """Rims of its irises; None before they were looked for."""
    tracked: SharedEvidence | None = None
    """Its share of what the last tracks that it took part in said."""

    @property
    def key(self) -> str:
        """Its name."""
        return self.keyframe.key

    @property
    def direction(self) -> npt.NDArray[np.float64]:
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


class Roster:
    """The keyframes held, in order of arrival: new, active, resting; and why others were dropped."""

    def __init__(self, rest: Rest, companion_count: int) -> None:
        """`companion_count` old keyframes at most are worked on beside new ones."""
        self._rest = rest
        self._companion_count = companion_count
        self._members: dict[str, Member] = {}
        self._new: set[str] = set()
        self._active: tuple[str, ...] = ()
        self.dropped: dict[str, str] = {}
        """Reasons, by the keys of keyframes that are not held any more."""
        self.stale = False
        """Who is active is to be settled again."""

    def __contains__(self, key: str) -> bool:
        return key in self._members

    def __len__(self) -> int:
        return len(self._members)

    @property
    def members(self) -> Mapping[str, Member]:
        """All, by their keys."""
        return self._members

    @property
    def active(self) -> list[Member]:
        """Those that are worked on."""
        return [self._members[key] for key in self._active]

    @property
    def new(self) -> tuple[str, ...]:
        """Keys of those that have come since the fit last rested."""
        return tuple(key for key in self._members if key in self._new)

    @property
    def estimates(self) -> dict[str, KeyframeEstimate]:
        """Of those that have been solved for."""
        return {key: member.estimate for key, member in self._members.items() if member.estimate is not None}

    @property
    def tracked(self) -> dict[str, SharedEvidence]:
        """What tracks have said, of those that took part in some."""
        return {key: member.tracked for key, member in self._members.items() if member.tracked is not None}

    @property
    def rest(self) -> Rest:
        """What resting keyframes have said."""
        return self._rest

    def add(self, member: Member, *, new: bool) -> None:
        """One more; `new` unless the fit has rested with it."""
        self._members[member.key] = member
        if new:
            self._new.add(member.key)
        self.stale = True

    def remove(self, key: str) -> None:
        """One less, if it is held."""
        self._members.pop(key, None)
        self._new.discard(key)
        self._rest.wake(key)
        self.stale = True

    def settle(self) -> None:
        """The fit rests: nobody is new any more."""
        self._new.clear()

    def recall(self) -> None:
        """Work on all that have been solved for, until it is settled again who is active."""
        self._active = tuple(self.estimates)
        self.stale = True

    def choose(self, evidence_of: Callable[[Member], SharedEvidence]) -> None:
        """Settle who is worked on and who rests; `evidence_of` tells what landmarks say of one that goes to rest."""
        members = self._members
        new = self.new
        directions = {key: member.direction for key, member in members.items()}
        losses = {key: member.known.loss for key, member in members.items() if key not in self._new}
        called = {*new, *companions(directions, losses, new, self._companion_count)}
        for key in called:
            self._rest.wake(key)
        for key, member in members.items():
            if key not in called and key not in self._rest:
                if member.delit is None:
                    raise LookupError(f"keyframe {key!r} cannot rest before its texture was seen")
                self._rest.lay(key, member.delit, member.sharpness, evidence_of(member))
        self._active = tuple(key for key in members if key in called)
        self.stale = False


def companions(
    directions: Mapping[str, npt.NDArray[np.float64]],
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


def parallax(members: Sequence[Member]) -> float:
    """Largest distance between two of some heads' yaws and pitches, degrees; 0 without heads."""
    if not members:
        return 0.0
    directions = np.stack([member.direction for member in members])  # (N, 2)
    return float(np.degrees(np.linalg.norm(directions[:, None] - directions[None], axis=-1).max()))
