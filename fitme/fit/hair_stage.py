"""Hair stage of a fit: the frames of `fitme.hair.fit` from the keyframes, their estimates and the fitted head."""

from collections.abc import Sequence

import cv2
import numpy as np
import torch

from fitme.arrays import Float32Array
from fitme.fit.alignment.aligner import camera_of, head_vertices
from fitme.fit.alignment.face_crop import crop_face
from fitme.fit.estimate import KeyframeEstimate
from fitme.fit.keyframe import Keyframe
from fitme.fit.keyframes.keyframe_set import KeyframeEntry, KeyframeSet
from fitme.fit.texture.visibility import Visibility
from fitme.frame_pool import FramePool
from fitme.hair.frame import HairFrame, hair_over_skin
from fitme.hair.hair import Hair
from fitme.hair.settings import HairSettings
from fitme.render.rasterizer import RasterizerBackend
from fitme.sampling import farthest_points
from fitme.shape.landmark_groups import FACE_OVAL
from fitme.shape.morphable_model import MorphableModel

MARGIN_SHARE = 0.025
"""Margin kept from hair before the skin, over the face's height: single strands are thinner than what shows them, and
shade the skin beside them."""


class HairStage:
    """Hair of a fit, warm-started from its last state."""

    def __init__(
        self,
        model: MorphableModel,
        backend: RasterizerBackend,
        settings: HairSettings,
        visibility: Visibility,
        pool: FramePool,
        crop_resolution: int,
    ) -> None:
        """`crop_resolution`: pixels of a side of the keyframes' crops."""
        self._model = model
        self._backend = backend
        self._settings = settings
        self._visibility = visibility
        self._pool = pool
        self._crop_resolution = crop_resolution
        self.hair: Hair | None = None
        """None before the first fit, and where hair is turned off."""

    @property
    def bald(self) -> bool:
        """Whether hair was fitted, and none found."""
        return self.hair is not None and self.hair.bald

    def fit(self, keyframe_set: KeyframeSet, identity: Float32Array, focal: float) -> None:
        """Fit the hair to the keyframes that have been solved for: at most `HairSettings.frames`, seen from directions
        as different as possible, so that a round's cost does not grow with the keyframes held.

        :param identity: (K,) of the working head.
        """
        if not self._settings.enabled:
            return
        # Imported here: the first avatar, which has no hair yet, does not wait for SciPy.
        from fitme.hair.fit import fit_hair

        solved = [entry for entry in keyframe_set.entries.values() if entry.estimate is not None]
        frames = [self._frame(entry.keyframe, entry.solved, identity, focal) for entry in self._chosen(solved)]
        with torch.no_grad():
            neutral = self._model.neutral(torch.from_numpy(identity)[None])[0].numpy()
        self.hair = fit_hair(self._model, neutral, frames, self._backend, self._settings, self.hair, self._pool)

    def leave_out(self, keyframe_set: KeyframeSet, identity: Float32Array, focal: float) -> None:
        """Leave hair before cheeks and ears out of the usable pixels of all keyframes from which it has not been left
        out yet: on the skin it would stay as streaks, where the head is seen from another side.

        :param identity: (K,) of the working head.
        """
        if self.hair is None:
            return
        entries = [e for e in keyframe_set.entries.values() if e.estimate is not None and not e.hair_left_out]
        uncovered = self._pool.map(
            lambda entry: self.uncovered(entry.usable, entry.keyframe, entry.solved, identity, focal), entries
        )
        for entry, usable in zip(entries, uncovered, strict=True):
            entry.usable = usable
            entry.crop = crop_face(entry.keyframe, usable, self._crop_resolution)
            entry.hair_left_out = True

    def uncovered(
        self, usable: Float32Array, keyframe: Keyframe, estimate: KeyframeEstimate, identity: Float32Array, focal: float
    ) -> Float32Array:
        """(H, W) weights of pixels without those that show hair before cheeks and ears."""
        if self.hair is None or self.hair.bald:
            return usable
        frame = self._frame(keyframe, estimate, identity, focal)
        covered = hair_over_skin(frame, self._model, self._backend)
        return np.asarray(usable * (1.0 - _widened(covered, frame.oval)), np.float32)

    def _chosen(self, entries: Sequence[KeyframeEntry]) -> list[KeyframeEntry]:
        if len(entries) <= self._settings.frames:
            return list(entries)
        directions = np.stack([entry.direction for entry in entries])
        chosen = farthest_points(
            lambda index: np.linalg.norm(directions - directions[index], axis=1), 0, self._settings.frames
        )
        return [entries[index] for index in chosen]

    def _frame(self, keyframe: Keyframe, estimate: KeyframeEstimate, identity: Float32Array, focal: float) -> HairFrame:
        observation = keyframe.observation
        posed = head_vertices(self._model, estimate, identity)
        return HairFrame(
            keyframe.image, self._visibility.person(keyframe), observation.landmarks[list(FACE_OVAL)], posed.numpy(),
            estimate.pose, camera_of(observation.camera, focal), estimate.illumination.unshadowed_sh,
            observation.quality.sharpness,
        )  # fmt: skip


def _widened(covered: Float32Array, oval: Float32Array) -> Float32Array:
    """(H, W) covered shares with a margin, by the size of the face's oval (36, 2), pixels."""
    margin = max(round(MARGIN_SHARE * float(np.ptp(oval[:, 1]))), 1)
    wide = cv2.dilate(covered, np.ones((2 * margin + 1,) * 2, np.uint8))
    return np.asarray(cv2.GaussianBlur(wide, (0, 0), 0.5 * margin), np.float32)
