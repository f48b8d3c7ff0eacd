"""OBJ of the whole avatar: frame, materials, textures; the same surface as the GLB."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fitme.avatar import Avatar
from fitme.export.gltf.avatar import ExportOptions, glb_bytes
from fitme.export.obj_scene import write_obj_scene
from fitme.shape.morphable_model import MorphableModel
from tests.export.glb_reader import Reader


def read(path: Path) -> tuple[np.ndarray, list[tuple[str, list[list[list[str]]]]]]:
    """Vertices (N, 3), and material and faces of each group of faces."""
    vertices, groups = [], []
    for line in path.read_text().splitlines():
        word, *rest = line.split()
        if word == "v":
            vertices.append([float(value) for value in rest])
        elif word == "usemtl":
            groups.append((rest[0], []))
        elif word == "f":
            groups[-1][1].append([corner.split("/") for corner in rest])
    return np.array(vertices), groups


def test_obj_is_upright_centred_and_faces_z(tmp_path: Path, avatar: Avatar, model: MorphableModel):
    paths = write_obj_scene(glb_bytes(avatar, model), tmp_path / "me.obj")
    assert all(path.is_file() for path in paths)
    vertices, groups = read(tmp_path / "me.obj")
    low, high = vertices.min(0), vertices.max(0)
    assert abs(low[0] + high[0]) < 0.01, "centred"
    assert 0.3 < high[1] - low[1] < 0.6 and low[1] < -0.2 < 0.05 < high[1]
    eyes = np.concatenate(
        [vertices[[int(c[0]) - 1 for face in faces for c in face]] for name, faces in groups if name.endswith("Eye")]
    )
    assert np.abs(eyes.mean(0)[:2]).max() < 0.002, "the origin lies between the eyes"
    assert eyes[:, 2].max() > 0.0 and high[2] < 0.1 and low[2] < -0.1, "the face looks along +Z"
    materials = (tmp_path / "me.mtl").read_text()
    for name, faces in groups:
        assert f"newmtl {name}\n" in materials
        numbers = np.array([[int(corner[0]) for corner in face] for face in faces])
        assert numbers.min() >= 1 and numbers.max() <= len(vertices)
    for line in materials.splitlines():
        if line.startswith(("map_Kd", "norm")):
            assert Image.open(tmp_path / line.split()[-1]).width >= 16


def test_obj_has_the_glb_s_triangles(tmp_path: Path, avatar: Avatar, model: MorphableModel):
    glb = glb_bytes(avatar, model, ExportOptions(body=True))
    write_obj_scene(glb, tmp_path / "me.obj")
    vertices, groups = read(tmp_path / "me.obj")
    reader = Reader(glb)
    expected = [
        reader.triangles({"primitives": [p], "extras": {"targetNames": []}}, {})
        for mesh in reader.document["meshes"]
        for p in mesh["primitives"]
    ]
    for (_, faces), corners in zip(groups, expected, strict=True):
        found = vertices[np.array([[int(corner[0]) - 1 for corner in face] for face in faces])]
        assert np.abs(found - corners).max() < 2e-6
    assert vertices[:, 1].min() == pytest.approx(0.0, abs=1e-5)
