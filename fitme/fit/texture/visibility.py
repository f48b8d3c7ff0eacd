"""Weights of a keyframe's pixels: the uncovered head against the background and what covers the face."""

from collections import deque
from collections.abc import Sequence
from threading import Lock

import cv2
import numpy as np

from fitme.arrays import Float32Array, UInt8Array
from fitme.fit.keyframe import Keyframe
from fitme.shape.morphable_model import MorphableModel
from fitme.track.observation import FaceObservation
from fitme.track.occlusion import FEWEST_OF_MAJORITY, FaceOcclusion
from fitme.track.segmentation import PersonSegmenter

AROUND_WEIGHT = 0.4
"""Weight of pixels around the face's oval, where hair and background lie: less than the face's own."""
AROUND_GROWTH = 0.6
"""How far beyond the oval the head may reach, relative to the oval's size."""
MARGIN_SHARE = 0.03
"""Margin kept from the background and from what covers the face, over the side of the face."""
EDGE_SHARE = 0.3
"""Blur of the mask's edge over that margin: little enough not to reach beyond it, however many images are summed."""
RECENT = 8
"""Images whose masks are kept, of which a large one takes megabytes."""
PATIENCE = 6
"""Images in a row after which what covers the face counts as part of it."""


class Visibility:
    """Segmentation of the uncovered head from the background and from what covers the face. Owns the networks."""

    def __init__(self, model: MorphableModel) -> None:
        self._person = PersonSegmenter()
        self._occlusion = FaceOcclusion(model, patience=PATIENCE)
        # Expression frames are looked at by several threads.
        self._lock = Lock()
        self._recent: deque[tuple[UInt8Array, Float32Array]] = deque(maxlen=RECENT)
        """The last images and their masks: a frame's is asked for twice."""

    def learn_face(self, keyframes: Sequence[Keyframe]) -> None:
        """Compare all further keyframes with the one of these in which least differs from most others: the first one
        may be covered. Nothing changes with fewer than `FEWEST_OF_MAJORITY`."""
        if len(keyframes) < FEWEST_OF_MAJORITY:
            return
        faces = [(k.image, k.observation.landmarks, k.observation.pose) for k in keyframes]
        least = keyframes[int(np.argmin(self._occlusion.majority_shares(faces)))]
        self.set_uncovered_face(least.image, least.observation)

    def set_uncovered_face(self, image: UInt8Array, observation: FaceObservation) -> None:
        """Compare all further keyframes with a face in an image (H, W, 3) sRGB that nothing covers."""
        self._occlusion.set_reference(image, observation.landmarks, observation.pose)

    def usable_pixels(self, keyframe: Keyframe) -> Float32Array:
        """(H, W) weights in [0, 1]: 1 inside the face's oval, less around it, 0 on the background and on what
        covers the face, by comparison with the frames before."""
        observation = keyframe.observation
        margin_px = max(round(MARGIN_SHARE * observation.quality.face_size_px), 1)
        margin = np.ones((2 * margin_px + 1,) * 2, np.uint8)
        person = cv2.erode(self.person(keyframe), margin)
        around = AROUND_WEIGHT * observation.face_mask(grow=AROUND_GROWTH) * person
        weight = np.maximum(observation.face_mask().astype(np.float32), around)
        occlusion = self._occlusion.check(keyframe.image, observation.landmarks, observation.pose)
        covered = occlusion.mask(*weight.shape)
        weight *= 1.0 - cv2.dilate(covered.astype(np.uint8), margin)
        return np.asarray(cv2.GaussianBlur(weight, (0, 0), EDGE_SHARE * margin_px), np.float32)

    def person(self, keyframe: Keyframe) -> Float32Array:
        """(H, W) probability in [0, 1] that a pixel shows the person."""
        with self._lock:
            for image, known in self._recent:
                if image is keyframe.image:
                    return known
            mask = self._person.mask(keyframe.image)
            self._recent.append((keyframe.image, mask))
            return mask

    def close(self) -> None:
        """Release the networks; the object is unusable then."""
        self._person.close()
