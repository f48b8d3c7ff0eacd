"""The head that a fit has found, and what of it is shown while keyframes go on coming.

Every keyframe moves a fit to and fro by what is particular to it: its noise, its expression, its light. Each end alone
explains unseen pictures now better, now worse than the one before; their running mean hardly ever gets worse
(`fitme bench fit`).
"""

from dataclasses import dataclass, replace

import numpy as np
import torch

from fitme.arrays import Float32Array
from fitme.fit.texture.baking import FULL_CONFIDENCE
from fitme.reflectance.expression_correctives import AlbedoCorrectives, with_expression
from fitme.reflectance.maps import ReflectanceMaps, unit_length


@dataclass(frozen=True)
class FoundHead:
    """Shape and reflectance."""

    identity: Float32Array
    """(K,) shape coefficients in standard deviations."""
    focal: float
    """Focal length over the longer side of the picture."""
    maps: ReflectanceMaps
    """Batch of one."""
    correctives: AlbedoCorrectives | None = None
    """What expressions change in the maps; None while it is not known."""

    def maps_with(self, expression: Float32Array) -> ReflectanceMaps:
        """The maps as they are with an expression (52,)."""
        return with_expression(self.maps, self.correctives, torch.from_numpy(expression))


def blended(before: FoundHead, after: FoundHead, share: float, seen: torch.Tensor | None) -> FoundHead:
    """A head on the way from one to another: a `share` of the way, and all of it in texels that only `after` has seen.
    Correctives are the latest known.

    :param seen: (1, R, R, 1) confidence in [0, 1] that `before` has in its texels; None where it is not known.
    """
    kept = (1.0 - share) * (torch.ones(()) if seen is None else (seen / FULL_CONFIDENCE).clamp(max=1.0))

    def mixed(old: torch.Tensor, new: torch.Tensor) -> torch.Tensor:
        return new + kept * (old - new)

    maps = before.maps.mapped(lambda modality, old, new: unit_length(modality, mixed(old, new)), after.maps)
    identity = (before.identity + share * (after.identity - before.identity)).astype(np.float32)
    correctives = before.correctives if after.correctives is None else after.correctives
    return FoundHead(identity, before.focal * (after.focal / before.focal) ** share, maps, correctives)


class DisplayedHead:
    """What is shown of a fit's working head: the head itself until the fit first rests, then the running mean of the
    heads at which it rested. A head at work joins in once its pictures are in register."""

    def __init__(self) -> None:
        self._converged: FoundHead | None = None
        self._seen: torch.Tensor | None = None
        self._share = 1.0
        self._registered = False
        self._displayed: FoundHead | None = None

    @property
    def has_converged(self) -> bool:
        """Whether there is a head that a new one would join."""
        return self._converged is not None

    @property
    def has_joined(self) -> bool:
        """Whether the working head is part of what is shown."""
        return self._converged is None or self._registered

    def restart(self) -> None:
        """Show the working head itself: an earlier one was taught by a picture that is to be forgotten."""
        self._converged = None
        self.changed()

    def begin(self, share: float, seen: torch.Tensor | None) -> None:
        """New keyframes are worked on: the head that they make is to have a `share` in what is shown.

        `seen` is the confidence (1, R, R, 1) of what is shown now.
        """
        self._share, self._seen, self._registered = share, seen, False
        self.changed()

    def register(self) -> None:
        """The working head's pictures are in register again."""
        self._registered = True
        self.changed()

    def changed(self) -> None:
        """The working head is another."""
        self._displayed = None

    def rest(self, head: FoundHead) -> None:
        """The fit rests: what is shown now is what the next head joins."""
        self._converged, self._registered = head, False
        self.changed()

    def apply_correctives(self, correctives: AlbedoCorrectives | None) -> None:
        """What expressions change in the head that has rested."""
        if self._converged is not None:
            self._converged = replace(self._converged, correctives=correctives)
            self.changed()

    def of(self, working: FoundHead) -> FoundHead:
        """What to show of a working head."""
        if self._converged is None:
            return working
        if not self._registered:
            return self._converged
        if self._displayed is None:
            self._displayed = blended(self._converged, working, self._share, self._seen)
        return self._displayed
