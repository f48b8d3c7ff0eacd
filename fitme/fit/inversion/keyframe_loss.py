"""Loss of one keyframe by differentiable rendering, and the geometry and light that it is minimised over."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from fitme.arrays import Float32Array
from fitme.color import linear_to_srgb
from fitme.fit.alignment.landmark_targets import LandmarkSettings
from fitme.fit.estimate import KeyframeEstimate
from fitme.fit.inversion.adam import Group
from fitme.fit.inversion.losses import TargetFace, encoded_l1, identity_losses, landmark_loss
from fitme.fit.inversion.settings import InversionSettings
from fitme.geometry import Camera, HeadPose, transform
from fitme.reflectance.maps import ReflectanceMaps
from fitme.render.light import Light
from fitme.render.rasterizer import RasterizerBackend
from fitme.render.renderer import render
from fitme.shape.landmark_groups import FACE_OVAL
from fitme.shape.morphable_model import MorphableModel
from fitme.track.identity import DlibEmbedder


@dataclass(frozen=True)
class KeyframeTarget:
    """One keyframe as its render is compared with it. Tensors are on the device of the fit's renders."""

    image: Tensor
    """(1, R, R, 3) of the window around the face, sRGB-encoded in [0, 1]."""
    usable: Tensor
    """(1, R, R, 1) in [0, 1]: share of a pixel that shows the person's uncovered face."""
    camera: Camera
    """Camera of the window."""
    landmarks: Float32Array
    """(478, 2) pixels of the window."""
    observed: Tensor
    """(478, 2) the same as a tensor."""
    landmark_sigma_px: Tensor
    """(478,) standard deviations, pixels of the window; infinite for landmarks without weight."""
    face: TargetFace | None
    """Identity features of the crop; None where identity terms are left out."""


class SceneParameters:
    """Geometry and light of N keyframes as leaf tensors."""

    def __init__(
        self, identity: Float32Array, estimates: Sequence[KeyframeEstimate], device: torch.device | str = "cpu"
    ) -> None:
        """Leaves on a device with the values of an identity (K,) and of the estimates of N keyframes."""

        def leaf(values: Float32Array) -> Tensor:
            return torch.from_numpy(values.copy()).to(device).requires_grad_()

        def rows(part: Callable[[KeyframeEstimate], Float32Array]) -> Float32Array:
            return np.stack([part(item) for item in estimates])

        self.identity = leaf(identity)  # (K,)
        self.rotations = leaf(rows(lambda item: item.pose.rotation))  # (N, 3)
        self.translations = leaf(rows(lambda item: item.pose.translation))  # (N, 3)
        self.expressions = leaf(rows(lambda item: item.expression))  # (N, 52)
        self.lights = leaf(rows(lambda item: item.light_sh))  # (N, 9, 3)
        # Key lights stay as they were found: where their shadows fall carries no gradient.
        self._key_lights = [item.key_light for item in estimates]

    def groups(self, settings: InversionSettings) -> list[Group]:
        """Leaves by their learning rates."""
        return [
            Group([self.identity, self.expressions], settings.geometry_rate),
            Group([self.rotations, self.translations], settings.pose_rate),
            Group([self.lights], settings.light_rate),
        ]

    def estimates(self, losses: Sequence[float]) -> tuple[Float32Array, list[KeyframeEstimate]]:
        """Identity (K,) and the estimates of all keyframes as arrays, with their photometric losses."""

        def array(values: Tensor) -> Float32Array:
            copied: Float32Array = values.detach().cpu().numpy().copy()
            return copied

        leaves = map(array, (self.rotations, self.translations, self.expressions, self.lights))
        return array(self.identity), [
            KeyframeEstimate(HeadPose(rotation, translation), expression, sh, loss, key)
            for rotation, translation, expression, sh, loss, key in zip(*leaves, losses, self._key_lights, strict=True)
        ]

    def light(self, index: int) -> Light:
        """Light of a keyframe, a batch of 1."""
        sh, key = self.lights[index : index + 1], self._key_lights[index]
        if key is None:
            return Light.from_harmonics(sh)
        direction, color = (torch.from_numpy(values)[None, None].to(sh) for values in (key.direction, key.color))
        return Light(sh, direction, color)

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
    occlusion: Tensor,
) -> tuple[Tensor, dict[str, Tensor]]:
    """Weighted sum of the photometric, feature, identity, landmark and prior terms of a keyframe, and their values.

    All tensors and networks are on the device of `backend`; nothing is copied from it.

    :param occlusion: (V,) `fitme.render.occlusion.head_occlusion` of the model.
    """
    vertices = model.vertices(scene.identity[None], scene.expressions[index : index + 1])
    rotation, translation = scene.rotations[index : index + 1], scene.translations[index : index + 1]
    rendering = render(
        model, vertices, rotation, translation, target.camera, maps, scene.light(index), occlusion=occlusion,
        backend=backend,
    )  # fmt: skip
    image, usable = target.image, target.usable
    photometric = encoded_l1(rendering.image, image, usable * rendering.mask)
    projected = target.camera.project(transform(rotation, translation, model.landmarks(vertices)))[0]
    landmarks = landmark_loss(projected, target.observed, target.landmark_sigma_px)
    prior = scene.identity.square().mean() + scene.expressions[index].square().mean()
    total = (
        settings.photometric_weight * photometric
        + settings.landmark_weight * landmarks
        + settings.shape_prior_weight * prior
    )
    values = {"photometric": photometric.detach(), "landmarks": landmarks.detach()}
    if embedder is not None and target.face is not None:
        coverage = usable * rendering.mask
        composite = coverage * linear_to_srgb(rendering.image) + (1.0 - coverage) * image
        features, identity = identity_losses(embedder, composite, target.face, target.landmarks)
        total = total + settings.feature_weight * features + settings.identity_weight * identity
        values |= {"features": features.detach(), "identity": identity.detach()}
    return total, values
