"""Hair as glTF: the envelope's mesh, its albedo with coverage in the alpha channel, and the locks' normals."""

from dataclasses import replace

import numpy as np
import torch

from fitme.arrays import UInt8Array
from fitme.avatar import Avatar
from fitme.color import linear_to_bytes
from fitme.export.gltf.glb import GlbBuilder, Json
from fitme.geometry import unit_vectors
from fitme.hair.compositing import LOCK_RELIEF
from fitme.hair.envelope import envelope_uv
from fitme.hair.hair import covered_triangles, hair_surface
from fitme.hair.strands import strand_pattern
from fitme.hair.texture import HairTexture
from fitme.shape.morphable_model import MorphableModel

HAIR_NODE = "hair"
"""Name of the node, the mesh, the material and the image."""
RELIEF_IMAGE = "hair_relief"
"""Name of the image of its normals."""
HAIR_ROUGHNESS = 0.55
"""glTF's perceptual roughness that comes nearest to the broad lobe of strands."""
HAIR_SPECULAR = 0.5
"""Specular factor of the envelope: strands hide half of what each of them mirrors."""
ALPHA_CUTOFF = 0.5
"""Coverage below which an engine draws nothing. Engines sort blended surfaces wrongly; masked ones need no order."""


def hair_codes(texture: HairTexture) -> UInt8Array:
    """(T, U, 4) sRGB-encoded albedo and linear coverage."""
    coverage = np.rint(texture.coverage * 255.0).astype(np.uint8)
    return np.concatenate([linear_to_bytes(texture.albedo), coverage], -1)


def relief_codes() -> UInt8Array:
    """(T, U, 3) tangent-space normals of the locks, as the renderer has them (`fitme.hair.compositing`)."""
    pattern = strand_pattern()
    across = np.roll(pattern, -1, 1) - pattern
    down = np.diff(pattern, axis=0, append=pattern[-1:])
    # glTF's bitangent points up in the image.
    normals = np.stack([-LOCK_RELIEF * across, LOCK_RELIEF * down, np.ones_like(pattern)], -1)
    return np.asarray(np.rint((unit_vectors(normals) + 1.0) * 127.5), np.uint8)


def hair_material(texture: Json, relief: Json) -> Json:
    """glTF material of a texture by `hair_codes` and one by `relief_codes`."""
    return {
        "name": HAIR_NODE,
        "alphaMode": "MASK",
        "alphaCutoff": ALPHA_CUTOFF,
        "normalTexture": relief,
        "pbrMetallicRoughness": {
            "baseColorTexture": texture,
            "metallicFactor": 0.0,
            "roughnessFactor": HAIR_ROUGHNESS,
        },
        "extensions": {"KHR_materials_specular": {"specularFactor": HAIR_SPECULAR}},
    }


def without_bare_hair(avatar: Avatar) -> Avatar:
    """The avatar, without hair if that covers nothing, as on a bald head."""
    hair = avatar.hair
    bare = hair is not None and not len(covered_triangles(hair.texture, ALPHA_CUTOFF))
    return replace(avatar, hair=None) if bare else avatar


def hair_primitive(builder: GlbBuilder, avatar: Avatar, model: MorphableModel, material: int) -> Json:
    """glTF primitive of the envelope over the avatar's neutral head: of its triangles, those with any coverage.

    :raises ValueError: if the avatar has no hair.
    """
    if avatar.hair is None:
        raise ValueError("an avatar without hair has no envelope")
    with torch.no_grad():
        neutral = model.neutral(avatar.identity[None])[0].numpy()
    surface, uv = hair_surface(avatar.hair, model, neutral), envelope_uv()
    triangles = covered_triangles(avatar.hair.texture, ALPHA_CUTOFF)
    kept, corners = np.unique(triangles, return_inverse=True)
    return {
        "attributes": {
            "POSITION": builder.positions(surface.vertices[kept]),
            "NORMAL": builder.vertex_attribute(unit_vectors(surface.normals[kept])),
            "TEXCOORD_0": builder.vertex_attribute(uv[kept]),
        },
        "indices": builder.triangle_indices(corners.reshape(-1, 3).astype(np.int64), len(kept)),
        "material": material,
    }
