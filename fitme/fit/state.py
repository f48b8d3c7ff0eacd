"""State of a fit as plain arrays: the content of a store, and the start of the next round."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from fitme.arrays import Float32Array
from fitme.fit.estimate import KeyframeEstimate
from fitme.fit.keyframe import Keyframe
from fitme.fit.solver.marginal_information import MarginalInformation
from fitme.fit.work_queue import Task
from fitme.glasses.glasses import Glasses
from fitme.hair.hair import Hair
from fitme.reflectance.map_arrays import MapArrays
from fitme.stage import Stage


@dataclass(frozen=True)
class RoundReport:
    """One time slice of refinement."""

    index: int
    """Counts from 0 over the life of the session."""
    stage: Stage
    """The furthest stage that the fit had reached when the round ended."""
    seconds: float
    """Wall time of the round."""
    losses: Mapping[str, float]
    """Named figures at the end of the round."""
    keyframes: int
    """Number of keyframes in the fit."""


@dataclass(frozen=True)
class FitState:
    """A fit between two rounds. `IncrementalFitter.from_state` resumes it."""

    stage: Stage
    """The furthest stage reached."""
    focal: float
    """Focal length over the longer side of the image, common to all keyframes."""
    identity: Float32Array
    """(K,) or (K + 1,) shape coefficients in standard deviations; see `MorphableModel.neutral`."""
    w_plus: Float32Array | None
    """(L, D) latent of the generator, None before inversion."""
    tuned: Mapping[str, Float32Array] = field(default_factory=dict)
    """Weights of the generator that tuning changed, by their names in its state dict."""
    maps: MapArrays | None = None
    """The avatar's reflectance as last baked, None before the skin stage."""
    keyframes: tuple[Keyframe, ...] = ()
    """In order of arrival."""
    estimates: Mapping[str, KeyframeEstimate] = field(default_factory=dict)
    """By the keyframe's key."""
    new_keyframes: tuple[str, ...] = ()
    """Keys of the keyframes that were added since the fit last converged: all of them if it never has."""
    track_information: Mapping[str, MarginalInformation] = field(default_factory=dict)
    """Each keyframe's share of the marginal information of its last track solve, by its key."""
    work_queue: Mapping[Task, int] = field(default_factory=dict)
    """Counts of what is left to do, by task (`fitme.fit.work_queue.WorkQueue`)."""
    hair: Hair | None = None
    """None before the hair is fitted."""
    glasses: Glasses | None = None
    """None unless the keyframes show some."""
    rounds: tuple[RoundReport, ...] = ()
    """History, oldest first."""
    reference_embedding: Float32Array | None = None
    """(128,) identity embedding of the person, None while unknown."""
    expression_frames: tuple[Keyframe, ...] = ()
    """Frames for corrective extraction, in order of arrival; their correctives are extracted anew after resuming."""
