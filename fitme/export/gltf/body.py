"""Body of an exported avatar: skin in the colours of the person's neck, and plain clothes.

The skin's colour is in `COLOR_0`: that of the head's map at the neck's edge, fading into the neck's median.
"""

from dataclasses import dataclass

import numpy as np
import torch

from fitme.arrays import Float32Array
from fitme.avatar import Avatar
from fitme.export.gltf.glb import Json
from fitme.export.gltf.primitives import Primitive
from fitme.export.gltf.skeleton import Skeleton, dense_weights
from fitme.export.parts import Part
from fitme.export.surface import Surface
from fitme.parts.drawn_head import DrawnHead
from fitme.parts.textures import SKIN_SPECULAR, bust_map
from fitme.rig.body import BodyPiece, Piece, load_body
from fitme.shape.normals import vertex_normals

SKIN_ROUGHNESS, CLOTH_ROUGHNESS, SHOE_ROUGHNESS = 0.53, 0.9, 0.6
CLOTH_COLORS = {
    Piece.TOP: ((0.055, 0.075, 0.11), CLOTH_ROUGHNESS),
    Piece.TROUSERS: ((0.02, 0.021, 0.024), CLOTH_ROUGHNESS),
    Piece.SHOES: ((0.012, 0.012, 0.012), SHOE_ROUGHNESS),
}
"""Linear albedo and roughness of clothes."""


@dataclass(frozen=True, eq=False)
class NamedPrimitive:
    """Piece of the body as an exported file has it."""

    name: str
    primitive: Primitive
    material: Json


def body_pieces(
    avatar: Avatar,
    head: Float32Array,
    head_normals: Float32Array,
    drawn: DrawnHead,
    skeleton: Skeleton,
    build: Float32Array,
) -> list[NamedPrimitive]:
    """Pieces of the body below a neutral head (V, 3) with normals (V, 3); their materials have no index yet."""
    body, rig = load_body(), skeleton.rig
    found = []
    for piece in body.pieces:
        vertices = piece.placed(rig, head, build)
        normals = vertex_normals(torch.from_numpy(vertices)[None], torch.from_numpy(piece.triangles))[0].numpy()
        colors, material, light = None, _cloth(piece.name), piece.occlusion
        if piece.name is Piece.SKIN:
            # No edge shows where both sides have the same normals, colours and light.
            normals[body.edge] = head_normals[rig.loop]
            light = light.copy()
            light[piece.followers] += piece.following @ (drawn.occlusion.numpy()[rig.loop] - light[body.edge])
            colors, tone = _skin_colors(avatar, piece, drawn, len(rig.loop))
            material = _material(piece.name, tone, SKIN_ROUGHNESS, SKIN_SPECULAR)
        none = np.zeros((0, len(vertices), 3), np.float32)
        surface = Surface(vertices, normals, np.zeros((0, 4), np.float32), light.clip(0.0, 1.0), none, none)
        every = np.arange(len(vertices))
        part = Part(every, every, np.zeros((0, 2), np.float32), piece.triangles)
        weights = dense_weights(piece.joints.astype(np.int32), piece.weights, len(skeleton.names))
        found.append(NamedPrimitive(piece.name.value, Primitive(part, -1, surface, weights, colors=colors), material))
    return found


def lowest_point(head: Float32Array, skeleton: Skeleton, build: Float32Array) -> float:
    """Height of the ground under the body of a neutral head (V, 3), metres, model frame."""
    return min(float(piece.placed(skeleton.rig, head, build)[:, 1].min()) for piece in load_body().pieces)


def _skin_colors(
    avatar: Avatar, piece: BodyPiece, drawn: DrawnHead, edge_count: int
) -> tuple[Float32Array, tuple[float, float, float]]:
    """Factors (N, 3) in [0, 1] of a colour, and that colour, linear."""
    around = bust_map(avatar.maps.diffuse[0].detach().cpu().numpy(), drawn.neck_uv)
    columns = np.linspace(0.0, around.shape[1], edge_count, endpoint=False).astype(int)
    edge, middle = around[0, columns], around[-1].mean(0)  # (L, 3), (3,)
    colors = np.tile(middle, (len(piece.vertices[0]), 1))
    colors[piece.followers] += piece.following @ (edge - middle)
    tone = np.maximum(colors.max(0), 1e-3)
    red, green, blue = tone.astype(float).tolist()
    return np.asarray(colors.clip(0.0) / tone, np.float32), (red, green, blue)


def _cloth(piece: Piece) -> Json:
    color, roughness = CLOTH_COLORS.get(piece, ((1.0, 1.0, 1.0), 1.0))
    return _material(piece, color, roughness, 1.0) | {"doubleSided": True}


def _material(piece: Piece, color: tuple[float, float, float], roughness: float, specular: float) -> Json:
    return {
        "name": piece.value,
        "pbrMetallicRoughness": {
            "baseColorFactor": [*color, 1.0],
            "metallicFactor": 0.0,
            "roughnessFactor": roughness,
        },
        "extensions": {"KHR_materials_specular": {"specularFactor": specular}},
    }
