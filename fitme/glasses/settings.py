"""Settings of the glasses of a fit."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated

from msgspec import Meta


class GlassesMode(StrEnum):
    """What becomes of glasses."""

    LAYER = "layer"
    """Left out of the skin's maps, and drawn as a part of their own."""
    LEFT_OUT = "left_out"
    """Left out of the skin's maps, and not drawn."""
    SKIN = "skin"
    """Not searched: they stay in the skin's maps."""


@dataclass(frozen=True)
class GlassesSettings:
    """How glasses are found."""

    mode: GlassesMode = GlassesMode.LAYER
    frames: Annotated[int, Meta(ge=1)] = 6
    """Frames at most, nearest to frontal first, in which rims are searched."""
    least_contrast: tuple[float, float, float, float] = (0.12, 0.15, 0.10, 0.10)
    """Contrast that nearly all of both rims must have: darker, brighter, yellower and redder than the skin on either
    side, natural logarithms."""
