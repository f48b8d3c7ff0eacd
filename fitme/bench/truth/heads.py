"""Methods that the benchmark compares, each as a head that is fitted to held-out frames and rendered: the mean face,
landmarks only, the unlit-texture baseline, and the fit itself."""

from collections.abc import Callable, Iterable, Sequence
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
from fitme.reflectance.packaged_models import packaged_generator
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
    """Interface of a head fitted by one of the methods."""

    @property
    def identity(self) -> Float32Array:
        """Identity coefficients (K,)."""
        ...

    @property
    def maps(self) -> ReflectanceMaps:
        """Reflectance, batch of one."""
        ...

    def maps_with(self, expression: Float32Array) -> ReflectanceMaps:
        """Reflectance under an expression (52,), expression correctives applied."""
        ...

    @property
    def focal(self) -> float:
        """Focal length over the frame's longer side."""
        ...

    def fit_frame_pose(self, tracked_frame: TrackedFrame) -> KeyframeEstimate:
        """Estimate of pose, expression and light of a held-out frame, with identity fixed."""
        ...

    def draw(self, estimate: KeyframeEstimate, camera: Camera) -> tuple[UInt8Array, UInt8Array]:
        """Render (H, W, 3), sRGB, of an estimate, and its mask (H, W), 0 or 255."""
        ...

    def draw_relit(
        self, estimate: KeyframeEstimate, camera: Camera, unseen: UnseenLight
    ) -> tuple[UInt8Array, UInt8Array]:
        """The same under the unseen light, with all that the method has of the head."""
        ...


class FittedHead:
    """Head of an `IncrementalFitter`'s current avatar."""

    def __init__(self, fitter: IncrementalFitter) -> None:
        self._fitter = fitter
        self._avatar = fitter.avatar()

    @property
    def identity(self) -> Float32Array:
        """Identity coefficients (K,)."""
        return np.asarray(self._avatar.identity.numpy())

    @property
    def maps(self) -> ReflectanceMaps:
        """Reflectance, batch of one."""
        return self._avatar.maps

    def maps_with(self, expression: Float32Array) -> ReflectanceMaps:
        """Reflectance with the avatar's correctives applied."""
        return self._avatar.maps_with(torch.from_numpy(expression))

    @property
    def focal(self) -> float:
        """Focal length over the frame's longer side."""
        return self._avatar.focal

    def fit_frame_pose(self, tracked_frame: TrackedFrame) -> KeyframeEstimate:
        """Estimate by `IncrementalFitter.fit_frame`."""
        return self._fitter.fit_frame(tracked_frame.observation, tracked_frame.frame.image)

    def draw(self, estimate: KeyframeEstimate, camera: Camera) -> tuple[UInt8Array, UInt8Array]:
        """Render by `IncrementalFitter.render_estimate`."""
        return self._fitter.render_estimate(estimate, camera)

    def draw_relit(
        self, estimate: KeyframeEstimate, camera: Camera, unseen: UnseenLight
    ) -> tuple[UInt8Array, UInt8Array]:
        """Render by `IncrementalFitter.render_estimate`."""
        return self._fitter.render_estimate(estimate, camera, light_of(unseen))


class UnlitHead:
    """Head of `fitme.bench.truth.baseline`: mean colours of the frames on a shape fitted to landmarks."""

    def __init__(self, model: MorphableModel, tracked_frames: Sequence[TrackedFrame]) -> None:
        self._model = model
        self._baseline = BaselineFit(model).fit(tracked_frames)
        self._aligner = HeadAligner(model, select_backend("cpu"), AlignmentSettings())

    @property
    def identity(self) -> Float32Array:
        """Identity coefficients (K,)."""
        return self._baseline.identity

    @property
    def maps(self) -> ReflectanceMaps:
        """Observed colours as diffuse albedo."""
        return self._baseline.maps

    def maps_with(self, expression: Float32Array) -> ReflectanceMaps:
        """Observed colours, independent of the expression."""
        return self._baseline.maps

    @property
    def focal(self) -> float:
        """Focal length over the frame's longer side."""
        return self._baseline.focal

    def fit_frame_pose(self, tracked_frame: TrackedFrame) -> KeyframeEstimate:
        """Estimate by landmarks; the light is uniform white."""
        keyframe = keyframe_of("held out", tracked_frame)
        fixed = FreeParameters(identity=False, focal=False)
        joint = self._aligner.by_landmarks([keyframe], {}, self.focal, self.identity, fixed)
        unlit = Light.ambient().sh[0].numpy()
        return KeyframeEstimate(pose_of(joint, 0), joint.expressions[0].astype(np.float32), unlit, float("nan"))

    def draw(self, estimate: KeyframeEstimate, camera: Camera) -> tuple[UInt8Array, UInt8Array]:
        """Render by `HeadAligner.draw`, unlit."""
        rendering = self._aligner.draw(estimate, self.identity, camera_of(camera, self.focal), self.maps)
        return _image_and_mask(rendering)

    def draw_relit(
        self, estimate: KeyframeEstimate, camera: Camera, unseen: UnseenLight
    ) -> tuple[UInt8Array, UInt8Array]:
        """Render by `relight`."""
        return _image_and_mask(relight(self, self._model, estimate, camera, unseen))


def _image_and_mask(rendering: Rendering) -> tuple[UInt8Array, UInt8Array]:
    """Image (H, W, 3), sRGB, and mask (H, W), 0 or 255, of the first of a batch."""
    mask = np.where(rendering.mask[0, ..., 0].numpy() > 0.5, np.uint8(255), np.uint8(0))
    return linear_to_bytes(rendering.image[0].numpy()), mask


@dataclass(frozen=True)
class FitResources:
    """Models and settings that all methods share, loaded once."""

    model: MorphableModel
    generator: Callable[[], ReflectanceGenerator]
    """Loads a separate generator for each fit, since weight tuning changes it."""
    embedder: DlibEmbedder
    settings: FitSettings


def load_resources(model: MorphableModel, embedder: DlibEmbedder) -> FitResources:
    """Resources with the package's generator and default settings."""
    return FitResources(model, packaged_generator, embedder, FitSettings())


def keyframe_of(key: str, tracked_frame: TrackedFrame, embedder: DlibEmbedder | None = None) -> Keyframe:
    """Keyframe of a tracked frame; with an embedder, the identity embedding is computed where it is missing."""
    image, observation = tracked_frame.frame.image, tracked_frame.observation
    if observation.embedding is None and embedder is not None:
        observation = replace(observation, embedding=embedder.embed(image, observation.landmarks))
    return Keyframe(key, image, observation, tracked_frame.frame.timestamp_s)


def new_fitter(resources: FitResources) -> IncrementalFitter:
    """Fit without keyframes."""
    return IncrementalFitter(resources.model, resources.generator(), resources.settings, resources.embedder)


def fitter_of(tracked_frames: Iterable[TrackedFrame], resources: FitResources) -> IncrementalFitter:
    """Fit with the tracked frames of a person as keyframes, not refined yet."""
    fitter = new_fitter(resources)
    for index, tracked_frame in enumerate(tracked_frames):
        fitter.add_keyframe(keyframe_of(str(index), tracked_frame, resources.embedder))
    return fitter


def head_with_mean_maps(resources: FitResources, identity: Float32Array, focal: float) -> FittedHead:
    """Head of a given shape (K,) with the generator's mean reflectance."""
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
    """Mean head: zero identity coefficients, the prior's focal length."""
    return head_with_mean_maps(
        resources, np.zeros(resources.model.identity_count, np.float32), resources.settings.alignment.solver.focal_prior
    )


def landmarks_only(resources: FitResources, tracked_frames: Sequence[TrackedFrame]) -> FittedHead:
    """Head with the shape of the fit's first stage."""
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
    """Render a head's mesh, without hair, in an estimate's pose and expression under the unseen light, linear."""
    light = light_of(unseen)
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


def light_of(unseen: UnseenLight) -> Light:
    """The unseen light for the project's renderers, a batch of 1."""
    return Light(
        Light.ambient(unseen.ambient).sh, torch.tensor([[list(unseen.direction)]]), torch.tensor([[list(unseen.color)]])
    )
