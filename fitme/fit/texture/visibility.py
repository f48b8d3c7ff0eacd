"""Weights of a keyframe's pixels: the uncovered head against background and hands."""

import cv2
import numpy as np

from fitme.arrays import Float32Array
from fitme.fit.keyframe import Keyframe
from fitme.track.segmentation import HandOcclusion, PersonSegmenter

AROUND_WEIGHT = 0.4
"""Weight of pixels around the face's oval, where hair and background lie: less than the face's own."""
AROUND_GROWTH = 0.6
"""How far beyond the oval the head may reach, relative to the oval's size."""
MARGIN_SHARE = 0.03
"""Margin kept from background and hands, over the side of the face."""
EDGE_SHARE = 0.3
"""Blur of the mask's edge over that margin: little enough not to reach beyond it, however many images are summed."""


class Visibility:
    """Segmentation of the uncovered head from background and hands. Owns the networks."""

    def __init__(self) -> None:
        self._person = PersonSegmenter()
        self._hands = HandOcclusion()

    def usable_pixels(self, keyframe: Keyframe) -> Float32Array:
        """(H, W) weights in [0, 1]: 1 inside the face's oval, less around it, 0 on background and hands."""
        observation = keyframe.observation
        margin_px = max(round(MARGIN_SHARE * observation.quality.face_size_px), 1)
        margin = np.ones((2 * margin_px + 1,) * 2, np.uint8)
        person = cv2.erode(self._person.mask(keyframe.image), margin)
        around = AROUND_WEIGHT * observation.face_mask(grow=AROUND_GROWTH) * person
        weight = np.maximum(observation.face_mask().astype(np.float32), around)
        hands = self._hands.mask(keyframe.image, observation.landmarks).astype(np.uint8)
        weight *= 1.0 - cv2.dilate(hands, margin)
        return np.asarray(cv2.GaussianBlur(weight, (0, 0), EDGE_SHARE * margin_px), np.float32)

    def person(self, keyframe: Keyframe) -> Float32Array:
        """(H, W) probability in [0, 1] that a pixel shows the person, hands before the face left out."""
        hands = self._hands.mask(keyframe.image, keyframe.observation.landmarks)
        return np.where(hands, np.float32(0.0), self._person.mask(keyframe.image))

    def close(self) -> None:
        """Release the networks; the object is unusable then."""
        self._person.close()
        self._hands.close()
