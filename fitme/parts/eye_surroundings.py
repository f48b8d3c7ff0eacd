"""Lids over the eyes: how much light they let through to each point of a ball, and where they press on it.

The edges of the lids are MediaPipe's landmarks of the eye's outline. Seen from the ball's centre they are two curves of
elevation over azimuth; what lies below the upper one by some millimetres is in its shade, whatever the gaze.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from fitme.arrays import Float32Array
from fitme.shape.morphable_model import MorphableModel

UPPER_LIDS = ((263, 466, 388, 387, 386, 385, 384, 398, 362), (33, 246, 161, 160, 159, 158, 157, 173, 133))
LOWER_LIDS = ((263, 249, 390, 373, 374, 380, 381, 382, 362), (33, 7, 163, 144, 145, 153, 154, 155, 133))
"""Landmarks of MediaPipe's mesh along the lids of the person's left and right eye, from the outer corner inwards."""
UPPER_SHADE_RAD, LOWER_SHADE_RAD = 0.28, 0.20
"""Angle from the edge of a lid, seen from the ball's centre, over which its shade fades."""
UPPER_SHADE, LOWER_SHADE = 0.40, 0.75
"""Share of the surroundings' light that arrives at the edge of the lid."""
COVERED_LIGHT = 0.15
"""Share of the light behind the lids."""
PRESSED = 0.07
"""Share of its distance from the centre by which a covered point lies deeper: lids press on the cornea."""
PRESSED_RAD = (0.09, 0.16)
"""Angles behind the edge of the lid between which this sets in."""
EDGE_RAD = 0.06
"""Angle behind the edge of the lid over which the light ends."""
NARROW_RAD = 0.30
"""Angle between the lids below which both shade what is between them: lids that nearly close leave no white line."""
OPEN_LIGHT = 0.9
"""Share of the light in the middle between the lids: brow and cheek take some."""


@dataclass(frozen=True, eq=False)
class EyeSurroundings:
    """Lids of one eye."""

    ball: Tensor
    """(N,) int64 vertices of the model's eyeball, whose mean is its centre."""
    upper: Tensor
    """(P, 3) int64 vertices of the triangles on which points of the upper lid's edge lie, outer corner first."""
    upper_weights: Tensor
    """(P, 3) barycentric coordinates there."""
    lower: Tensor
    """(P, 3) as `upper`, of the lower lid."""
    lower_weights: Tensor
    """(P, 3)."""

    def applied(self, eye: Float32Array, head: Float32Array) -> tuple[Float32Array, Float32Array]:
        """An eye's vertices (N, 3) under the lids of a posed head (V, 3), and the light (N,) that reaches them."""
        centre = head[self.ball.numpy()].mean(0)
        offset = eye - centre
        azimuth, elevation = _angles(offset)
        above = _curve(head, self.upper.numpy(), self.upper_weights.numpy(), centre, azimuth) - elevation
        below = elevation - _curve(head, self.lower.numpy(), self.lower_weights.numpy(), centre, azimuth)
        shade = (UPPER_SHADE + (1.0 - UPPER_SHADE) * _ramp(above / UPPER_SHADE_RAD)) * (
            LOWER_SHADE + (1.0 - LOWER_SHADE) * _ramp(below / LOWER_SHADE_RAD)
        )
        edge = np.minimum(above, below)
        reached = _ramp(1.0 + np.minimum(edge, 0.0) / EDGE_RAD) * _ramp((above + below) / NARROW_RAD)
        light = OPEN_LIGHT * (COVERED_LIGHT + (shade - COVERED_LIGHT) * reached)
        begin, end = PRESSED_RAD
        pressed = 1.0 - PRESSED * _ramp((-edge - begin) / (end - begin))
        front = offset[:, 2] > 0.0
        return (centre + offset * np.where(front, pressed, 1.0)[:, None]).astype(np.float32), light.astype(np.float32)


@lru_cache(maxsize=2)
def eye_surroundings(model: MorphableModel) -> tuple[EyeSurroundings, EyeSurroundings]:
    """Lids of the left and the right eye of a model."""
    sides = []
    for ball, upper, lower in zip(model.eyeball_vertices, UPPER_LIDS, LOWER_LIDS, strict=True):
        up, low = torch.tensor(upper), torch.tensor(lower)
        corners = (model.triangles[model.mediapipe_triangles[index].long()].long() for index in (up, low))
        first, second = corners
        weights = model.mediapipe_barycentric
        sides.append(EyeSurroundings(ball, first, weights[up], second, weights[low]))
    return sides[0], sides[1]


def _angles(offset: Float32Array) -> tuple[Float32Array, Float32Array]:
    """Azimuth and elevation (N,) of directions (N, 3)."""
    azimuth = np.arctan2(offset[:, 0], offset[:, 2])
    return azimuth, np.arctan2(offset[:, 1], np.hypot(offset[:, 0], offset[:, 2]))


def _curve(
    head: Float32Array, corners: Float32Array, weights: Float32Array, centre: Float32Array, azimuth: Float32Array
) -> Float32Array:
    """Elevation (N,) of a lid's edge at azimuths (N,)."""
    points = (head[corners] * weights[..., None]).sum(1) - centre
    at, height = _angles(points)
    order = np.argsort(at)
    return np.asarray(np.interp(azimuth, at[order], height[order]), np.float32)


def _ramp(x: Float32Array) -> Float32Array:
    t = np.clip(x, 0.0, 1.0)
    return np.asarray(t * t * (3.0 - 2.0 * t), np.float32)
