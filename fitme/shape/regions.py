"""Regions of the head, of triangles and of texels."""

from enum import IntEnum


class Region(IntEnum):
    """Region of a triangle; `MorphableModel.triangle_region` holds its value per triangle."""

    SKIN = 0
    LIPS = 1
    EYES = 2
    """Eyeballs."""
    MOUTH_INTERIOR = 3
    """Inside of the cheeks, gums and tongue."""
    TEETH = 4
    EARS = 5
    SCALP = 6
    NECK = 7
    LASHES = 8
    """Only in user-supplied models; the default model has none."""
