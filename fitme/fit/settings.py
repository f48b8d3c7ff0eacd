"""Settings of a fit; `configs/fit.yaml` may override each."""

from dataclasses import dataclass, field

from fitme.fit.alignment.settings import AlignmentSettings
from fitme.fit.inversion.settings import DenseSettings
from fitme.fit.keyframes.outliers import OutlierSettings
from fitme.fit.lighting.spherical_harmonics import LightSettings
from fitme.fit.texture.fusion import FusionSettings


@dataclass(frozen=True)
class FitSettings:
    """Everything that a fit can be told."""

    map_resolution: int = 512
    """Side of the avatar's maps: the generator's are enlarged to it, observed detail is kept as a residual."""
    alignment_rounds: int = 2
    """Alternations of dense alignment by optical flow and texture fusion."""
    warm_rounds: int = 1
    """The same, and rounds of tracking, for keyframes that come once the fit has rested."""
    newest_share: float = 0.35
    """Least share of a new head in the running mean that is shown (`fitme.fit.displayed_head`); of many new keyframes,
    theirs among all."""
    reference_keyframes: int = 4
    """Old keyframes that a round works on beside the new ones; all others rest in what they have said."""
    alignment: AlignmentSettings = field(default_factory=AlignmentSettings)
    light: LightSettings = field(default_factory=LightSettings)
    outliers: OutlierSettings = field(default_factory=OutlierSettings)
    fusion: FusionSettings = field(default_factory=FusionSettings)
    dense: DenseSettings = field(default_factory=DenseSettings)
