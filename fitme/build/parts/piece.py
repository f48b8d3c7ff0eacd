"""Part under construction, and the file that parts are written to."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from fitme.arrays import BoolArray, Float64Array, Int64Array, UInt8Array
from fitme.build.parts.rows import AffineFrame
from fitme.parts.binding import dense_binding
from fitme.parts.head_parts import FORMAT_VERSION, Material, Texture


@dataclass(frozen=True, eq=False)
class Piece:
    """One part with its vertices' places on the mean head."""

    name: str
    material: Material
    texture: Texture
    behind_lips: bool
    vertices: Float64Array
    """(N, 3) on the neutral mean head, metres."""
    triangles: Int64Array
    """(F, 3)."""
    uv: Float64Array
    """(T, 2)."""
    uv_triangles: Int64Array
    """(F, 3) into `uv`."""
    matrix: Float64Array
    """(N, V + A) weights of the head's vertices and of all anchors."""
    offset: Float64Array
    """(N, 3) metres."""
    occlusion: Float64Array
    """(N,)."""


def write_parts(
    path: Path,
    head_vertices: int,
    hidden: BoolArray,
    frames: Sequence[AffineFrame],
    pieces: Sequence[Piece],
    textures: dict[str, UInt8Array],
) -> None:
    """Write parts in the layout of `fitme.parts.head_parts`.

    :param frames: four anchors each, in the order of the columns after the head's in the pieces' matrices.
    """
    anchors = np.zeros((4 * len(frames), head_vertices))
    for index, frame in enumerate(frames):
        anchors[4 * index : 4 * index + 4, frame.vertices] = frame.weights
    arrays: dict[str, npt.ArrayLike] = {
        "format": FORMAT_VERSION,
        "head_vertices": head_vertices,
        "hidden": hidden,
        "names": [piece.name for piece in pieces],
    }
    arrays |= _binding_arrays("anchors", anchors, np.zeros((len(anchors), 3)))
    for piece in pieces:
        arrays |= {
            f"{piece.name}.material": piece.material.value,
            f"{piece.name}.texture": piece.texture.value,
            f"{piece.name}.behind_lips": piece.behind_lips,
            f"{piece.name}.triangles": piece.triangles.astype(np.uint16),
            f"{piece.name}.uv_triangles": piece.uv_triangles.astype(np.uint16),
            f"{piece.name}.uv": piece.uv.astype(np.float32),
            f"{piece.name}.occlusion": piece.occlusion.astype(np.float16),
        }
        arrays |= _binding_arrays(piece.name, piece.matrix, piece.offset)
    for name, texture in textures.items():
        arrays[f"{name}.texture"] = texture
    np.savez_compressed(path, **arrays)


def _binding_arrays(name: str, matrix: Float64Array, offset: Float64Array) -> dict[str, npt.ArrayLike]:
    binding = dense_binding(matrix, offset)
    return {f"{name}.{key}": value for key, value in vars(binding).items()}
