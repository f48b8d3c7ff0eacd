"""Loss of one keyframe by differentiable rendering, and the geometry and light that it is minimised over."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from fitme.arrays import Float32Array
from fitme.color import linear_to_srgb
from fitme.fit.alignment.face_crop import FaceCrop
from fitme.fit.alignment.landmark_targets import LandmarkSettings
from fitme.fit.estimate import KeyframeEstimate
from fitme.fit.inversion.adam import Group
from fitme.fit.inversion.losses import TargetFace, encoded_l1, identity_losses, landmark_loss
from fitme.fit.inversion.settings import InversionSettings
from fitme.geometry import Camera, HeadPose, transform
from fitme.reflectance.maps import ReflectanceMaps
from fitme.render.light import Light
from fitme.render.occlusion import head_occlusion
from fitme.render.rasterizer import RasterizerBackend
from fitme.render.renderer import render
from fitme.shape.landmark_groups import FACE_OVAL
from fitme.shape.morphable_model import MorphableModel
from fitme.track.identity import DlibEmbedder


@dataclass(frozen=True)
class KeyframeTarget:
    """One keyframe as its render is compared with it."""

    crop: FaceCrop
    camera: Camera
    """Camera of the crop's window."""
    landmarks: Float32Array
    """(478, 2) pixels of the window."""
    landmark_sigma_px: Tensor
    """(478,) standard deviations, pixels of the window; infinite for landmarks without weight."""
    face: TargetFace | None
    """Identity features of the crop; None where identity terms are left out."""


class SceneParameters:
    """Geometry and light of N keyframes as leaf tensors."""

    def __init__(self, identity: Float32Array, estimates: Sequence[KeyframeEstimate]) -> None:
        """Leaves with the values of an identity (K,) and of the estimates of N keyframes."""

        def leaf(rows: Sequence[Float32Array]) -> Tensor:
            return torch.from_numpy(np.stack(rows)).requires_grad_()

        self.identity = torch.from_numpy(identity.copy()).requires_grad_()  # (K,)
        self.rotations = leaf([item.pose.rotation for item in estimates])  # (N, 3)
        self.translations = leaf([item.pose.translation for item in estimates])  # (N, 3)
        self.expressions = leaf([item.expression for item in estimates])  # (N, 52)
        self.lights = leaf([item.light_sh for item in estimates])  # (N, 9, 3)

    def groups(self, settings: InversionSettings) -> list[Group]:
        """Leaves by their learning rates."""
        return [
            Group([self.identity, self.expressions], settings.geometry_rate),
            Group([self.rotations, self.translations], settings.pose_rate),
            Group([self.lights], settings.light_rate),
        ]

    def estimate(self, index: int, loss: float) -> KeyframeEstimate:
        """Estimate of keyframe `index`, with its photometric `loss`."""

        def array(values: Tensor) -> Float32Array:
            copied: Float32Array = values[index].detach().numpy().copy()
            return copied

        pose = HeadPose(array(self.rotations), array(self.translations))
        return KeyframeEstimate(pose, array(self.expressions), array(self.lights), loss)

    @torch.no_grad()
    def clamp(self) -> None:
        """Bring expressions back into [0, 1] after a step."""
        self.expressions.clamp_(0.0, 1.0)


def landmark_sigma(model: MorphableModel, landmarks: Float32Array, settings: LandmarkSettings) -> Tensor:
    """(478,) standard deviations in pixels of landmarks (478, 2); infinite for those that have no place on the mesh."""
    side = float((landmarks.max(0) - landmarks.min(0)).max())
    sigma = torch.full((len(landmarks),), settings.sigma * side)
    sigma[list(FACE_OVAL)] *= settings.contour_factor
    sigma[~model.mediapipe_valid] = torch.inf
    return sigma


def keyframe_loss(
    index: int,
    target: KeyframeTarget,
    scene: SceneParameters,
    maps: ReflectanceMaps,
    model: MorphableModel,
    embedder: DlibEmbedder | None,
    backend: RasterizerBackend,
    settings: InversionSettings,
) -> tuple[Tensor, dict[str, float]]:
    """Weighted sum of the photometric, feature, identity, landmark and prior terms of a keyframe, and their values."""
    vertices = model.vertices(scene.identity[None], scene.expressions[index : index + 1])
    rotation, translation = scene.rotations[index : index + 1], scene.translations[index : index + 1]
    light = Light(scene.lights[index : index + 1], torch.zeros(1, 0, 3), torch.zeros(1, 0, 3))
    occlusion = head_occlusion(model)
    rendering = render(
        model, vertices, rotation, translation, target.camera, maps, light, occlusion=occlusion, backend=backend
    )
    image = torch.from_numpy(target.crop.image)[None].float() / 255.0
    usable = torch.from_numpy(target.crop.usable)[None, ..., None]
    photometric = encoded_l1(rendering.image, image, usable * rendering.mask)
    projected = target.camera.project(transform(rotation, translation, model.landmarks(vertices)))[0]
    landmarks = landmark_loss(projected, torch.from_numpy(target.landmarks), target.landmark_sigma_px)
    prior = scene.identity.square().mean() + scene.expressions[index].square().mean()
    total = (
        settings.photometric_weight * photometric
        + settings.landmark_weight * landmarks
        + settings.shape_prior_weight * prior
    )
    values = {"photometric": float(photometric.detach()), "landmarks": float(landmarks.detach())}
    if embedder is not None and target.face is not None:
        coverage = usable * rendering.mask
        composite = coverage * linear_to_srgb(rendering.image) + (1.0 - coverage) * image
        features, identity = identity_losses(embedder, composite, target.face, target.landmarks)
        total = total + settings.feature_weight * features + settings.identity_weight * identity
        values |= {"features": float(features.detach()), "identity": float(identity.detach())}
    return total, values
