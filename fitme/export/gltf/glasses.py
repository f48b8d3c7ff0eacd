"""Glasses as glTF: the frame, opaque, in the colours of a texture with one column a point; tinted lenses, blended."""

import numpy as np

from fitme.arrays import UInt8Array
from fitme.color import linear_to_bytes
from fitme.export.gltf.glb import GlbBuilder, Json
from fitme.glasses.glasses import POINTS, Glasses
from fitme.glasses.mesh import GlassesMesh, frame_mesh, lens_mesh
from fitme.glasses.renderer import LENS_ALBEDO

GLASSES_NODE = "glasses"
"""Name of the node, the mesh and the image."""
FRAME_ROUGHNESS, LENS_ROUGHNESS = 0.35, 0.05
TEXTURE_ROWS = 4
"""Rows of the texture, all alike: some engines want four."""


def glasses_codes(glasses: Glasses) -> UInt8Array:
    """(TEXTURE_ROWS, P, 3) sRGB-encoded albedo of the points."""
    return np.repeat(linear_to_bytes(glasses.albedo)[None], TEXTURE_ROWS, axis=0)


def glasses_materials(glasses: Glasses, texture: Json) -> list[Json]:
    """glTF materials of the frame, coloured by the texture of `glasses_codes`, and of the lenses if they are tinted."""
    frame = {
        "name": "glassesFrame",
        "pbrMetallicRoughness": {
            "baseColorTexture": texture,
            "metallicFactor": 0.0,
            "roughnessFactor": FRAME_ROUGHNESS,
        },
    }
    opacity = float(glasses.lens_opacity[0])
    if opacity == 0.0:
        return [frame]
    lenses = {
        "name": "glassesLenses",
        "alphaMode": "BLEND",
        "doubleSided": True,
        "pbrMetallicRoughness": {
            "baseColorFactor": [LENS_ALBEDO] * 3 + [opacity],
            "metallicFactor": 0.0,
            "roughnessFactor": LENS_ROUGHNESS,
        },
    }
    return [frame, lenses]


def glasses_primitives(builder: GlbBuilder, glasses: Glasses, first_material: int) -> list[Json]:
    """glTF primitives of the frame and of tinted lenses; their materials follow each other from `first_material`."""
    meshes = [frame_mesh(glasses)]
    if glasses.lens_opacity[0] > 0.0:
        meshes.append(lens_mesh(glasses))
    return [_primitive(builder, mesh, first_material + index) for index, mesh in enumerate(meshes)]


def _primitive(builder: GlbBuilder, mesh: GlassesMesh, material: int) -> Json:
    uv = np.stack([(mesh.columns + 0.5) / POINTS, np.full(len(mesh.columns), 0.5)], 1).astype(np.float32)
    return {
        "attributes": {
            "POSITION": builder.positions(mesh.vertices),
            "NORMAL": builder.vertex_attribute(mesh.normals),
            "TEXCOORD_0": builder.vertex_attribute(uv),
        },
        "indices": builder.triangle_indices(mesh.triangles.astype(np.int64), len(mesh.vertices)),
        "material": material,
    }
