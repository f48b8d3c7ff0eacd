"""What `fitme fit` is asked for, and what its start hands to the fit."""

from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from fitme.ingest.gather import Candidate
from fitme.ingest.prefetch import Prefetcher

if TYPE_CHECKING:
    from fitme.reflectance.generator import ReflectanceGenerator
    from fitme.shape import MorphableModel
    from fitme.track.identity import DlibEmbedder


@dataclass(frozen=True)
class FitRequest:
    """What the user asked for."""

    inputs: tuple[Path, ...]
    """Photos, folders of photos, videos; may be empty with a session that holds keyframes."""
    out: Path
    """Folder to write."""
    seconds: float
    """Wall time of refinement."""
    device: str
    """`cpu` or `cuda`."""
    holdout: float
    """Share of the pictures kept from the fit, [0, 1)."""
    session: Path | None
    """Store to go on from and to commit every round to."""


@dataclass(frozen=True)
class Pictures:
    """What the user's files hold."""

    fitted: tuple[Candidate, ...]
    """For the fit to choose its keyframes from."""
    held_out: tuple[Candidate, ...]
    """Not even looked at before the fit is made."""
    prefetcher: Prefetcher
    """Begun with `fitted`."""


@dataclass(frozen=True)
class Models:
    """What a fit is made with; the generator is its own, to be tuned."""

    head: "MorphableModel"
    generator: "ReflectanceGenerator"
    embedder: "DlibEmbedder"
    prepared: "Future[None]"
    """Done when all is drawn and kept that the first avatar would else have to wait for."""
