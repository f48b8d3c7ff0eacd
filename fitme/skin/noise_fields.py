"""Noise fields of hair strands and folds: drawn once at a base resolution, averaged down to the resolution of the
maps."""

from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.ndimage import gaussian_filter, map_coordinates

from fitme.arrays import Float32Array

BASE_RESOLUTION = 1024
"""Texels a side at which every field is drawn: coarser ones are its area means, so that strands fade and do not
alias."""
STRAND_FIELDS = 3
"""Fields of each kind, which heads mix."""
SCALP_REACH, BEARD_REACH = 6, 3
"""Base-two logarithm of the length of scalp and beard hairs, texels of the base."""
STRAND_WIDTH_TEXELS = 0.7
"""Standard deviation of a hair's profile across."""
STRAND_THRESHOLD, STRAND_SOFTNESS = 0.75, 0.7
"""Standard deviations of the smeared noise at which a hair begins, and over which its coverage rises to 1."""
_SEED = 21


@cache
def flowing_strands(reach: int, source_side: float, source_v: float) -> Float32Array:
    """White noise smeared along lines that leave a point (|u - 0.5|, v): (STRAND_FIELDS, BASE, BASE), unit variance.

    Line integral convolution (Cabral and Leedom, SIGGRAPH 1993) with a box filter of 2^`reach` texels, built by
    doubling.
    """
    generator = np.random.default_rng((_SEED, reach))
    centres = (np.arange(BASE_RESOLUTION, dtype=np.float32) + 0.5) / BASE_RESOLUTION
    u, v = np.meshgrid(centres, centres)
    side = np.abs(u - 0.5)
    flow = np.stack([v - source_v, np.maximum(side - source_side, 1e-4)])  # down the rows, away from the axis
    # A wave turns the directions to and fro, so that hair is not combed straight.
    wave = 0.25 * np.sin(23.0 * v + 9.0 * side)
    flow = np.stack([flow[0] - wave * flow[1], flow[1] + wave * flow[0]])
    flow = (flow / np.hypot(*flow)).astype(np.float32)
    flow[1] *= np.where(u < 0.5, -1.0, 1.0)
    rows, columns = np.mgrid[0:BASE_RESOLUTION, 0:BASE_RESOLUTION].astype(np.float32)
    fields = []
    for _ in range(STRAND_FIELDS):
        field = generator.standard_normal((BASE_RESOLUTION, BASE_RESOLUTION)).astype(np.float32)
        field = gaussian_filter(field, STRAND_WIDTH_TEXELS)
        # Each pass averages the field with itself, moved by twice the last distance along the flow.
        for power in range(reach):
            at = np.stack([rows + 2.0**power * flow[0], columns + 2.0**power * flow[1]])
            field = 0.5 * (field + map_coordinates(field, at, order=1, mode="wrap"))
        field = field - gaussian_filter(field, 12.0)
        fields.append(field / field.std())
    return np.asarray(np.stack(fields), np.float32)


@cache
def scalp_strands(resolution: int) -> Float32Array:
    """Noise (STRAND_FIELDS, R, R) of scalp hair, zero mean."""
    return at_resolution(flowing_strands(SCALP_REACH, 0.0, -0.35), resolution)


@cache
def beard_strands(resolution: int) -> Float32Array:
    """Coverage (STRAND_FIELDS, R, R) in [0, 1] by single short hairs that grow down the face."""
    return at_resolution(strand_coverage(flowing_strands(BEARD_REACH, 0.0, 0.25)), resolution)


@cache
def stubble(resolution: int) -> Float32Array:
    """Coverage (R, R) in [0, 1] by the cut ends of hairs."""
    noise = gaussian_filter(np.random.default_rng((_SEED, 0)).standard_normal((BASE_RESOLUTION,) * 2), 0.8)
    return np.asarray(at_resolution(strand_coverage(noise / noise.std())[None], resolution)[0], np.float32)


def strand_coverage(field: npt.NDArray[Any]) -> Float32Array:
    """Coverage in [0, 1] by hairs: a noise field of unit variance, thresholded softly."""
    return np.clip((field - STRAND_THRESHOLD) / STRAND_SOFTNESS, 0.0, 1.0).astype(np.float32)


def stretched_noise(x: npt.NDArray[Any], y: npt.NDArray[Any], fields: int, seed: int, wrap: int = 256) -> Float32Array:
    """Smooth noise (fields, H, W) of about unit variance at coordinates (H, W) in lattice cells; repeats
    after `wrap` cells along x."""
    generator = np.random.default_rng((_SEED, seed))
    cells = np.stack([np.mod(x, wrap), np.mod(y, 64)])
    out = []
    for _ in range(fields):
        lattice = generator.standard_normal((wrap, 64))
        out.append(map_coordinates(lattice, cells, order=3, mode="grid-wrap", prefilter=False) / 0.48)
    return np.asarray(np.stack(out), np.float32)


def at_resolution(fields: Float32Array, resolution: int) -> Float32Array:
    """Area means (N, R, R) of fields (N, BASE, BASE); linear interpolation where R does not divide the base."""
    if BASE_RESOLUTION % resolution == 0:
        step = BASE_RESOLUTION // resolution
        blocks = fields.reshape(len(fields), resolution, step, resolution, step)
        return np.asarray(blocks.mean((2, 4)), np.float32)
    scale = BASE_RESOLUTION / resolution
    smooth = gaussian_filter(fields, (0.0, 0.4 * scale, 0.4 * scale)) if scale > 1.0 else fields
    at = (np.arange(resolution) + 0.5) * scale - 0.5
    grid = np.meshgrid(at, at, indexing="ij")
    return np.asarray([map_coordinates(field, grid, order=1, mode="nearest") for field in smooth], np.float32)
