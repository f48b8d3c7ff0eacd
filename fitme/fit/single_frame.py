"""Fit of a single frame: pose, expression and light, with identity, focal length and reflectance fixed."""

from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property

import torch

from fitme.arrays import Float32Array
from fitme.color import linear_to_srgb
from fitme.fit.alignment.aligner import HeadAligner, camera_of, keyframe_estimate
from fitme.fit.alignment.face_crop import crop_face
from fitme.fit.displayed_head import HeadEstimate
from fitme.fit.estimate import Illumination, KeyframeEstimate
from fitme.fit.keyframe import Keyframe
from fitme.fit.settings import FitSettings
from fitme.fit.solver.joint_estimate import IDENTITY_FIXED, JointEstimate
from fitme.fit.texture.texel_views import TexelViews
from fitme.render.light import Light
from fitme.shape.morphable_model import MorphableModel

LIGHT_RESOLUTION = 96
"""Side of the map whose texels a single frame's light is solved over."""
FLOW_ROUNDS = 2
"""Alternations of alignment by optical flow and of the light solve."""


class SingleFrameFitter:
    """Fits pose, expression and light of single frames."""

    def __init__(
        self,
        model: MorphableModel,
        settings: FitSettings,
        aligner: HeadAligner,
    ) -> None:
        self._model = model
        self._settings = settings
        self._aligner = aligner

    def fit(
        self, keyframe: Keyframe, usable: Float32Array, head: HeadEstimate, lights: Sequence[Illumination]
    ) -> KeyframeEstimate:
        """Estimate of a frame, without its loss.

        :param usable: (H, W) weight in [0, 1] of each pixel.
        :param lights: of other frames; the mean of their harmonics is the prior of this one's, uniform light without
            any. The search for a key light begins with theirs.
        """
        crop = crop_face(keyframe, usable, self._settings.inversion.crop_resolution)
        # Landmarks give the pose from which flow starts, and flow needs renders in the frame's own light.
        joint = self._aligner.by_landmarks([keyframe], {}, head.focal, head.identity, IDENTITY_FIXED)
        light = self._light(keyframe, joint, usable, head, lights)
        for _ in range(FLOW_ROUNDS):
            joint = self._aligner.by_flow([keyframe], [crop], joint, head.maps, [light], IDENTITY_FIXED)
            light = self._light(keyframe, joint, usable, head, lights)
        return keyframe_estimate(joint, 0, light)

    def with_loss(
        self, estimate: KeyframeEstimate, keyframe: Keyframe, usable: Float32Array, head: HeadEstimate
    ) -> KeyframeEstimate:
        """The estimate with its loss: root mean square error over the face in the frame's crop, sRGB-encoded units."""
        crop = crop_face(keyframe, usable, self._settings.inversion.crop_resolution)
        camera = crop.camera(camera_of(keyframe.observation.camera, head.focal))
        rendering = self._aligner.draw(estimate, head.identity, camera, head.maps)
        target = torch.from_numpy(crop.image).float() / 255.0
        weight = torch.from_numpy(crop.usable)[..., None] * rendering.mask[0]
        squared = (linear_to_srgb(rendering.image[0]) - target).square().mean(-1, keepdim=True)
        return replace(estimate, loss=float(((squared * weight).sum() / weight.sum().clamp(min=1e-6)).sqrt()))

    @cached_property
    def _light_views(self) -> TexelViews:
        return TexelViews(self._model, LIGHT_RESOLUTION)

    def _light(
        self,
        keyframe: Keyframe,
        joint: JointEstimate,
        usable: Float32Array,
        head: HeadEstimate,
        lights: Sequence[Illumination],
    ) -> Illumination:
        camera = keyframe.observation.camera
        estimate = keyframe_estimate(joint, 0, Illumination(Light.ambient().sh[0].numpy()))
        view = self._light_views.observe(estimate, head.identity, head.focal, camera, keyframe.image, usable)
        return self._light_views.light(view, head.maps, self._settings.light, lights)
