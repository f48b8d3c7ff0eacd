"""glTF primitives and meshes of an avatar's surface, with blendshapes and skinning."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from fitme.arrays import Float32Array
from fitme.export.gltf.glb import GlbBuilder, Json
from fitme.export.gltf.skeleton import skin_attributes
from fitme.export.parts import Part, part_of_triangles, tangents
from fitme.export.surface import Surface
from fitme.parts.drawn_head import DrawnHead, DrawnPart
from fitme.parts.head_parts import REFINED_HEAD
from fitme.shape.morphable_model import MorphableModel

MOVED_M = 4e-4
"""Vertices that a blendshape displaces by less than this are left out of it."""
TURNED = 1e-1
"""Normals that a blendshape changes by less than this, or that belong to vertices which stay, are left out of it."""


@dataclass(frozen=True, eq=False)
class Primitive:
    """A part of a surface with its material."""

    part: Part
    """Triangles and which vertices of the surface they use."""
    material: int
    """Index of the material."""
    surface: Surface
    """What it is a part of."""
    weights: Float32Array | None
    """(V, J) skinning weights of the surface; None without a skeleton."""
    with_tangents: bool = False
    """Whether its material has a normal map."""
    colors: Float32Array | None = None
    """(V, 3) linear factors of the material's colour, [0, 1]; None: 1."""
    pivot: Float32Array | tuple[float, float, float] = (0.0, 0.0, 0.0)
    """(3,) to which positions are relative."""


def own_part(model: MorphableModel, faces: npt.NDArray[np.intp], refined: DrawnHead | None = None) -> Part:
    """Part of the model's own triangles, with finer ones of a drawn head in place of its coarse ones."""
    triangles, uv_triangles = [model.triangles.numpy()[faces]], [model.uv_triangles.numpy()[faces]]
    uv, first = [model.uv.numpy()], 0
    if refined is not None:
        for found in refined.opaque:
            if found.part.name == REFINED_HEAD:
                triangles.append(refined.triangles.numpy()[found.faces])
                uv_triangles.append(found.part.uv_triangles + np.int32(len(uv[0])))
                uv.append(found.part.uv)
                first = found.uv_first
    part = part_of_triangles(np.concatenate(triangles), np.concatenate(uv_triangles), np.concatenate(uv))
    own = part.uv_source < len(uv[0])
    return replace(part, uv_source=np.where(own, part.uv_source, part.uv_source - len(uv[0]) + first))


def drawn_part(drawn: DrawnHead, found: DrawnPart) -> Part:
    """Part of one of the drawn mesh's parts."""
    triangles = drawn.triangles.numpy()[found.faces]
    part = part_of_triangles(triangles, found.part.uv_triangles, found.part.uv)
    return replace(part, uv_source=part.uv_source + found.uv_first)


def gltf_primitive(builder: GlbBuilder, primitive: Primitive, blendshapes: Sequence[int]) -> Json:
    """A glTF primitive with a morph target for each of the surface's `blendshapes`."""
    part, surface = primitive.part, primitive.surface
    positions = (surface.positions[part.source] - np.asarray(primitive.pivot)).astype(np.float32)
    normals = surface.normals[part.source]
    colors = np.ones((len(part.source), 4), np.float32)
    colors[:, :3] = surface.occlusion[part.source, None]
    if primitive.colors is not None:
        colors[:, :3] *= primitive.colors[part.source]
    attributes: Json = {
        "POSITION": builder.positions(positions),
        "NORMAL": builder.vertex_attribute(normals),
        "COLOR_0": builder.byte_attribute(np.rint(255.0 * colors).astype(np.uint8), normalized=True),
    }
    if len(part.uv):
        attributes["TEXCOORD_0"] = builder.vertex_attribute(part.uv)
    if primitive.with_tangents:
        attributes["TANGENT"] = builder.vertex_attribute(tangents(part, surface.along_u, normals))
    if primitive.weights is not None:
        attributes |= skin_attributes(builder, primitive.weights[part.source])
    indices = builder.triangle_indices(part.triangles, len(part.source))
    described: Json = {"attributes": attributes, "indices": indices, "material": primitive.material}
    targets = [_target(builder, part, surface, blendshape) for blendshape in blendshapes]
    return described | ({"targets": targets} if targets else {})


def moving_blendshapes(primitive: Primitive) -> list[int]:
    """Blendshapes that move a primitive at all."""
    offsets = primitive.surface.position_offsets
    return [i for i in range(len(offsets)) if np.abs(offsets[i, primitive.part.source]).max() > MOVED_M]


def gltf_mesh(name: str, primitives: list[Json], blendshape_names: Sequence[str]) -> Json:
    """A glTF mesh with named blendshapes, all at zero."""
    mesh: Json = {"name": name, "primitives": primitives}
    if not len(blendshape_names):
        return mesh
    return mesh | {"weights": [0.0] * len(blendshape_names), "extras": {"targetNames": list(blendshape_names)}}


def _target(builder: GlbBuilder, part: Part, surface: Surface, blendshape: int) -> Json:
    offsets = surface.position_offsets[blendshape, part.source]
    turns = surface.normal_offsets[blendshape, part.source]
    moved = np.linalg.norm(offsets, axis=1) > MOVED_M
    return {
        "POSITION": builder.morph_attribute(offsets, moved, bounds=True),
        "NORMAL": builder.morph_attribute(turns, moved & (np.linalg.norm(turns, axis=1) > TURNED)),
    }
