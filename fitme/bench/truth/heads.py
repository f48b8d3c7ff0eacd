"""What the benchmark compares: the mean face, landmarks only, the unlit-texture baseline, and the fit itself, each as a
head that explains and draws pictures."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
import torch

from fitme.arrays import Float32Array, UInt8Array
from fitme.bench.truth.baseline import BaselineFit
from fitme.bench.truth.lights import UnseenLight
from fitme.color import linear_to_bytes
from fitme.fit.alignment.aligner import HeadAligner, camera_of
from fitme.fit.alignment.landmark_targets import pose_of
from fitme.fit.alignment.settings import AlignmentSettings
from fitme.fit.estimate import KeyframeEstimate
from fitme.fit.fitter import IncrementalFitter
from fitme.fit.keyframe import Keyframe
from fitme.fit.settings import FitSettings
from fitme.fit.solver.joint_estimate import FreeParameters
from fitme.fit.state import FitState
from fitme.fit.texture.baking import enlarge, map_arrays
from fitme.geometry import Camera, HeadPose
from fitme.ingest.person_tracking import TrackedFrame
from fitme.reflectance.generator import ReflectanceGenerator
from fitme.reflectance.maps import ReflectanceMaps
from fitme.reflectance.weights import load_default_generator
from fitme.render.light import Light
from fitme.render.materials import head_shininess
from fitme.render.occlusion import head_occlusion, mouth_occlusion
from fitme.render.rasterizer import select_backend
from fitme.render.renderer import Rendering, render
from fitme.shape.morphable_model import MorphableModel
from fitme.stage import Stage
from fitme.track.identity import DlibEmbedder

METHODS = ("mean face", "landmarks only", "unlit texture", "fit")
MAP_RESOLUTION = 512


class Head(Protocol):
    """A head that was found, by whatever method."""

    @property
    def identity(self) -> Float32Array:
        """(K,) coefficients."""
        ...

    @property
    def maps(self) -> ReflectanceMaps:
        """Reflectance, batch of one."""
        ...

    def maps_with(self, expression: Float32Array) -> ReflectanceMaps:
        """Reflectance as it is with an expression (52,)."""
        ...

    @property
    def focal(self) -> float:
        """Over the picture's longer side."""
        ...

    def fit_frame_pose(self, tracked_frame: TrackedFrame) -> KeyframeEstimate:
        """Pose, expression and light of a picture that the head was not made from."""
        ...

    def draw(self, estimate: KeyframeEstimate, camera: Camera) -> tuple[UInt8Array, UInt8Array]:
        """The picture (H, W, 3) that an estimate stands for, and its mask (H, W), 0 or 255."""
        ...


class FittedHead:
    """A head as an `IncrementalFitter` holds it."""

    def __init__(self, fitter: IncrementalFitter) -> None:
        self._fitter = fitter
        self._avatar = fitter.avatar()

    @property
    def identity(self) -> Float32Array:
        """(K,) coefficients."""
        return np.asarray(self._avatar.identity.numpy())

    @property
    def maps(self) -> ReflectanceMaps:
        """Reflectance, batch of one."""
        return self._avatar.maps

    def maps_with(self, expression: Float32Array) -> ReflectanceMaps:
        """By the avatar's correctives."""
        return self._avatar.maps_with(torch.from_numpy(expression))

    @property
    def focal(self) -> float:
        """Over the picture's longer side."""
        return self._avatar.focal

    def fit_frame_pose(self, tracked_frame: TrackedFrame) -> KeyframeEstimate:
        """By the fitter's own treatment of frames outside of the fit."""
        return self._fitter.fit_frame(tracked_frame.observation, tracked_frame.frame.image)

    def draw(self, estimate: KeyframeEstimate, camera: Camera) -> tuple[UInt8Array, UInt8Array]:
        """By the fitter's renderer."""
        return self._fitter.render_estimate(estimate, camera)


class UnlitHead:
    """`fitme.bench.truth.baseline`'s head: the frames' mean colours on the landmarks' shape."""

    def __init__(self, model: MorphableModel, tracked_frames: Sequence[TrackedFrame]) -> None:
        self._baseline = BaselineFit(model).fit(tracked_frames)
        self._aligner = HeadAligner(model, select_backend("cpu"), AlignmentSettings())

    @property
    def identity(self) -> Float32Array:
        """(K,) coefficients."""
        return self._baseline.identity

    @property
    def maps(self) -> ReflectanceMaps:
        """The colours seen, as a diffuse albedo."""
        return self._baseline.maps

    def maps_with(self, expression: Float32Array) -> ReflectanceMaps:
        """The colours seen, which are the same for all."""
        return self._baseline.maps

    @property
    def focal(self) -> float:
        """Over the picture's longer side."""
        return self._baseline.focal

    def fit_frame_pose(self, tracked_frame: TrackedFrame) -> KeyframeEstimate:
        """By landmarks; the light is white and everywhere."""
        keyframe = keyframe_of("held out", tracked_frame)
        held = FreeParameters(identity=False, focal=False)
        joint = self._aligner.by_landmarks([keyframe], {}, self.focal, self.identity, held)
        unlit = Light.ambient().sh[0].numpy()
        return KeyframeEstimate(pose_of(joint, 0), joint.expressions[0].astype(np.float32), unlit, float("nan"))

    def draw(self, estimate: KeyframeEstimate, camera: Camera) -> tuple[UInt8Array, UInt8Array]:
        """By the aligner's renderer."""
        drawn = self._aligner.draw(estimate, self.identity, camera_of(camera, self.focal), self.maps)
        mask = np.where(drawn.mask[0, ..., 0].numpy() > 0.5, np.uint8(255), np.uint8(0))
        return linear_to_bytes(drawn.image[0].numpy()), mask


@dataclass(frozen=True)
class FitResources:
    """What every method needs, loaded once."""

    model: MorphableModel
    generator: Callable[[], ReflectanceGenerator]
    """A generator of its own for each fit, since tuning changes it."""
    embedder: DlibEmbedder
    settings: FitSettings


def load_resources(model: MorphableModel, embedder: DlibEmbedder) -> FitResources:
    """With the package's own generator and settings."""
    return FitResources(model, load_default_generator, embedder, FitSettings())


def keyframe_of(key: str, tracked_frame: TrackedFrame, embedder: DlibEmbedder | None = None) -> Keyframe:
    """Keyframe of a tracked frame; with an embedder, the identity embedding is computed where it is missing."""
    image, observation = tracked_frame.frame.image, tracked_frame.observation
    if observation.embedding is None and embedder is not None:
        observation = replace(observation, embedding=embedder.embed(image, observation.landmarks))
    return Keyframe(key, image, observation, tracked_frame.frame.timestamp_s)


def new_fitter(resources: FitResources) -> IncrementalFitter:
    """A fit that knows nothing yet."""
    return IncrementalFitter(resources.model, resources.generator(), resources.settings, resources.embedder)


def head_with_mean_maps(resources: FitResources, identity: Float32Array, focal: float) -> FittedHead:
    """A head of the given shape (K,) with the generator's mean reflectance: nobody's skin."""
    generator = resources.generator()
    with torch.no_grad():
        maps = generator.synthesize(generator.broadcast(generator.mean_w[None]))
    estimate = KeyframeEstimate(
        HeadPose(np.zeros(3, np.float32), np.zeros(3, np.float32)),
        np.zeros(len(resources.model.expression_basis), np.float32),
        Light.ambient().sh[0].numpy(),
        float("nan"),
    )
    state = FitState(
        stage=Stage.TUNING,
        focal=focal,
        identity=identity,
        w_plus=None,
        maps=map_arrays(enlarge(maps, MAP_RESOLUTION)),
        estimates={"": estimate},
    )
    return FittedHead(
        IncrementalFitter.from_state(state, resources.model, generator, resources.settings, resources.embedder)
    )


def mean_face(resources: FitResources) -> FittedHead:
    """Nobody: no identity, the prior's focal length."""
    return head_with_mean_maps(
        resources, np.zeros(resources.model.identity_count, np.float32), resources.settings.alignment.solver.focal_prior
    )


def landmarks_only(resources: FitResources, tracked_frames: Sequence[TrackedFrame]) -> FittedHead:
    """The shape of the fit's first stage."""
    keyframes = [keyframe_of(str(index), tracked_frame) for index, tracked_frame in enumerate(tracked_frames)]
    aligner = HeadAligner(resources.model, select_backend("cpu"), resources.settings.alignment)
    start = np.zeros(resources.model.identity_count, np.float32)
    free = FreeParameters(focal=len(keyframes) > 1)
    joint = aligner.by_landmarks(
        keyframes, {}, resources.settings.alignment.solver.focal_prior, start, free, correlated=True
    )
    return head_with_mean_maps(resources, joint.identity.astype(np.float32), joint.focal)


@torch.no_grad()
def relight(
    head: Head, model: MorphableModel, estimate: KeyframeEstimate, camera: Camera, unseen: UnseenLight
) -> Rendering:
    """A head in an estimate's pose and expression under a light that the fit never had."""
    light = Light(
        Light.ambient(unseen.ambient).sh, torch.tensor([[list(unseen.direction)]]), torch.tensor([[list(unseen.color)]])
    )
    vertices = model.vertices(torch.from_numpy(head.identity)[None], torch.from_numpy(estimate.expression)[None])
    return render(
        model,
        vertices,
        torch.from_numpy(estimate.pose.rotation)[None],
        torch.from_numpy(estimate.pose.translation)[None],
        camera_of(camera, head.focal),
        head.maps_with(estimate.expression),
        light,
        shininess=head_shininess(model),
        occlusion=mouth_occlusion(model).apply(head_occlusion(model), vertices[0]),
    )
