"""Names for the parts of the head that a texel or a triangle can belong to."""

from enum import IntEnum


class Region(IntEnum):
    """What a triangle of the model is made of; stored per triangle in `MorphableModel.triangle_region`."""

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
    """Only in models that a user brings; the default model has none."""
