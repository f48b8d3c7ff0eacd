"""Surface of an avatar for export: neutral vertices, and what each blendshape changes.

Blendshapes are ARKit's 52 and, for the mesh that the rig belongs to, Oculus' 15 visemes.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

from fitme.arrays import Float32Array
from fitme.avatar import Avatar
from fitme.parts.drawn_head import DrawnHead
from fitme.render.occlusion import OPENING_EXPRESSION
from fitme.render.tangents import vertex_tangents
from fitme.rig.rig import VISEME_NAMES, Rig
from fitme.shape.expressions import EXPRESSION_NAMES
from fitme.shape.morphable_model import MorphableModel
from fitme.shape.normals import vertex_normals
from fitme.shape.resting_lids import with_resting_lids

TONGUE_OUT_SHARE = 0.5
"""Weight of a tongue out of the mouth in the light of its vertices, which no blendshape changes."""


@dataclass(frozen=True)
class Surface:
    """The person's neutral head, or a part of it, and its B blendshapes."""

    positions: Float32Array
    """(V, 3) metres, model frame, which is glTF's."""
    normals: Float32Array
    """(V, 3)."""
    along_u: Float32Array
    """(T, 4) tangents of the texture vertices."""
    occlusion: Float32Array
    """(V,) share of the surroundings' light that arrives, [0, 1]."""
    position_offsets: Float32Array
    """(B, V, 3) displacement at full activation."""
    normal_offsets: Float32Array
    """(B, V, 3)."""


@dataclass(frozen=True)
class PosedHeads:
    """The model's vertices, neutral and with each blendshape."""

    names: tuple[str, ...]
    """Of the B blendshapes."""
    vertices: Float32Array
    """(1 + B, V, 3) metres."""


def posed_heads(avatar: Avatar, model: MorphableModel, rig: Rig | None) -> PosedHeads:
    """Heads of an avatar with each of its blendshapes; the neutral one has its lids at rest."""
    count = len(EXPRESSION_NAMES)
    with torch.no_grad():
        identity = avatar.identity[None].expand(count + 1, -1)
        expressions = with_resting_lids(torch.cat([torch.zeros(1, count), torch.eye(count)]), avatar.resting_lids)
        heads = model.vertices(identity, expressions).numpy()
    if rig is None:
        return PosedHeads(tuple(EXPRESSION_NAMES), heads)
    spoken = heads[:1] + rig.viseme_basis(model.vertex_count)
    return PosedHeads((*EXPRESSION_NAMES, *VISEME_NAMES), np.concatenate([heads, spoken]))


def head_surface(heads: PosedHeads, drawn: DrawnHead) -> Surface:
    """Surface of the drawn mesh."""
    return surface_of(
        *bound_vertices(heads, lambda head: drawn.posed(head)[0]),
        drawn.triangles, drawn.uv, drawn.uv_triangles, _light(heads, drawn),
    )  # fmt: skip


def _light(heads: PosedHeads, drawn: DrawnHead) -> Float32Array:
    """(V + N,) light that reaches the drawn mesh's vertices with an open mouth; of a tongue, between that in and out of
    it."""
    displacements = heads.vertices[1:] - heads.vertices[0]
    opened = heads.vertices[0] + sum(
        activation * displacements[heads.names.index(name)] for name, activation in OPENING_EXPRESSION.items()
    )
    out = heads.vertices[1 + heads.names.index("tongueOut")]
    inside, lit = (
        drawn.mouth.apply(drawn.occlusion, torch.from_numpy(drawn.bound(head).astype(np.float32))).numpy()
        for head in (opened, out)
    )
    return np.asarray(inside + TONGUE_OUT_SHARE * np.maximum(lit - inside, 0.0), np.float32)


def bound_vertices(
    heads: PosedHeads, bound: Callable[[Float32Array], Float32Array]
) -> tuple[torch.Tensor, torch.Tensor]:
    """Vertices (1, N, 3) that are bound to the head (V, 3), neutral, and (B, N, 3) of each blendshape."""
    vertices = torch.from_numpy(np.stack([bound(head) for head in heads.vertices]))
    return vertices[:1], vertices[1:]


def surface_of(
    neutral: torch.Tensor,  # (1, N, 3)
    active: torch.Tensor,  # (B, N, 3)
    triangles: torch.Tensor,  # (F, 3)
    uv: torch.Tensor,  # (T, 2)
    uv_triangles: torch.Tensor,  # (F, 3)
    occlusion: Float32Array,  # (N,)
) -> Surface:
    """Surface of a mesh with its blendshapes."""
    normals, active_normals = vertex_normals(neutral, triangles), vertex_normals(active, triangles)
    return Surface(
        neutral[0].numpy(),
        normals[0].numpy(),
        vertex_tangents(neutral, triangles, uv, uv_triangles)[0].numpy(),
        occlusion.clip(0.0, 1.0),
        (active - neutral).numpy(),
        (active_normals - normals).numpy(),
    )
