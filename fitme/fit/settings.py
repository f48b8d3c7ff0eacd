"""Settings of a fit; `configs/fit.yaml` may override each."""

from dataclasses import dataclass, field
from typing import Annotated

from msgspec import Meta

from fitme.fit.alignment.settings import AlignmentSettings
from fitme.fit.inversion.settings import InversionSettings
from fitme.fit.keyframes.outliers import OutlierSettings
from fitme.fit.lighting.spherical_harmonics import LightSettings
from fitme.fit.texture.settings import FusionSettings
from fitme.glasses.settings import GlassesSettings
from fitme.hair.settings import HairSettings
from fitme.reflectance.model_names import DEFAULT_MODEL, ReflectanceModel


@dataclass(frozen=True)
class FitSettings:
    """All settings of a fit."""

    map_resolution: Annotated[int, Meta(ge=32, le=4096)] = 512
    """Side of the avatar's maps: the generator's are enlarged to it, observed detail is kept as a residual."""
    reflectance_model: ReflectanceModel = DEFAULT_MODEL
    """Generator of the package: of painted skin alone, or of people's."""
    skin_detail: bool = True
    """Pores and grain, as people have them, on skin that no image shows (`fitme.fit.texture.skin.detail`)."""
    expression_prior: bool = True
    """Folds of a smile on people of whom no smile is seen, as people have them in the mean."""
    alignment_rounds: Annotated[int, Meta(ge=0)] = 2
    """Alternations of dense alignment by optical flow and texture fusion."""
    warm_rounds: Annotated[int, Meta(ge=0)] = 1
    """Rounds of alignment, and rounds of tracking, for keyframes that are added after the fit has converged."""
    newest_share: Annotated[float, Meta(ge=0.0, le=1.0)] = 0.35
    """Least share of a new head in the running mean that is displayed (`fitme.fit.displayed_head`); the share is that
    of the new keyframes among all where it is larger."""
    reference_keyframes: Annotated[int, Meta(ge=0)] = 4
    """Old keyframes that a round works on beside the new ones; all others are marginalised."""
    ears: bool = True
    """Put the ears in the place that the keyframes show; False: that of the most probable head."""
    hair: HairSettings = field(default_factory=HairSettings)
    glasses: GlassesSettings = field(default_factory=GlassesSettings)
    alignment: AlignmentSettings = field(default_factory=AlignmentSettings)
    light: LightSettings = field(default_factory=LightSettings)
    outliers: OutlierSettings = field(default_factory=OutlierSettings)
    fusion: FusionSettings = field(default_factory=FusionSettings)
    inversion: InversionSettings = field(default_factory=InversionSettings)
