"""Pieces of the body: skin of neck and hands from MakeHuman's body, clothes from its tights helper."""

from dataclasses import dataclass

import numpy as np
import torch
from scipy.sparse import coo_matrix, csr_matrix, diags, vstack
from scipy.sparse.linalg import splu

from fitme.arrays import Float64Array, Int64Array
from fitme.build.parts.occlusion import part_visibility
from fitme.build.rig.source import BaseMesh
from fitme.rig.body import Piece
from fitme.shape.normals import vertex_normals

FADE_M = 0.06
"""Distance below the neck's edge over which the shape of a person's neck fades into that of the body."""
LEAST_FOLLOWING = 0.004
"""Vertices that follow less than this stay."""
COLLAR_CENTRE_M, COLLAR_RADIUS_M = (0.0, -0.012, 0.02), 0.086
"""Sphere that the collar leaves open: its centre against the middle of the neck's edge."""
COLLAR_TOP_M = 0.045
"""Height above that centre at which the tights end: they reach up to the chin."""
SKIN_RADIUS_M = 0.17
"""Radius about the same centre up to which there is skin: under the collar."""
WAIST_M, HEM_M = 0.05, -0.03
"""Heights of the trousers' and of the top's edge above the joint of the hips."""
SHOES_M, TROUSERS_M = 0.1, 0.075
"""Heights of the shoes' and of the trousers' edge above the ground."""
CUFF_M = 0.02
"""Length by which sleeves end before the wrist."""
SKIN_UNDER_CUFF_M = 0.05
"""Length of skin under the cuff."""
THICKNESS_M = {Piece.TOP: 0.006, Piece.TROUSERS: 0.004, Piece.SHOES: 0.002}
"""Distance of clothes from MakeHuman's tights."""
RIM_DEPTH_M = 0.006
"""Depth to which the edges of clothes turn inwards."""


@dataclass(frozen=True, eq=False)
class Cut:
    """Piece of the base mesh."""

    piece: Piece
    rows: csr_matrix
    """(N, B) each vertex as a mean of the base mesh's vertices."""
    triangles: Int64Array
    """(F, 3)."""
    pushed: Float64Array
    """(N,) metres along the normals of the base mesh."""


def cut_body(
    rest: Float64Array,  # (B, 3) base mesh in T-pose
    joints: dict[str, Float64Array],
    base: BaseMesh,
    head_quads: Int64Array,
    loop: Int64Array,
) -> list[Cut]:
    """Divide body and tights into pieces.

    :param head_quads: (Q, 4) of the base mesh, which the head covers.
    :param loop: (L,) vertices of the base mesh at the neck's edge.
    """
    covered = {tuple(sorted(quad)) for quad in head_quads.tolist()}
    body = np.array([quad for quad in base.groups["body"].tolist() if tuple(sorted(quad)) not in covered])
    centre = rest[loop].mean(0) + COLLAR_CENTRE_M
    wrist, hips = abs(joints["LeftHand"][0]), joints["Hips"][1]
    ground = rest[np.unique(base.groups["body"]), 1].min()
    from_neck, lateral, height = np.linalg.norm(rest - centre, axis=1), np.abs(rest[:, 0]), rest[:, 1]
    worn = [wrist - CUFF_M - lateral, from_neck - COLLAR_RADIUS_M, centre[1] + COLLAR_TOP_M - height]
    tights = base.groups["helper-tights"]
    skin = body[(from_neck[body].max(1) < SKIN_RADIUS_M) | (lateral[body].min(1) > wrist - CUFF_M - SKIN_UNDER_CUFF_M)]
    return [
        _cut(Piece.SKIN, skin, len(rest), []),
        _cut(Piece.TOP, tights, len(rest), [*worn, height - hips - HEM_M]),
        _cut(Piece.TROUSERS, tights, len(rest), [*worn, hips + WAIST_M - height, height - ground - TROUSERS_M]),
        _cut(Piece.SHOES, tights, len(rest), [*worn, ground + SHOES_M - height]),
    ]


def _cut(piece: Piece, quads: Int64Array, count: int, fields: list[Float64Array]) -> Cut:
    """Part of quads (Q, 4) of a mesh of B vertices where all fields (B,) are positive, with rims where they cut it."""
    vertices, inverse = np.unique(quads, return_inverse=True)
    corners = inverse.reshape(-1, 4)
    triangles = np.concatenate([corners[:, [0, 1, 2]], corners[:, [0, 2, 3]]])
    rows = csr_matrix((np.ones(len(vertices)), (np.arange(len(vertices)), vertices)), (len(vertices), count))
    for field in fields:
        rows, triangles = _clipped(rows, triangles, rows @ field)
    push = np.full(rows.shape[0], THICKNESS_M.get(piece, 0.0))
    if fields:
        edges = _boundary(triangles)
        rim = np.unique(edges)
        inner = np.full(len(push), -1)
        inner[rim] = len(push) + np.arange(len(rim))
        a, b = edges.T
        turned = [np.stack([b, a, inner[a]], 1), np.stack([b, inner[a], inner[b]], 1)]
        triangles = np.concatenate([triangles, *turned])
        rows = vstack([rows, rows[rim]]).tocsr()
        push = np.concatenate([push, push[rim] - RIM_DEPTH_M])
    return Cut(piece, rows, triangles, push)


def _clipped(rows: csr_matrix, triangles: Int64Array, field: Float64Array) -> tuple[csr_matrix, Int64Array]:
    """The part of a mesh where a field (N,) is positive: triangles that it crosses are divided."""
    kept: list[list[int]] = []
    crossings: dict[tuple[int, int], int] = {}
    added: list[tuple[int, int, float]] = []

    def crossing(a: int, b: int) -> int:
        key = (min(a, b), max(a, b))
        if key not in crossings:
            crossings[key] = rows.shape[0] + len(added)
            added.append((*key, field[key[0]] / (field[key[0]] - field[key[1]])))
        return crossings[key]

    for triangle in triangles.tolist():
        polygon = []
        for a, b in zip(triangle, triangle[1:] + triangle[:1], strict=True):
            if field[a] > 0.0:
                polygon.append(a)
            if (field[a] > 0.0) != (field[b] > 0.0):
                polygon.append(crossing(a, b))
        kept += [[polygon[0], polygon[k], polygon[k + 1]] for k in range(1, len(polygon) - 1)]
    if added:
        first, second, share = (np.array(column) for column in zip(*added, strict=True))
        rows = vstack([rows, diags(1.0 - share) @ rows[first] + diags(share) @ rows[second]]).tocsr()
    used, inverse = np.unique(np.array(kept, np.int64), return_inverse=True)
    return rows[used], inverse.reshape(-1, 3)


def _boundary(triangles: Int64Array) -> Int64Array:
    """(E, 2) directed edges that one triangle alone has."""
    edges = np.concatenate([triangles[:, [0, 1]], triangles[:, [1, 2]], triangles[:, [2, 0]]])
    known = {tuple(edge) for edge in edges.tolist()}
    return np.array([edge for edge in edges.tolist() if (edge[1], edge[0]) not in known], np.int64)


def cut_vertices(cut: Cut, posed: Float64Array, base: BaseMesh) -> Float64Array:
    """(N, 3) vertices of a piece on a base mesh (B, 3) in T-pose."""
    group = base.groups["body" if cut.piece is Piece.SKIN else "helper-tights"]
    triangles = torch.from_numpy(np.concatenate([group[:, [0, 1, 2]], group[:, [0, 2, 3]]]))
    normals = vertex_normals(torch.from_numpy(posed)[None], triangles)[0].numpy()
    return np.asarray(cut.rows @ posed + cut.pushed[:, None] * (cut.rows @ normals))


def neck_following(cut: Cut, rest: Float64Array, loop: Int64Array) -> tuple[Int64Array, Float64Array]:
    """Vertices (M,) of a piece that follow the neck's edge, and by how much (M, L) of each of its vertices.

    A screened harmonic extension: it solves (Laplacian + 1 / `FADE_M`^2) w = 0 with w = 1 at one vertex of the edge.
    """
    fixed = loop_places(cut, loop)
    edges = np.unique(
        np.sort(np.concatenate([cut.triangles[:, [0, 1]], cut.triangles[:, [1, 2]], cut.triangles[:, [2, 0]]]), 1),
        axis=0,
    )
    length = np.maximum(np.linalg.norm(rest[edges[:, 0]] - rest[edges[:, 1]], axis=1), 1e-4)
    count = len(rest)
    stiff = 1.0 / length**2
    matrix = coo_matrix((stiff, (edges[:, 0], edges[:, 1])), (count, count)).tocsr()
    matrix = matrix + matrix.T
    system = (diags(np.asarray(matrix.sum(1)).ravel() + 1.0 / FADE_M**2) - matrix).tocsc()
    free = np.setdiff1d(np.arange(count), fixed)
    following = np.zeros((count, len(loop)))
    following[fixed] = np.eye(len(loop))
    following[free] = splu(system[free][:, free].tocsc()).solve(-system[free][:, fixed].toarray())
    followers = np.flatnonzero(following.sum(1) > LEAST_FOLLOWING)
    return followers, following[followers]


def loop_places(cut: Cut, loop: Int64Array) -> Int64Array:
    """(L,) vertices of the skin that lie on base mesh vertices (L,)."""
    place = {int(vertex): number for number, vertex in enumerate(cut.rows.indices)}
    return np.array([place[int(vertex)] for vertex in loop])


def strongest(weights: Float64Array) -> tuple[Int64Array, Float64Array]:
    """The four strongest joints (N, 4) of skinning weights (N, J), and their weights, which sum to one."""
    joints = np.argsort(-weights, axis=1, kind="stable")[:, :4]
    kept = np.take_along_axis(weights, joints, 1)
    return joints, kept / kept.sum(1, keepdims=True)


def occlusion(pieces: list[tuple[Float64Array, Int64Array]]) -> list[Float64Array]:
    """Ambient light (N,) of each piece, of vertices (N, 3) and triangles (F, 3), among all of them."""
    first = np.cumsum([0] + [len(vertices) for vertices, _ in pieces])
    scene = np.concatenate([vertices for vertices, _ in pieces])
    triangles = np.concatenate([faces + start for (_, faces), start in zip(pieces, first, strict=False)])
    light = []
    for vertices, faces in pieces:
        normals = vertex_normals(torch.from_numpy(vertices)[None], torch.from_numpy(faces))[0].numpy()
        light.append(part_visibility(vertices, normals, scene, triangles))
    return light
