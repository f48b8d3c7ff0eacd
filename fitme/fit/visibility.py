"""Which pixels of a keyframe may be believed to show the head."""

import cv2
import numpy as np
import numpy.typing as npt

from fitme.fit.keyframe import Keyframe

AROUND_WEIGHT = 0.4
"""Weight of pixels around the face's oval, where hair and background lie: less than the face's own."""
AROUND_GROWTH = 0.6
"""How far beyond the oval the head may reach, relative to the oval's size."""
EDGE_SHARE = 0.03
"""Blur of the mask's edge over the side of the face."""


def usable_pixels(keyframe: Keyframe) -> npt.NDArray[np.float32]:
    """(H, W) weights in [0, 1]: 1 inside the face's oval, less around it, 0 away from the head."""
    observation = keyframe.observation
    face = observation.face_mask().astype(np.float32)
    around = observation.face_mask(grow=AROUND_GROWTH).astype(np.float32) * AROUND_WEIGHT
    weight = np.maximum(face, around)
    sigma = max(EDGE_SHARE * observation.quality.face_size_px, 0.5)
    return np.asarray(cv2.GaussianBlur(weight, (0, 0), sigma), np.float32)
