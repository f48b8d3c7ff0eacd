"""Reader of MakeHuman's assets: a mesh (`.obj`) and its binding to the base mesh hm08 (`.mhclo`)."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fitme.arrays import Float64Array, Int64Array
from fitme.build.shape.source_mesh import LASH_VERTICES, SourceHead
from fitme.errors import ModelFileError

_AXES = ("x_scale", "y_scale", "z_scale")
_BOUND_COLUMNS = 9
"""Columns of a vertex that is bound to three of the base mesh: their indices, weights and an offset."""


@dataclass(frozen=True)
class Asset:
    """Triangle mesh of an asset."""

    triangles: Int64Array
    """(F, 3) vertices."""
    uv: Float64Array
    """(T, 2) in [0, 1], (0, 0) top-left, v down."""
    uv_triangles: Int64Array
    """(F, 3) indices into `uv`."""


def read_mesh(path: Path) -> Asset:
    """Mesh of an `.obj` file, its polygons as fans of triangles. ModelFileError if there is none."""
    uv: list[list[float]] = []
    corners: list[list[list[int]]] = []
    for words in _lines(path):
        if words[0] == "vt":
            uv.append([float(words[1]), 1.0 - float(words[2])])
        elif words[0] == "f":
            polygon = [[int(index) - 1 for index in word.split("/")[:2]] for word in words[1:]]
            corners += [[polygon[0], polygon[k], polygon[k + 1]] for k in range(1, len(polygon) - 1)]
    if not corners:
        raise ModelFileError(f"{path} holds no faces with texture coordinates")
    both = np.array(corners, np.int64)
    return Asset(both[..., 0], np.array(uv), both[..., 1])


def bound_vertices(path: Path, source: SourceHead) -> Float64Array:
    """Vertices (N, 3) of the asset of an `.mhclo` file on the template of the source head, metres.

    :raises ModelFileError: if it is bound to vertices that the source head lacks.
    """
    place = dict(zip(source.base_vertex.tolist(), source.template, strict=True))
    place |= dict(zip(range(LASH_VERTICES.start, LASH_VERTICES.stop), source.lashes, strict=True))
    scale = np.ones(3)
    vertices = []
    begun = False
    try:
        for words in _lines(path):
            if words[0] in _AXES and not begun and all(int(word) in place for word in words[1:3]):
                axis = _AXES.index(words[0])
                ends = [place[int(word)][axis] for word in words[1:3]]
                scale[axis] = abs(ends[0] - ends[1]) / float(words[3])
            elif begun and len(words) == _BOUND_COLUMNS:
                weights, offset = np.array(words[3:6], float), np.array(words[6:9], float)
                vertices.append(weights @ np.array([place[int(word)] for word in words[:3]]) + offset * scale)
            elif begun and len(words) == 1 and words[0].isdigit():
                vertices.append(place[int(words[0])])
            begun = begun or words[0] == "verts"
    except KeyError as error:
        raise ModelFileError(f"{path} is bound to vertex {error} of the base mesh, which is not of the head") from error
    return np.array(vertices)


def connected_parts(vertex_count: int, triangles: Int64Array) -> Int64Array:
    """(V,) number of the connected part of the mesh to which each vertex belongs."""
    label = np.arange(vertex_count)
    while True:
        # Every vertex takes the lowest label of its triangles, until nothing changes.
        lowest = label.copy()
        np.minimum.at(lowest, triangles.ravel(), np.repeat(label[triangles].min(1), 3))
        if np.array_equal(lowest, label):
            break
        label = lowest
    return np.asarray(np.unique(label, return_inverse=True)[1], np.int64)


def _lines(path: Path) -> list[list[str]]:
    try:
        text = path.read_text()
    except OSError as error:
        raise ModelFileError(f"{path} cannot be read ({error})") from error
    return [words for line in text.splitlines() if (words := line.split()) and not words[0].startswith("#")]
