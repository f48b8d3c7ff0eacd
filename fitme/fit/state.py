"""All that a fit has found so far, as plain arrays: what a store keeps and what the next round starts from."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from fitme.fit.keyframe import Keyframe
from fitme.fit.solver.marginal_information import SharedEvidence
from fitme.fit.work_queue import Agenda
from fitme.geometry import HeadPose

FloatArray = npt.NDArray[np.float32]


@dataclass(frozen=True)
class KeyframeEstimate:
    """What the fit believes about one keyframe."""

    pose: HeadPose
    """Model space to view space."""
    expression: FloatArray
    """(52,) ARKit coefficients in [0, 1]."""
    light_sh: FloatArray
    """(9, 3) spherical-harmonics light in view space, as `fitme.render.light.Light.sh`."""
    loss: float
    """Photometric error over the face: root mean square in sRGB-encoded units, [0, 1]; NaN before the first picture."""


@dataclass(frozen=True)
class RoundReport:
    """One time slice of refinement."""

    index: int
    """Counts from 0 over the life of the session."""
    stage: str
    """The furthest stage that the round reached: one of `STAGES`."""
    seconds: float
    """Wall time that the round took."""
    losses: Mapping[str, float]
    """Named figures at the end of the round."""
    keyframes: int
    """Keyframes that the fit held."""


STAGES = ("landmarks", "skin", "inversion", "tuning")
"""Stages of a fit in their order: a grey head of the right shape; its skin as the frames show it; the generator's
latent; the generator's weights."""


@dataclass(frozen=True)
class MapArrays:
    """Reflectance maps as arrays; see `fitme.reflectance.maps.ReflectanceMaps` for their meaning."""

    diffuse: FloatArray
    """(R, R, 3)."""
    specular: FloatArray
    """(R, R, 1)."""
    normals: FloatArray
    """(R, R, 3)."""


@dataclass(frozen=True)
class FitState:
    """A resting fit. `IncrementalFitter.from_state` goes on from it."""

    stage: str
    """The stage reached: one of `STAGES`."""
    focal: float
    """Focal length over the longer side of the picture, the same for all keyframes."""
    identity: FloatArray
    """(K,) shape coefficients in standard deviations."""
    w_plus: FloatArray | None
    """(L, D) latent of the generator, None before inversion."""
    tuned: Mapping[str, FloatArray] = field(default_factory=dict)
    """Weights of the generator that tuning changed, by their names in its state dict."""
    maps: MapArrays | None = None
    """The avatar's reflectance as last baked, None before the skin stage."""
    keyframes: tuple[Keyframe, ...] = ()
    """The pictures that the fit holds, in the order of arrival."""
    estimates: Mapping[str, KeyframeEstimate] = field(default_factory=dict)
    """By the keyframe's key."""
    fresh: tuple[str, ...] = ()
    """Keys of the keyframes that have come since the fit last rested: all of them while it never has."""
    tracked: Mapping[str, SharedEvidence] = field(default_factory=dict)
    """What tracks said of identity and focal length: each keyframe's share, by its key."""
    agenda: Agenda = field(default_factory=Agenda)
    """What was left to do."""
    rounds: tuple[RoundReport, ...] = ()
    """History, oldest first."""
    reference_embedding: FloatArray | None = None
    """(128,) identity embedding of the person, None while unknown."""
    studied: tuple[Keyframe, ...] = ()
    """Pictures of which only expressions were learnt, or are to be: what they taught is learnt again."""
