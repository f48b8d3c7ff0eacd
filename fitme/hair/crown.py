"""Smoothing of the hair's crown, where the columns of the envelope meet.

Seen from the front, the outline is a ridge across the head: it alone would pull the crown up to a roof. On a plane
round the crown, whose axes have no pole, the thickness is blurred.
"""

from functools import lru_cache

import cv2
import numpy as np

from fitme.arrays import Float32Array, Float64Array
from fitme.hair.envelope import COLUMNS, CYLINDER_ROWS, DOME_ROWS, closed

PLANE_PX = 65
"""Pixels of a side of the plane."""
CROWN_ROWS = 14
"""Rows of cells from the crown that it holds."""
SIGMA_ROWS = 2.5
"""Standard deviation of the filter, rows: some 15 mm."""
FULL_ROWS, LAST_ROWS = 4.0, 10.0
"""Distances from the crown up to which the thickness is that of the plane, and from which it is not."""


def rounded_crown(thickness_m: Float64Array) -> Float64Array:
    """Thickness (R, C), smooth across the crown."""
    row, column = _cells_of_plane()
    plane = cv2.remap(closed(thickness_m).astype(np.float32), column, row, cv2.INTER_LINEAR)
    smooth = cv2.GaussianBlur(plane, (0, 0), SIGMA_ROWS * _px_per_row(), borderType=cv2.BORDER_REPLICATE)
    # Back at the cells.
    distance = (len(thickness_m) - 1.0 - np.arange(len(thickness_m)))[:, None]
    azimuth = np.arange(COLUMNS) / COLUMNS * 2.0 * np.pi
    middle = (PLANE_PX - 1) / 2.0
    x, y = (
        np.asarray(middle + _px_per_row() * distance * part, np.float32) for part in (np.sin(azimuth), np.cos(azimuth))
    )
    found = cv2.remap(smooth, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    share = np.clip((LAST_ROWS - distance) / (LAST_ROWS - FULL_ROWS), 0.0, 1.0)
    return np.asarray(thickness_m + share * (found - thickness_m))


def _px_per_row() -> float:
    return (PLANE_PX - 1) / 2.0 / CROWN_ROWS


@lru_cache(maxsize=1)
def _cells_of_plane() -> tuple[Float32Array, Float32Array]:
    """Row and column (`PLANE_PX`, `PLANE_PX`) of the cells at the plane's pixels."""
    side = (np.arange(PLANE_PX) - (PLANE_PX - 1) / 2.0) / _px_per_row()
    x, y = np.meshgrid(side, side)
    row = CYLINDER_ROWS + DOME_ROWS - 1.0 - np.hypot(x, y)
    column = np.arctan2(x, y) % (2.0 * np.pi) / (2.0 * np.pi) * COLUMNS
    return np.asarray(row, np.float32), np.asarray(column, np.float32)
