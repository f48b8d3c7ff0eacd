"""Settings of the hair of a fit."""

from dataclasses import dataclass, field


@dataclass(frozen=True)
class OutlineSettings:
    """Weights of the fit of the envelope."""

    smoothness: tuple[float, ...] = (3.0, 1.0, 0.3, 0.1, 0.05, 0.03, 0.03, 0.03)
    """Weight of differences between neighbouring cells, round by round."""
    prior_weight: float = 0.001
    """Weight of the prior thickness in each cell."""
    rim_cosine: float = 0.2
    """Cosine between normal and viewing direction over which a cell counts less as edge-on."""
    mask_side_px: int = 480
    """Longer side that masks are reduced to."""
    thickest_m: float = 0.15
    """Upper bound of the thickness."""


@dataclass(frozen=True)
class HairSettings:
    """How hair is fitted."""

    enabled: bool = True
    frames: int = 12
    """Frames at most that one fit looks at."""
    prior_thickness_m: float = 0.010
    """Thickness of hair on the scalp where no outline shows it."""
    outline: OutlineSettings = field(default_factory=OutlineSettings)
