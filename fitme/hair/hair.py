"""Hair of one person: the envelope's thickness and its texture.

As named arrays, for files, stores and pipes: `thickness_m` (R, C) float32, `albedo` (T, U, 3) and `coverage` (T, U, 1)
float16.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias

import cv2
import numpy as np
import numpy.typing as npt

from fitme.arrays import Float32Array, Float64Array, Int32Array
from fitme.geometry import unit_vectors
from fitme.hair.envelope import (
    COLUMNS,
    CYLINDER_ROWS,
    DOME_ROWS,
    closed,
    envelope_grid,
    envelope_triangles,
    envelope_uv,
)
from fitme.hair.flow import flow
from fitme.hair.strands import HairKind, hair_locks
from fitme.hair.texels import at_cells
from fitme.hair.texture import HairTexture
from fitme.shape.morphable_model import MorphableModel

HairArray: TypeAlias = npt.NDArray[np.float32] | npt.NDArray[np.float16]
ARRAY_NAMES = ("thickness_m", "albedo", "coverage")
THICKNESS_SHAPE = (CYLINDER_ROWS + DOME_ROWS, COLUMNS)
RELIEF_SHARE, LARGEST_RELIEF_M, CROWN_ROWS = 0.08, 0.0015, 4.0
"""Standard deviation of the locks' relief over the hair's thickness, its bound, and the rows from the crown over which
it rises."""


@dataclass(frozen=True)
class Hair:
    """Hair as it is stored, sent and drawn."""

    thickness_m: Float32Array
    """(R, C) metres above the skull; see `fitme.hair.envelope`."""
    texture: HairTexture
    """Albedo and coverage of the envelope."""

    def __post_init__(self) -> None:
        if self.thickness_m.shape != THICKNESS_SHAPE:
            raise ValueError(f"thickness must be {THICKNESS_SHAPE}, not {self.thickness_m.shape}")
        if self.texture.albedo.shape[:2] != self.texture.coverage.shape[:2]:
            raise ValueError("albedo and coverage must have the same number of texels")

    @property
    def bald(self) -> bool:
        """Whether there is hair nowhere."""
        return not bool(self.texture.coverage.any())


def hair_arrays(hair: Hair) -> dict[str, HairArray]:
    """Arrays of a hair by their names."""
    return {
        "thickness_m": hair.thickness_m.astype(np.float32),
        "albedo": hair.texture.albedo.astype(np.float16),
        "coverage": hair.texture.coverage.astype(np.float16),
    }


def hair_of_arrays(arrays: Mapping[str, HairArray]) -> Hair:
    """The hair of `hair_arrays`.

    :raises ValueError: if one is missing or of another shape.
    """
    if missing := [name for name in ARRAY_NAMES if name not in arrays]:
        raise ValueError(f"the hair lacks {', '.join(missing)}")
    thickness, albedo, coverage = (np.asarray(arrays[name], np.float32) for name in ARRAY_NAMES)
    if albedo.ndim != 3 or albedo.shape[2] != 3 or coverage.shape != (*albedo.shape[:2], 1):
        raise ValueError(f"albedo {albedo.shape} and coverage {coverage.shape} of the hair do not go together")
    return Hair(thickness, HairTexture(albedo, coverage))


def covered_triangles(texture: HairTexture, least: float) -> Int32Array:
    """(F, 3) triangles of the envelope on which the coverage reaches `least` somewhere."""
    triangles, uv = envelope_triangles(), envelope_uv()
    rows, columns = texture.coverage.shape[:2]
    step_rows, step_columns = rows / (THICKNESS_SHAPE[0] - 1), columns / COLUMNS
    # The largest coverage in a neighbourhood as wide as a cell, asked at the middle of each triangle.
    kernel = np.ones((int(np.ceil(step_rows)) + 2, int(np.ceil(step_columns)) + 2), np.uint8)
    largest = cv2.dilate(texture.coverage[..., 0], kernel)
    middle = uv[triangles].mean(1) * (columns, rows)
    row, column = np.minimum(middle[:, 1].astype(int), rows - 1), middle[:, 0].astype(int) % columns
    return np.ascontiguousarray(triangles[largest[row, column] >= least])


@dataclass(frozen=True)
class HairSurface:
    """Vertices of the envelope over one head, R rows of C + 1 columns, model frame."""

    vertices: Float32Array
    """(R (C + 1), 3) metres."""
    normals: Float32Array
    """(R (C + 1), 3) outward, unit."""
    strands: Float32Array
    """(R (C + 1), 3) unit direction of the strands, from the crown down."""


def lock_relief_m(thickness_m: Float32Array) -> Float64Array:
    """(R, C) metres by which locks stand out of an envelope of a thickness (R, C), and gaps between them lie deeper."""
    # All cells of the crown are one point.
    crown = np.minimum((len(thickness_m) - 1.0 - np.arange(len(thickness_m))) / CROWN_ROWS, 1.0)
    amplitude = np.minimum(RELIEF_SHARE * thickness_m, LARGEST_RELIEF_M) * crown[:, None]
    return np.asarray(amplitude * at_cells(hair_locks(HairKind.CROPPED).locks.relief), np.float64)


def hair_surface(hair: Hair, model: MorphableModel, neutral: Float32Array) -> HairSurface:
    """The envelope over a neutral head (V, 3). The scalp does not move with expressions, nor does the hair."""
    grid = envelope_grid(model, neutral)
    surface = grid.surface(hair.thickness_m + lock_relief_m(hair.thickness_m))
    along = flow(grid.directions)
    # Strands lie on the surface.
    normal = grid.normals(surface)
    along = unit_vectors(along - (along * normal).sum(-1, keepdims=True) * normal)
    vertices, normals, strands = (
        np.ascontiguousarray(closed(cells).reshape(-1, 3), np.float32) for cells in (surface, normal, along)
    )
    return HairSurface(vertices, normals, strands)
