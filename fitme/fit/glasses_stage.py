"""Glasses of a fit: found in the keyframes, and left out of the pixels that show skin."""

import cv2
import numpy as np
import torch

from fitme.arrays import Float32Array
from fitme.fit.alignment.aligner import camera_of
from fitme.fit.alignment.face_crop import crop_face
from fitme.fit.estimate import KeyframeEstimate
from fitme.fit.keyframe import Keyframe
from fitme.fit.keyframes.keyframe_set import KeyframeSet
from fitme.glasses.covered_pixels import covered_pixels
from fitme.glasses.fit import fit_glasses
from fitme.glasses.glasses import Glasses
from fitme.glasses.settings import GlassesMode, GlassesSettings
from fitme.glasses.sheet import GlassesFrame
from fitme.shape.morphable_model import MorphableModel

EDGE_PX = 0.7
"""Standard deviation of the filter over the edge of what is left out."""


class GlassesStage:
    """Glasses of a fit."""

    def __init__(self, model: MorphableModel, settings: GlassesSettings, crop_resolution: int) -> None:
        """`crop_resolution` is the side of the keyframes' crops."""
        self._model = model
        self._settings = settings
        self._crop_resolution = crop_resolution
        self.glasses: Glasses | None = None
        """None where the keyframes show none, and where they are not searched."""

    @property
    def shown(self) -> Glasses | None:
        """The glasses that the avatar has."""
        return self.glasses if self._settings.mode is GlassesMode.LAYER else None

    def fit(self, keyframe_set: KeyframeSet, identity: Float32Array, focal: float) -> None:
        """Look for glasses in the keyframes that have been solved for, and leave them out of what shows skin.

        :param identity: (K,) of the working head.
        """
        if self._settings.mode is GlassesMode.SKIN:
            return
        frames = [
            _frame(entry.keyframe, entry.estimate, focal)
            for entry in keyframe_set.entries.values()
            if entry.estimate is not None
        ]
        with torch.no_grad():
            neutral = self._model.neutral(torch.from_numpy(identity)[None])[0].numpy()
        self.glasses = fit_glasses(self._model, neutral, frames, self._settings)
        self.leave_out(keyframe_set, focal)

    def leave_out(self, keyframe_set: KeyframeSet, focal: float) -> None:
        """Leave the glasses out of the usable pixels of all keyframes from which they have not been left out yet."""
        if self.glasses is None:
            return
        for entry in keyframe_set.entries.values():
            if entry.estimate is not None and not entry.glasses_left_out:
                entry.usable = self.uncovered(entry.usable, entry.keyframe, entry.estimate, focal)
                entry.crop = crop_face(entry.keyframe, entry.usable, self._crop_resolution)
                entry.glasses_left_out = True

    def uncovered(
        self, usable: Float32Array, keyframe: Keyframe, estimate: KeyframeEstimate, focal: float
    ) -> Float32Array:
        """(H, W) weights of pixels without those that glasses cover."""
        if self.glasses is None:
            return usable
        covered = covered_pixels(self.glasses, _frame(keyframe, estimate, focal))
        return np.asarray(usable * (1.0 - cv2.GaussianBlur(covered, (0, 0), EDGE_PX)), np.float32)


def _frame(keyframe: Keyframe, estimate: KeyframeEstimate, focal: float) -> GlassesFrame:
    camera = camera_of(keyframe.observation.camera, focal)
    return GlassesFrame(keyframe.image, estimate.pose, camera, estimate.illumination.unshadowed_sh)
