"""Glasses made by hand, for tests that need some."""

import numpy as np

from fitme.glasses.glasses import BRIDGE_POINTS, RIM_POINTS, TEMPLE_POINTS, Glasses


def made_glasses(lens_opacity: float = 0.0) -> Glasses:
    """Round glasses before the eyes of the mean head, darker towards the right temple."""
    angle = np.linspace(0.0, 2.0 * np.pi, RIM_POINTS, endpoint=False)
    rims = [
        np.stack([side * 0.032 + 0.02 * np.cos(angle), 0.02 * np.sin(angle), np.full(RIM_POINTS, 0.028)], 1)
        for side in (1.0, -1.0)
    ]
    bridge = np.zeros((BRIDGE_POINTS, 3)) + (0.0, 0.0, 0.03)
    bridge[:, 0] = np.linspace(0.012, -0.012, BRIDGE_POINTS)
    temples = [np.zeros((TEMPLE_POINTS, 3)) + (side * 0.08, 0.0, 0.0) for side in (1.0, -1.0)]
    for temple in temples:
        temple[:, 2] = np.linspace(0.02, -0.08, TEMPLE_POINTS)
    points = np.concatenate([*rims, bridge, *temples]).astype(np.float32)
    albedo = np.repeat(np.linspace(0.3, 0.01, len(points))[:, None], 3, axis=1).astype(np.float32)
    width = np.full(len(points), 0.0015, np.float32)
    return Glasses(points, width, albedo, np.array([lens_opacity], np.float32))
