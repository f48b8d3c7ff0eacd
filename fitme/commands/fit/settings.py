"""Settings of `fitme fit`: `configs/fit.yaml`, overridden by the command line."""

from dataclasses import dataclass, field
from typing import Annotated

from msgspec import Meta

from fitme.api.defaults import DEFAULT_SECONDS
from fitme.commands.fit.request import LARGEST_HOLDOUT
from fitme.fit.settings import FitSettings
from fitme.render.devices import DeviceName
from fitme.track.settings import NetworkSettings, TrackerSettings


@dataclass(frozen=True)
class FitCommandSettings:
    """All settings of `fitme fit`."""

    seconds: Annotated[float, Meta(ge=0.0)] = DEFAULT_SECONDS
    """Wall time of refinement."""
    device: DeviceName = "cpu"
    holdout: Annotated[float, Meta(ge=0.0, le=LARGEST_HOLDOUT)] = 0.0
    """Share of the images kept from the fit, to score it with."""
    networks: NetworkSettings = field(default_factory=NetworkSettings)
    tracker: TrackerSettings = field(default_factory=TrackerSettings)
    fit: FitSettings = field(default_factory=FitSettings)
