"""Hair meshes bound to a base mesh become thickness and coverage of the envelope."""

from pathlib import Path

import numpy as np
import pytest

from fitme.build.hair_styles import hair_styles
from fitme.errors import InputError
from fitme.hair.envelope import CENTER_M

RADIUS, HAIR_ABOVE = 0.8, 0.15
"""Decimetres: of the skull, and of the hair above it."""
RINGS, SECTORS = 24, 48


def sphere() -> tuple[np.ndarray, list[list[int]]]:
    """Unit vectors and quads of a sphere."""
    polar, around = np.meshgrid(np.linspace(0.01, np.pi - 0.01, RINGS), np.arange(SECTORS) * 2 * np.pi / SECTORS)
    ring = np.stack([np.sin(polar) * np.sin(around), np.cos(polar), np.sin(polar) * np.cos(around)], -1)
    index = np.arange(RINGS * SECTORS).reshape(SECTORS, RINGS)
    after = np.roll(index, -1, 0)
    quads = np.stack([index[:, :-1], index[:, 1:], after[:, 1:], after[:, :-1]], -1).reshape(-1, 4)
    return ring.reshape(-1, 3), quads.tolist()


@pytest.fixture
def meshes(tmp_path: Path) -> tuple[Path, Path]:
    """A spherical head with two eyes, and a cap of hair on its upper half, each vertex bound to one of the head's."""
    directions, quads = sphere()
    head = directions * RADIUS + np.array(CENTER_M) * 10.0
    lines = [f"v {x} {y} {z}" for x, y, z in head]
    lines += ["v 0.3 0 0", "v -0.3 0 0", "g body"]
    lines += ["f " + " ".join(str(corner + 1) for corner in quad) for quad in quads]
    for name, vertex in (("helper-l-eye", len(head) + 1), ("helper-r-eye", len(head) + 2)):
        lines += [f"g {name}", f"f {vertex} {vertex} {vertex}"]
    base = tmp_path / "base.obj"
    base.write_text("\n".join(lines), "utf-8")
    rows = [f"{i} {i} {i} 1 0 0 " + " ".join(str(part * HAIR_ABOVE) for part in d) for i, d in enumerate(directions)]
    (tmp_path / "cap.mhclo").write_text("\n".join(["basemesh hm08", "verts 0", *rows]), "utf-8")
    upper = [quad for quad in quads if directions[quad][:, 1].min() > 0.0]
    faces = ["f " + " ".join(str(corner + 1) for corner in quad) for quad in upper]
    (tmp_path / "cap.obj").write_text("\n".join(["v 0 0 0", *faces]), "utf-8")
    return tmp_path, base


def test_a_cap_of_hair_has_its_thickness(meshes: tuple[Path, Path]) -> None:
    names, thickness, coverage = hair_styles(*meshes)
    assert names == ["cap"]
    dome = thickness[0, -16:-3]
    np.testing.assert_allclose(dome, HAIR_ABOVE * 0.1, rtol=0.05)
    assert coverage[0, -16:-3].all()
    assert not coverage[0, :20].any(), "below the cap there is no hair"


def test_a_folder_without_hair_and_a_foreign_binding_are_refused(meshes: tuple[Path, Path], tmp_path: Path) -> None:
    folder, base = meshes
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(InputError, match="no hair meshes"):
        hair_styles(empty, base)
    (folder / "cap.mhclo").write_text("verts 0\n99999 99999 99999 1 0 0 0 0 0\n", "utf-8")
    with pytest.raises(InputError, match="binding"):
        hair_styles(folder, base)
