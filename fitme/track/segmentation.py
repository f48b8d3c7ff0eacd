"""Masks of the person, and of hands in front of the face."""

from types import TracebackType
from typing import Any, Final

import cv2
import numpy as np

from fitme.arrays import BoolArray, Float32Array, UInt8Array
from fitme.track.mediapipe_package import mediapipe
from fitme.track.oval import oval_mask

FINGER_WIDTH: Final = 0.1
"""Half the width of a finger, which skin reaches beyond the joints, as a share of the length of the hand."""
SEARCH_MARGIN: Final = 0.9
"""Border around the face, as a share of its size, in which hands are searched."""
SEARCH_SIDE_PX: Final = 256
"""Side of the hand detector's input; the network itself works at 192."""


class HandOcclusion:
    """Detector of hands in front of a face, by MediaPipe's hand landmarks: about 10 ms an image on one core."""

    def __init__(self, *, min_detection_confidence: float = 0.3) -> None:
        """The network starts on first use."""
        self._confidence = min_detection_confidence
        self._network: Any = None

    def mask(self, image: UInt8Array, landmarks: Float32Array) -> BoolArray:
        """(H, W) mask of hands near the face with landmarks (478, 2), pixels."""
        height, width = image.shape[:2]
        covered = np.zeros((height, width), np.uint8)
        for hand in self._hands(image, landmarks):
            hull = cv2.convexHull(np.rint(hand).astype(np.int32))
            cv2.fillConvexPoly(covered, hull, (1.0,))
            length = float(np.ptp(hand, axis=0).max())
            thickness = max(1, round(2.0 * FINGER_WIDTH * length))
            cv2.polylines(covered, [hull], isClosed=True, color=(1.0,), thickness=thickness)
        return covered.astype(np.bool_)

    def share(self, image: UInt8Array, landmarks: Float32Array) -> float:
        """Share of the face's oval that hands cover, 0 to 1."""
        face = oval_mask(landmarks, *image.shape[:2])
        if not face.any():
            return 0.0
        return float(self.mask(image, landmarks)[face].mean())

    def close(self) -> None:
        """Release the network."""
        if self._network is not None:
            self._network.close()
            self._network = None

    def __enter__(self) -> "HandOcclusion":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _hands(self, image: UInt8Array, landmarks: Float32Array) -> list[Float32Array]:
        """Landmarks (21, 2), pixels, of each hand."""
        if self._network is None:
            self._network = mediapipe.solutions.hands.Hands(
                static_image_mode=True,
                max_num_hands=2,
                model_complexity=0,
                min_detection_confidence=self._confidence,
            )
        height, width = image.shape[:2]
        low, high = landmarks.min(0), landmarks.max(0)
        border = SEARCH_MARGIN * float((high - low).max())
        left, top = np.clip(np.floor(low - border), 0, [width - 1, height - 1]).astype(int)
        right, bottom = np.clip(np.ceil(high + border), [left + 1, top + 1], [width, height]).astype(int)
        part = image[top:bottom, left:right]
        scale = SEARCH_SIDE_PX / max(part.shape[:2])
        small = cv2.resize(part, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA) if scale < 1.0 else part
        found = self._network.process(np.ascontiguousarray(small, np.uint8)).multi_hand_landmarks or []
        size = np.array([part.shape[1], part.shape[0]], np.float32)
        corner = np.array([left, top], np.float32)
        return [np.array([(p.x, p.y) for p in hand.landmark], np.float32) * size + corner for hand in found]


class PersonSegmenter:
    """Segmentation of the person from the background by MediaPipe's selfie segmentation: about 3 ms an image."""

    def __init__(self) -> None:
        """The network starts on first use."""
        self._network: Any = None

    def mask(self, image: UInt8Array) -> Float32Array:
        """(H, W) probability in [0, 1] that a pixel shows the person, hair and body included."""
        if self._network is None:
            self._network = mediapipe.solutions.selfie_segmentation.SelfieSegmentation(model_selection=0)
        return np.asarray(self._network.process(image).segmentation_mask, np.float32)

    def close(self) -> None:
        """Release the network."""
        if self._network is not None:
            self._network.close()
            self._network = None
