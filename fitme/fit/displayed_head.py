"""Displayed head: the running mean of the heads at which a fit has converged.

Every keyframe moves a fit by its own noise, expression and light, so that losses of converged heads on held-out frames
scatter. The loss of their running mean hardly ever rises (`fitme bench fit`).
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch

from fitme.arrays import Float32Array
from fitme.fit.texture.baking import FULL_CONFIDENCE
from fitme.glasses.glasses import Glasses
from fitme.hair.hair import Hair
from fitme.reflectance.expression_correctives import AlbedoCorrectives, with_expression
from fitme.reflectance.maps import ReflectanceMaps, unit_length


@dataclass(frozen=True)
class HeadEstimate:
    """Shape and reflectance of a head, with the camera's focal length."""

    identity: Float32Array
    """(K + 1,) shape coefficients in standard deviations, the last one the height of the upper teeth."""
    focal: float
    """Focal length over the longer side of the image."""
    maps: ReflectanceMaps
    """Batch of one."""
    correctives: AlbedoCorrectives | None = None
    """Changes of the diffuse map with the expression; None before they are extracted."""
    hair: Hair | None = None
    """None before it is fitted."""
    glasses: Glasses | None = None
    """None where the person wears none."""

    def maps_with(self, expression: Float32Array) -> ReflectanceMaps:
        """The maps with the correctives of an expression (52,)."""
        return with_expression(self.maps, self.correctives, torch.from_numpy(expression))


def blended(before: HeadEstimate, after: HeadEstimate, share: float, confidence: torch.Tensor | None) -> HeadEstimate:
    """Mean of two heads with weight `share` on `after`, and weight 1 in texels that only `after` has observed.
    Correctives, hair and glasses are those of `after` if it has some.

    :param confidence: (1, R, R, 1) confidence in [0, 1] of the texels of `before`; None where it is unknown.
    """
    kept = (1.0 - share) * (torch.ones(()) if confidence is None else (confidence / FULL_CONFIDENCE).clamp(max=1.0))

    def mixed(old: torch.Tensor, new: torch.Tensor) -> torch.Tensor:
        return new + kept * (old - new)

    maps = before.maps.mapped(lambda modality, old, new: unit_length(modality, mixed(old, new)), after.maps)
    identity = (before.identity + share * (after.identity - before.identity)).astype(np.float32)
    correctives = before.correctives if after.correctives is None else after.correctives
    hair = before.hair if after.hair is None else after.hair
    glasses = before.glasses if after.glasses is None else after.glasses
    # Focal lengths are scales: their mean is geometric.
    focal = before.focal * (after.focal / before.focal) ** share
    return HeadEstimate(identity, focal, maps, correctives, hair, glasses)


class DisplayedHead:
    """Running mean of converged heads. Before the first convergence the working head itself is displayed; later a
    working head contributes once its keyframes are registered."""

    def __init__(self) -> None:
        self._converged: HeadEstimate | None = None
        self._confidence: torch.Tensor | None = None
        self._share = 1.0
        self._registered = False
        self._displayed: HeadEstimate | None = None

    @property
    def has_converged(self) -> bool:
        """Whether the running mean has a converged head."""
        return self._converged is not None

    @property
    def includes_working_head(self) -> bool:
        """Whether the working head contributes to the displayed head."""
        return self._converged is None or self._registered

    def reset(self) -> None:
        """Display the working head itself again: a removed keyframe has contributed to the running mean."""
        self._converged = None
        self.invalidate()

    def begin(self, share: float, confidence: torch.Tensor | None) -> None:
        """Begin a working head for new keyframes, of weight `share` in the running mean.

        :param confidence: (1, R, R, 1) confidence in [0, 1] of the displayed texels; None where it is unknown.
        """
        self._share, self._confidence, self._registered = share, confidence, False
        self.invalidate()

    def register(self) -> None:
        """The working head's keyframes are registered: it contributes from now on."""
        self._registered = True
        self.invalidate()

    def invalidate(self) -> None:
        """The working head has changed: drop the cached mean."""
        self._displayed = None

    def converge(self, head: HeadEstimate) -> None:
        """The fit has converged while `head` was displayed: the next working head is averaged with it."""
        self._converged, self._registered = head, False
        self.invalidate()

    def set_expressions(
        self, correctives: AlbedoCorrectives | None, with_mouth: Callable[[ReflectanceMaps], ReflectanceMaps]
    ) -> None:
        """Replace what expressions show of the converged head, if there is one: correctives, and in its maps the
        mouth's inside."""
        if self._converged is not None:
            maps = with_mouth(self._converged.maps)
            self._converged = replace(self._converged, maps=maps, correctives=correctives)
            self.invalidate()

    def of(self, working: Callable[[], HeadEstimate]) -> HeadEstimate:
        """The head to display; `working` makes the working head, whose maps take a while, and is called if that
        contributes."""
        if self._converged is None:
            return working()
        if not self._registered:
            return self._converged
        if self._displayed is None:
            self._displayed = blended(self._converged, working(), self._share, self._confidence)
        return self._displayed
