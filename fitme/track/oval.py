"""Mask of a face's outline."""

import cv2
import numpy as np

from fitme.arrays import BoolArray, Float32Array
from fitme.shape.landmark_groups import FACE_OVAL


def oval_mask(landmarks: Float32Array, height: int, width: int, *, grow: float = 0.0) -> BoolArray:
    """(height, width) mask of the pixels inside the face's oval, from landmarks (478, 2), pixels.

    The region is the convex hull of the oval's landmarks, scaled about its centroid by 1 + `grow` (negative shrinks).
    """
    outline = landmarks[list(FACE_OVAL)]
    center = outline.mean(0)
    hull = cv2.convexHull(np.rint(center + (1.0 + grow) * (outline - center)).astype(np.int32))
    mask = np.zeros((height, width), np.uint8)
    cv2.fillConvexPoly(mask, hull, (1.0,))
    return mask.astype(np.bool_)
