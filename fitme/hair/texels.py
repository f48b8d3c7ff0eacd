"""Texels of the envelope: where they lie on its cells and in images, and filters that are closed round the head."""

from typing import TypeVar

import cv2
import numpy as np

from fitme.arrays import Float32Array, Float64Array, RealArray, UInt8Array
from fitme.hair.envelope import COLUMNS, CYLINDER_ROWS, DOME_ROWS, closed

TEXTURE_ROWS, TEXTURE_COLUMNS = 384, 768
"""Texels of the envelope: some 0.8 mm each."""
CELL_BLUR_TEXELS = 5.3
"""Standard deviation of the filter before texels are taken to cells, which are 8 texels wide: corners would show."""
WRAP_TEXELS = 16
"""Columns that are repeated across the seam at the back before a texture is filtered."""

Pixels = TypeVar("Pixels", Float32Array, UInt8Array)


def at_texels(cells: Float64Array) -> Float32Array:
    """(T, U, ...) values at the texels' centres of values (R, C, ...) at the cells."""
    rows = len(cells)
    down = (1.0 - (np.arange(TEXTURE_ROWS) + 0.5) / TEXTURE_ROWS) * (rows - 1)
    across = (np.arange(TEXTURE_COLUMNS) + 0.5) / TEXTURE_COLUMNS * COLUMNS
    x, y = np.meshgrid(across.astype(np.float32), down.astype(np.float32))
    return np.asarray(cv2.remap(closed(cells).astype(np.float32), x, y, cv2.INTER_LINEAR), np.float32)


def at_cells(texels: Float32Array) -> Float32Array:
    """(R, C) values at the cells of texels (T, U), averaged over as much as a cell is wide."""
    rows = CYLINDER_ROWS + DOME_ROWS
    smooth = blurred(texels, CELL_BLUR_TEXELS)
    down = (1.0 - np.arange(rows) / (rows - 1)) * TEXTURE_ROWS - 0.5
    across = np.arange(COLUMNS) / COLUMNS * TEXTURE_COLUMNS - 0.5
    x, y = np.meshgrid(across.astype(np.float32), np.clip(down, 0.0, TEXTURE_ROWS - 1.0).astype(np.float32))
    return np.asarray(cv2.remap(smooth, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE), np.float32)


def sampled(image: Pixels, pixels: RealArray) -> Pixels:
    """Bilinear samples (...) of an image (H, W, ...) at pixels (..., 2), whose centres lie at halves; 0 outside."""
    x, y = (np.ascontiguousarray(pixels[..., axis], np.float32) - np.float32(0.5) for axis in range(2))
    return np.asarray(cv2.remap(image, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT), image.dtype)


def blurred(texels: Float32Array, sigma: float) -> Float32Array:
    """Texels (T, U, ...) under a Gaussian filter of a standard deviation in texels, at most `WRAP_TEXELS` / 3."""
    padded = cv2.copyMakeBorder(texels, 0, 0, WRAP_TEXELS, WRAP_TEXELS, cv2.BORDER_WRAP)
    return np.asarray(cv2.GaussianBlur(padded, (0, 0), sigma)[:, WRAP_TEXELS:-WRAP_TEXELS], np.float32)


def wide_mean(texels: Float32Array, step: int) -> Float32Array:
    """Texels (T, U, ...) averaged over some `step` texels to each side."""
    height, width = texels.shape[:2]
    small = cv2.resize(texels, (width // step, height // step), interpolation=cv2.INTER_AREA)
    border = 4
    padded = cv2.copyMakeBorder(small, 0, 0, border, border, cv2.BORDER_WRAP)
    smooth = cv2.GaussianBlur(padded, (0, 0), 1.0)
    wide = cv2.resize(smooth, (padded.shape[1] * step, height), interpolation=cv2.INTER_LINEAR)
    return np.asarray(wide[:, border * step : border * step + width], np.float32)
