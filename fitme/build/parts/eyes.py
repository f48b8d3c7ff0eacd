"""Eyes: balls with a bulging cornea, in place of the model's eyeballs, with their texture coordinates."""

import numpy as np

from fitme.arrays import Float64Array, Int64Array
from fitme.shape.morphable_model import MorphableModel

SEGMENTS = 32
POLAR_ANGLES_DEG = (
    3.0, 6.0, 9.0, 12.0, 15.0, 17.5, 19.5, 21.0, 22.5, 24.0, 26.0, 29.0, 33.0, 38.0, 44.0, 51.0, 59.0, 68.0, 78.0, 90.0,
    104.0,
)  # fmt: skip
"""Of the rings, from the pole of the cornea to behind the lids; dense at the limbus."""
LIMBUS_DEG = 22.0
"""Polar angle up to which the cornea bulges; the painted iris ends at 21 degrees."""
CORNEA_RADIUS = 0.65
"""Over the ball's. People's is 7.8 mm of 12 mm."""
SULCUS_DEG = 2.0
"""Width of the groove in which the cornea turns into the sclera."""
MAGNIFICATION_RAD = 0.9
"""As in `fitme.build.shape.uv_layout`: distance from the pole in the layout is 1 - exp(-angle / this)."""


def eyeball(centre: Float64Array, radius: float) -> tuple[Float64Array, Int64Array, Float64Array]:
    """Vertices (N, 3), triangles (F, 3) and polar angles (N,) in radians of an eye that looks along +Z."""
    angles = np.deg2rad(np.array(POLAR_ANGLES_DEG))
    turns = 2.0 * np.pi * np.arange(SEGMENTS) / SEGMENTS
    polar = np.concatenate([[0.0], np.repeat(angles, SEGMENTS)])
    azimuth = np.concatenate([[0.0], np.tile(turns, len(angles))])
    distance = radius * _profile(polar)
    vertices = centre + distance[:, None] * np.stack(
        [np.sin(polar) * np.cos(azimuth), np.sin(polar) * np.sin(azimuth), np.cos(polar)], 1
    )
    first = 1 + np.arange(SEGMENTS)
    following = 1 + (np.arange(SEGMENTS) + 1) % SEGMENTS
    triangles = [np.stack([np.zeros(SEGMENTS, int), first, following], 1)]
    for ring in range(len(angles) - 1):
        inner, outer = ring * SEGMENTS, (ring + 1) * SEGMENTS
        triangles.append(np.stack([first + inner, first + outer, following + outer], 1))
        triangles.append(np.stack([first + inner, following + outer, following + inner], 1))
    return vertices, np.concatenate(triangles), polar


def _profile(polar: Float64Array) -> Float64Array:
    """Distance of the surface from the ball's centre, over its radius, at polar angles."""
    limbus = np.deg2rad(LIMBUS_DEG)
    middle = np.cos(limbus) - np.sqrt(CORNEA_RADIUS**2 - np.sin(limbus) ** 2)
    cornea = middle * np.cos(polar) + np.sqrt(np.maximum(CORNEA_RADIUS**2 - (middle * np.sin(polar)) ** 2, 0.0))
    # A soft maximum of both spheres: the groove between them is as wide as in people.
    width = np.deg2rad(SULCUS_DEG) * (CORNEA_RADIUS - 0.5)
    return np.asarray(np.where(polar < 2.0 * limbus, width * np.logaddexp(cornea / width, 1.0 / width), 1.0))


def eye_uv(model: MorphableModel, ball: Int64Array, directions: Float64Array) -> Float64Array:
    """Texture coordinates (N, 2) in the model's layout of points in directions (N, 3) from an eyeball's centre.

    :param ball: vertices of the model's eyeball.
    """
    corners = np.isin(model.triangles.numpy(), ball)
    mine = corners.all(1)
    vertices, places = model.triangles.numpy()[mine].ravel(), model.uv.numpy()[model.uv_triangles.numpy()[mine].ravel()]
    offsets = model.mean.double().numpy()[vertices] - model.mean.double().numpy()[ball].mean(0)
    # The layout is (pole + scale * magnified * direction across): solved for pole and scale.
    flat = _across(offsets)
    design = np.zeros((2 * len(flat), 3))
    design[::2, 0], design[1::2, 1] = 1.0, 1.0
    design[::2, 2], design[1::2, 2] = flat[:, 0], -flat[:, 1]
    pole_u, pole_v, scale = np.linalg.lstsq(design, places.astype(float).ravel(), rcond=None)[0]
    across = _across(directions)
    return np.stack([pole_u + scale * across[:, 0], pole_v - scale * across[:, 1]], 1)


def _across(directions: Float64Array) -> Float64Array:
    """(N, 2) directions in the frontal plane, as long as the layout's magnified polar angle."""
    side = np.hypot(directions[:, 0], directions[:, 1])
    radius = 1.0 - np.exp(-np.arctan2(side, directions[:, 2]) / MAGNIFICATION_RAD)
    return np.asarray(directions[:, :2] * (radius / np.maximum(side, 1e-12))[:, None])
