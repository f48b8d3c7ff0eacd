"""Flow of hair over the head: the direction in which strands lie, from the whorl on, and down where hair hangs."""

import numpy as np

from fitme.arrays import Float64Array
from fitme.geometry import unit_vectors

WHORL_DEG = 30.0
"""Angle between the whorl and the top of the head, towards the back."""
SWIRL_RAD, SWIRL_WIDTH_RAD = 1.1, 0.5
"""Angle by which strands turn sideways at the whorl, and the distance on the head over which they turn back."""
WANDER_RAD, WANDER_WAVES = 0.3, ((3.1, 5.3, 4.1), (-6.7, 4.9, 7.3), (9.7, -8.3, 5.9), (5.1, 11.9, -9.1))
"""Angle by which strands wander to both sides, and wave vectors of their way over a head of unit radius: partings and
cowlicks are some 3 to 8 cm apart."""
HANGING_LIFT = 1.0
"""Weight of straight down against the way from the whorl, in hair that hangs."""


def flow(normals: Float64Array, hanging: float = 0.0) -> Float64Array:
    """Unit directions (..., 3) of the strands at points of the head with outward normals (..., 3), model frame.

    :param hanging: share in [0, 1] to which hair follows gravity rather than the whorl: 0 for cropped hair.
    """
    whorl = np.array([0.0, np.cos(np.radians(WHORL_DEG)), -np.sin(np.radians(WHORL_DEG))])
    cosine = normals @ whorl
    away = unit_vectors(cosine[..., None] * normals - whorl)
    down = normals * normals[..., 1:2] - np.array([0.0, 1.0, 0.0])
    along = unit_vectors(away + HANGING_LIFT * hanging * down)
    distance = np.arccos(np.clip(cosine, -1.0, 1.0))
    turn = (1.0 - 0.7 * hanging) * (SWIRL_RAD * np.exp(-distance / SWIRL_WIDTH_RAD) + WANDER_RAD * _wander(normals))
    aside = np.cross(normals, along)
    return np.asarray(np.cos(turn)[..., None] * along + np.sin(turn)[..., None] * aside)


def _wander(normals: Float64Array) -> Float64Array:
    """(...) smooth variation of about unit amplitude over normals (..., 3)."""
    waves = np.array(WANDER_WAVES)
    return np.asarray(np.sin(normals @ waves.T + np.arange(len(waves))).sum(-1) / np.sqrt(0.5 * len(waves)) * 0.7)
