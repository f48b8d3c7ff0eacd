"""Eyes: balls with a bulging cornea, in place of the model's eyeballs, with their texture coordinates."""

import numpy as np

from fitme.arrays import Float64Array, Int64Array
from fitme.parts.eye_map import MAP_DEG
from fitme.track.gaze import OUTWARD_AHEAD_RAD

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


def turned_outwards(vertices: Float64Array, centre: Float64Array) -> Float64Array:
    """Vertices (N, 3) of an eye turned outwards about the vertical through its centre (3,), as people's are."""
    angle = OUTWARD_AHEAD_RAD * np.sign(centre[0])
    turn = np.array([[np.cos(angle), 0.0, np.sin(angle)], [0.0, 1.0, 0.0], [-np.sin(angle), 0.0, np.cos(angle)]])
    return np.asarray(centre + (vertices - centre) @ turn.T)


def eye_uv(polar: Float64Array, directions: Float64Array) -> Float64Array:
    """Texture coordinates (N, 2) of an eye's map: the polar angle as distance from its middle, `MAP_DEG` at its edge.

    :param polar: (N,) radians.
    :param directions: (N, 3) from the ball's centre.
    """
    side = np.maximum(np.hypot(directions[:, 0], directions[:, 1]), 1e-12)
    radius = 0.5 * np.minimum(polar / np.deg2rad(MAP_DEG), 1.0)
    return np.asarray(0.5 + np.stack([directions[:, 0], -directions[:, 1]], 1) * (radius / side)[:, None])
