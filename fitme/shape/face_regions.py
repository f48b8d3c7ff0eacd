"""Regions of the face in which its form is reported."""

from collections.abc import Mapping
from enum import StrEnum

import numpy as np

from fitme.arrays import BoolArray, Float32Array, Float64Array
from fitme.shape.morphable_model import MorphableModel


class FaceRegion(StrEnum):
    """Region of the face."""

    NOSE = "nose"
    MOUTH = "mouth"
    CHEEKS = "cheeks"
    FOREHEAD = "forehead"
    JAW = "jaw"


CENTERS: Mapping[FaceRegion, tuple[int, ...]] = {
    FaceRegion.NOSE: (1, 4, 5, 168),
    FaceRegion.MOUTH: (13, 14, 0, 17, 61, 291),
    FaceRegion.CHEEKS: (50, 280, 117, 346),
    FaceRegion.FOREHEAD: (10, 151, 67, 297),
    FaceRegion.JAW: (152, 175, 172, 397),
}
"""MediaPipe's landmarks of each region; a point belongs to the region of the nearest."""


def masks_by_region(points: Float64Array, landmarks: Float64Array) -> dict[FaceRegion, BoolArray]:
    """(N,) bool mask of each region's points, of points (N, 3) and MediaPipe's landmarks (478, 3) of the same face."""
    centers = [(region, landmarks[index]) for region, indices in CENTERS.items() for index in indices]
    distance = np.linalg.norm(points[:, None] - np.stack([center for _, center in centers])[None], axis=-1)
    nearest = np.array([region for region, _ in centers])[distance.argmin(1)]
    return {region: nearest == region for region in FaceRegion}


def medians_by_region(model: MorphableModel, values: Float32Array) -> dict[FaceRegion, float]:
    """Median of values (V,) of a model's vertices over each region of the face."""
    vertices = model.face_vertices.numpy()
    landmarks = model.landmarks(model.mean[None])[0].double().numpy()
    masks = masks_by_region(model.mean.double().numpy()[vertices], landmarks)
    return {region: float(np.median(values[vertices][mask])) for region, mask in masks.items()}
