"""All that a fit has found so far, as plain arrays: what a store keeps and what the next round starts from."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from fitme.arrays import Float32Array
from fitme.fit.estimate import KeyframeEstimate
from fitme.fit.keyframe import Keyframe
from fitme.fit.solver.marginal_information import MarginalInformation
from fitme.fit.work_queue import WorkQueue
from fitme.reflectance.map_arrays import MapArrays
from fitme.stage import Stage


@dataclass(frozen=True)
class RoundReport:
    """One time slice of refinement."""

    index: int
    """Counts from 0 over the life of the session."""
    stage: Stage
    """The furthest stage that the round reached."""
    seconds: float
    """Wall time that the round took."""
    losses: Mapping[str, float]
    """Named figures at the end of the round."""
    keyframes: int
    """Keyframes that the fit held."""


@dataclass(frozen=True)
class FitState:
    """A resting fit. `IncrementalFitter.from_state` goes on from it."""

    stage: Stage
    """The stage reached."""
    focal: float
    """Focal length over the longer side of the picture, the same for all keyframes."""
    identity: Float32Array
    """(K,) shape coefficients in standard deviations."""
    w_plus: Float32Array | None
    """(L, D) latent of the generator, None before inversion."""
    tuned: Mapping[str, Float32Array] = field(default_factory=dict)
    """Weights of the generator that tuning changed, by their names in its state dict."""
    maps: MapArrays | None = None
    """The avatar's reflectance as last baked, None before the skin stage."""
    keyframes: tuple[Keyframe, ...] = ()
    """The pictures that the fit holds, in the order of arrival."""
    estimates: Mapping[str, KeyframeEstimate] = field(default_factory=dict)
    """By the keyframe's key."""
    fresh: tuple[str, ...] = ()
    """Keys of the keyframes that have come since the fit last rested: all of them while it never has."""
    tracked: Mapping[str, MarginalInformation] = field(default_factory=dict)
    """What tracks said of identity and focal length: each keyframe's share, by its key."""
    work_queue: WorkQueue = field(default_factory=WorkQueue)
    """What was left to do."""
    rounds: tuple[RoundReport, ...] = ()
    """History, oldest first."""
    reference_embedding: Float32Array | None = None
    """(128,) identity embedding of the person, None while unknown."""
    expression_frames: tuple[Keyframe, ...] = ()
    """Pictures of which only expressions were learnt, or are to be: what they taught is learnt again."""
