"""Settings of the hair of a fit."""

from dataclasses import dataclass, field


@dataclass(frozen=True)
class OutlineSettings:
    """Weights of the fit of the envelope."""

    style_rounds: int = 4
    """Rounds in which only the mean of hair styles is fitted."""
    smoothness: tuple[float, ...] = (1.0, 0.3, 0.1, 0.05, 0.03, 0.03)
    """Weight of the bending of the difference from the hair styles' shape, round by round."""
    prior_weight: float = 0.001
    """Weight of that shape in each cell."""
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
    outline: OutlineSettings = field(default_factory=OutlineSettings)
