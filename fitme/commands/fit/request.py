"""Request of `fitme fit`, and the candidates and models of its fit. Free of torch."""

from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

from fitme.api.defaults import DEFAULT_SECONDS
from fitme.ingest.candidates import Candidate
from fitme.ingest.prefetch import Prefetcher
from fitme.render.devices import DeviceName
from fitme.track.settings import NetworkSettings, TrackerSettings

if TYPE_CHECKING:
    from fitme.fit.settings import FitSettings
    from fitme.reflectance.generator import ReflectanceGenerator
    from fitme.shape.morphable_model import MorphableModel
    from fitme.track.identity import DlibEmbedder

LARGEST_HOLDOUT: Final = 0.9
"""Largest share of the images that can be kept from a fit."""


@dataclass(frozen=True)
class FitRequest:
    """Request of the user."""

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
    """Folder of the session to continue, in which every round is committed."""
    networks: NetworkSettings = field(default_factory=NetworkSettings)
    tracker: TrackerSettings = field(default_factory=TrackerSettings)
    fit: "FitSettings | None" = None
    """None for the defaults, which need not be imported for a request."""


@dataclass(frozen=True)
class InputFrames:
    """Candidates of the user's files."""

    fitted: tuple[Candidate, ...]
    """Candidates for keyframes and expression frames."""
    held_out: tuple[Candidate, ...]
    """Held-out candidates, not read before the fit has ended."""
    prefetcher: Prefetcher
    """Prefetcher of `fitted`."""


@dataclass(frozen=True)
class Models:
    """Models of a fit. The generator is not shared, since tuning changes it."""

    head: "MorphableModel"
    generator: "ReflectanceGenerator"
    embedder: "DlibEmbedder"
    """Network of the fit's identity losses."""
    prepared: "Future[None]"
    """Done when the kernels and tables of the first avatar are loaded and computed."""
