"""Source data of the rig: MakeHuman's base mesh with its groups, and TalkingHead's skeleton, weights, visemes for it.

All positions are in the axes of the model frame (+Y up, +Z front), metres. Files of TalkingHead (`blender/MPFB`, MIT,
weights CC0): `talkinghead.mpfbskel`, `talkinghead.mhw`, `talkinghead-targets.zip`.
"""

import json
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fitme.arrays import Float64Array, Int64Array
from fitme.errors import ModelFileError

DECIMETRE = 0.1
"""Unit of MakeHuman's targets, metres."""
SKELETON_FILE, WEIGHTS_FILE, TARGETS_FILE = "talkinghead.mpfbskel", "talkinghead.mhw", "talkinghead-targets.zip"
TARGETS_FOLDER = "final-talkinghead"
MERGED_BONES = ("Jaw", "Orbicularis", "Breast", "Buttock")
"""Bones that blendshapes replace, or that nothing moves: their weights go to their parents."""
BONES_WITHOUT_WEIGHTS = ("HeadTop_End", "Toe_End", "4")
"""Ends of the names of bones that only mark an end."""


Strategy = dict[str, Any]
"""How the skeleton file finds a point: `strategy` CUBE (middle of a group), MEAN or VERTEX, with an offset."""


@dataclass(frozen=True)
class Bone:
    """Bone of the skeleton file."""

    name: str
    parent: str
    """Empty for the root."""
    head: Strategy
    """Strategy by which its joint is found on a mesh: see `place`."""
    tail: Strategy
    """That of its end."""
    reference_z: tuple[float, float, float]
    """Direction, in the model's axes, to which its z axis is turned."""


@dataclass(frozen=True, eq=False)
class BaseMesh:
    """Topology of MakeHuman's base mesh."""

    groups: dict[str, Int64Array]
    """(Q, 4) quads of each group."""
    quad_uv: dict[tuple[int, ...], dict[int, tuple[float, float]]]
    """MakeHuman's texture coordinates, v down, of the vertices of every quad, by its sorted vertices."""


def read_base_mesh(path: Path) -> BaseMesh:
    """Groups and texture coordinates of the base mesh's `.obj` file."""
    groups: dict[str, list[list[int]]] = {}
    uv: list[tuple[float, float]] = []
    quad_uv: dict[tuple[int, ...], dict[int, tuple[float, float]]] = {}
    current: list[list[int]] = []
    for line in path.read_text().splitlines():
        if line.startswith("g "):
            current = groups.setdefault(line.split()[1], [])
        elif line.startswith("vt "):
            u, v = line.split()[1:3]
            uv.append((float(u), 1.0 - float(v)))
        elif line.startswith("f "):
            corners = [tuple(int(word) - 1 for word in corner.split("/")[:2]) for corner in line.split()[1:]]
            current.append([vertex for vertex, _ in corners])
            quad_uv[tuple(sorted(current[-1]))] = {vertex: uv[place] for vertex, place in corners}
    return BaseMesh({name: np.array(quads, np.int64) for name, quads in groups.items()}, quad_uv)


def read_bones(folder: Path) -> list[Bone]:
    """Bones of the skeleton, each after its parent, without `MERGED_BONES` and `BONES_WITHOUT_WEIGHTS`."""
    described = json.loads(_text(folder / SKELETON_FILE))["bones"]
    bones: list[Bone] = []
    waiting = [
        name
        for name in described
        if not any(part in name for part in MERGED_BONES) and not name.endswith(BONES_WITHOUT_WEIGHTS)
    ]
    while waiting:
        placed = {bone.name for bone in bones} | {""}
        ready = [name for name in waiting if described[name]["parent"] in placed]
        for name in ready:
            x, y, z = described[name]["roll_reference_z"]
            entry = described[name]
            bones.append(Bone(name, entry["parent"], entry["head"], entry["tail"], (x, z, -y)))
        waiting = [name for name in waiting if name not in ready]
    return bones


def place(strategy: Strategy, vertices: Float64Array, base: BaseMesh) -> Float64Array:
    """(3,) where a strategy of the skeleton file puts a joint on base mesh vertices (N, 3)."""
    if strategy["strategy"] == "CUBE":
        point = vertices[np.unique(base.groups[strategy["cube_name"]])].mean(0)
    elif strategy["strategy"] == "MEAN":
        point = vertices[strategy["vertex_indices"]].mean(0)
    else:
        point = vertices[strategy["vertex_index"]]
    x, y, z = strategy.get("offset", (0.0, 0.0, 0.0))
    return np.asarray(point + (x, z, -y))


def read_weights(folder: Path, bones: list[Bone], vertex_count: int) -> Float64Array:
    """(N, J) skinning weights of the base mesh, rows sum to one; those of merged bones go to the nearest bone above."""
    parents = {name: entry["parent"] for name, entry in json.loads(_text(folder / SKELETON_FILE))["bones"].items()}
    column = {bone.name: index for index, bone in enumerate(bones)}
    weights = np.zeros((vertex_count, len(bones)))
    for name, entries in json.loads(_text(folder / WEIGHTS_FILE))["weights"].items():
        kept = name
        while kept not in column:
            kept = parents[kept]
        for vertex, weight in entries:
            weights[vertex, column[kept]] += weight
    return np.asarray(weights / weights.sum(1, keepdims=True))


def read_target(folder: Path, name: str, vertex_count: int) -> Float64Array:
    """(N, 3) displacements of a blendshape at full activation."""
    with zipfile.ZipFile(folder / TARGETS_FILE) as archive:
        text = archive.read(f"{TARGETS_FOLDER}/{name}.target").decode()
    offsets = np.zeros((vertex_count, 3))
    for line in text.splitlines():
        words = line.split()
        if len(words) == 4 and words[0].isdigit():
            offsets[int(words[0])] = [float(word) for word in words[1:]]
    return offsets * DECIMETRE


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except OSError as error:
        raise ModelFileError(f"{path} cannot be read ({error})") from error
