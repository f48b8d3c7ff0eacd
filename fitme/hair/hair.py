"""Hair of one person: the envelope's thickness and its texture."""

from dataclasses import dataclass

import numpy as np

from fitme.arrays import Float32Array
from fitme.hair.envelope import COLUMNS, CYLINDER_ROWS, DOME_ROWS, closed, envelope_grid
from fitme.hair.texture import HairTexture
from fitme.shape.morphable_model import MorphableModel

THICKNESS_SHAPE = (CYLINDER_ROWS + DOME_ROWS, COLUMNS)


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


@dataclass(frozen=True)
class HairSurface:
    """Vertices of the envelope over one head, R rows of C + 1 columns, model frame."""

    vertices: Float32Array
    """(R (C + 1), 3) metres."""
    normals: Float32Array
    """(R (C + 1), 3) outward, unit."""
    strands: Float32Array
    """(R (C + 1), 3) unit direction of the strands, from the crown down."""


def hair_surface(hair: Hair, model: MorphableModel, neutral: Float32Array) -> HairSurface:
    """The envelope over a neutral head (V, 3). The scalp does not move with expressions, nor does the hair."""
    grid = envelope_grid(model, neutral)
    surface = grid.surface(hair.thickness_m.astype(np.float64))
    downward = -np.gradient(surface, axis=0)
    downward /= np.maximum(np.linalg.norm(downward, axis=-1, keepdims=True), 1e-9)
    vertices, normals, strands = (
        np.ascontiguousarray(closed(cells).reshape(-1, 3), np.float32)
        for cells in (surface, grid.normals(surface), downward)
    )
    return HairSurface(vertices, normals, strands)
