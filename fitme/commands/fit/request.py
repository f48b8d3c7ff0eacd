"""The request of `fitme fit`, and what its start hands to the fit. Free of torch."""

from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

from fitme.ingest.candidates import Candidate
from fitme.ingest.prefetch import Prefetcher
from fitme.render.devices import DeviceName
from fitme.track.settings import NetworkSettings, TrackerSettings

if TYPE_CHECKING:
    from fitme.fit.settings import FitSettings
    from fitme.reflectance.generator import ReflectanceGenerator
    from fitme.shape.morphable_model import MorphableModel
    from fitme.track.identity import DlibEmbedder

DEFAULT_SECONDS: Final = 50.0
"""Refinement after which an avatar is as good as a short clip makes it."""
LARGEST_HOLDOUT: Final = 0.9
"""Largest share of the images that can be kept from a fit."""


@dataclass(frozen=True)
class FitRequest:
    """The user's request."""

    inputs: tuple[Path, ...]
    """Photos, folders of photos, videos; may be empty with a session that holds keyframes."""
    out: Path
    """Folder to write."""
    seconds: float = DEFAULT_SECONDS
    """Wall time of refinement."""
    device: DeviceName = "cpu"
    holdout: float = 0.0
    """Share of the images kept from the fit, [0, `LARGEST_HOLDOUT`]."""
    session: Path | None = None
    """Store to go on from and to commit every round to."""
    networks: NetworkSettings = field(default_factory=NetworkSettings)
    tracker: TrackerSettings = field(default_factory=TrackerSettings)
    fit: "FitSettings | None" = None
    """None for the defaults, which need not be imported to make a request."""


@dataclass(frozen=True)
class InputFrames:
    """Candidates of the user's files."""

    fitted: tuple[Candidate, ...]
    """For the fit to choose its keyframes from."""
    held_out: tuple[Candidate, ...]
    """Not read before the fit has ended."""
    prefetcher: Prefetcher
    """Begun with `fitted`."""


@dataclass(frozen=True)
class Models:
    """Models of a fit; the generator is its own, to be tuned."""

    head: "MorphableModel"
    generator: "ReflectanceGenerator"
    embedder: "DlibEmbedder"
    """Of the fit's identity losses."""
    prepared: "Future[None]"
    """Done when all is computed that the first avatar would else have to wait for."""
