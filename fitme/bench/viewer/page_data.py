"""Avatar as plain arrays for the renderer of the page, `client/renderer/renderer.js`, and their binary form.

The binary form is one JSON line that ends in a line feed, padded with blanks to a multiple of `ALIGNMENT` bytes, then
the arrays, each padded to that multiple. In the JSON an array is
``{"array": dtype, "offset": bytes, "length": elements}``.
"""

import json
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from fitme.arrays import Float32Array, UInt8Array
from fitme.avatar import Avatar
from fitme.color import linear_to_bytes
from fitme.hair.compositing import LEAST_COVERAGE
from fitme.hair.envelope import envelope_uv
from fitme.hair.hair import Hair, covered_triangles, hair_surface
from fitme.hair.strands import strand_pattern
from fitme.parts.binding import Binding
from fitme.parts.drawn_head import STRIP_SHARE, DrawnHead, DrawnPart, drawn_head
from fitme.parts.eye_surroundings import EyeSurroundings
from fitme.parts.head_parts import HeadPart, Texture
from fitme.parts.textures import part_codes, with_strip
from fitme.reflectance.expression_correctives import AlbedoCorrectives
from fitme.reflectance.maps import ReflectanceMaps
from fitme.render.environment.surroundings import Surroundings
from fitme.render.light import Light
from fitme.shape.morphable_model import MorphableModel

ALIGNMENT = 8
MORPH_STEP_M = 2e-6
"""Step of the quantised morph targets: far below a texel of any map."""
LEAST_DISPLACEMENT_M = 1e-6
"""Displacement below which a vertex does not take part in an expression."""
PATTERN_RANGE = 4.0
"""Standard deviations of the strands' pattern that its codes 1 to 255 span on each side of 128."""

Tree = dict[str, Any]
"""Nested dictionaries and lists of numbers, texts and arrays."""


def avatar_data(avatar: Avatar, model: MorphableModel) -> Tree:
    """`parts` and `correctives` of an avatar as the page's renderer takes them."""
    drawn = drawn_head(model)
    parts = [_head(avatar, model, drawn)]
    if drawn.parts is not None:
        codes = part_codes(avatar.maps, drawn)[Texture.LASHES]
        parts += [_lashes(part, _texels(codes)) for part in drawn.parts.layers]
    if avatar.hair is not None:
        parts.append(_hair(avatar.hair, avatar, model))
    correctives = None if avatar.correctives is None else _correctives(avatar.correctives)
    return {"parts": parts, "correctives": correctives}


def light_data(light: Light) -> Tree:
    """First light of a batch."""
    return {
        "sh": light.sh[0].float().numpy().reshape(-1),
        "directions": light.directions[0].tolist(),
        "colors": light.colors[0].tolist(),
    }


def reflections_data(surroundings: Surroundings) -> Tree:
    """Blurred panoramas for the renderer's `setEnvironment`."""
    reflections = surroundings.reflections
    levels = [reflections.level(index).reshape(-1) for index in range(len(reflections.levels))]
    return {"levels": levels, "turn": 2.0 * np.pi * reflections.turn}


def packed(tree: Tree) -> bytes:
    """Binary form of a tree."""
    blocks: list[bytes] = []
    size = 0

    def described(value: object) -> object:
        nonlocal size
        if isinstance(value, dict):
            return {key: described(part) for key, part in value.items()}
        if isinstance(value, list | tuple):
            return [described(part) for part in value]
        if not isinstance(value, np.ndarray):
            return value
        block = np.ascontiguousarray(value).tobytes()
        entry = {"array": value.dtype.name, "offset": size, "length": value.size}
        blocks.append(block + bytes(-len(block) % ALIGNMENT))
        size += len(blocks[-1])
        return entry

    header = json.dumps(described(tree)).encode()
    header += b" " * (-(len(header) + 1) % ALIGNMENT) + b"\n"
    return header + b"".join(blocks)


def _head(avatar: Avatar, model: MorphableModel, drawn: DrawnHead) -> Tree:
    """The mesh of `fitme.parts.drawn_head`: the model's with its opaque parts, in one map."""
    left, right = model.eyeball_vertices
    eyes = [(found, drawn.eyes[found.eye]) for found in drawn.opaque if found.eye is not None]
    return {
        "name": "head",
        "material": "skin",
        "positions": drawn.bound(model.neutral(avatar.identity[None])[0].numpy()).reshape(-1),
        "triangles": _flat(drawn.triangles, np.uint32),
        "uv": _flat(drawn.uv),
        "uvTriangles": _flat(drawn.uv_triangles, np.uint32),
        "morphs": _morphs(model, drawn),
        "eyeballs": {"left": _flat(left, np.uint32), "right": _flat(right, np.uint32)},
        "eyes": [_eye(found, lids) for found, lids in eyes],
        "occlusion": _flat(drawn.occlusion),
        "mouth": {
            "lips": _flat(drawn.mouth.lips, np.uint32),
            "weights": _flat(drawn.mouth.weights),
            "inside": _flat(drawn.mouth.inside, np.uint8),
            "openShare": _flat(drawn.mouth.open_share),
            "lining": drawn.mouth.lining.astype(np.uint32),
        },
        "shininess": _flat(drawn.shininess),
        "casting": drawn.casting.astype(np.uint8),
        "textures": _textures(with_strip(avatar.maps, drawn)),
    }


def _eye(found: DrawnPart, lids: EyeSurroundings) -> Tree:
    return {
        "side": ("left", "right")[found.eye or 0],
        "vertices": np.arange(found.place.start, found.place.stop, dtype=np.uint16),
        "ball": _flat(lids.ball, np.uint32),
        "upper": _flat(lids.upper, np.uint32),
        "upperWeights": _flat(lids.upper_weights),
        "lower": _flat(lids.lower, np.uint32),
        "lowerWeights": _flat(lids.lower_weights),
    }


def _bound(binding: Binding) -> Tree:
    """All vertices of a part, bound to those of the head."""
    return {
        "to": "head",
        "targets": np.arange(len(binding), dtype=np.uint16),
        "starts": binding.starts.astype(np.uint32),
        "vertices": binding.vertices.astype(np.uint16),
        "weights": binding.weights.astype(np.float32),
        "offsets": binding.offset.astype(np.float32).reshape(-1),
    }


def _lashes(part: HeadPart, texture: Tree) -> Tree:
    return {
        "name": part.name,
        "material": "lashes",
        "positions": np.zeros(3 * len(part.binding), np.float32),
        "bound": _bound(part.binding),
        "triangles": part.triangles.astype(np.uint32).reshape(-1),
        "uv": part.uv.reshape(-1),
        "uvTriangles": part.uv_triangles.astype(np.uint32).reshape(-1),
        "textures": {"albedo": texture},
    }


def _morphs(model: MorphableModel, drawn: DrawnHead) -> Tree:
    """Displacements of the model's vertices and of the parts'."""
    basis = np.stack([drawn.displacements(offsets) for offsets in model.expression_basis.numpy()])
    moved = np.abs(basis).max(-1) > LEAST_DISPLACEMENT_M  # (52, V)
    return {
        "starts": np.concatenate([[0], np.cumsum(moved.sum(1))]).astype(np.uint32),
        "vertices": np.nonzero(moved)[1].astype(np.uint16),
        "deltas": np.rint(basis[moved] / MORPH_STEP_M).astype(np.int16).reshape(-1),
        "scale": MORPH_STEP_M,
    }


def _textures(maps: ReflectanceMaps) -> Tree:
    return {
        "diffuse": _texels(linear_to_bytes(maps.diffuse[0].numpy())),
        "specular": _texels(_bytes(maps.specular[0].numpy())),
        "normals": _texels(_bytes((maps.normals[0].numpy() + 1.0) / 2.0)),
    }


def _hair(hair: Hair, avatar: Avatar, model: MorphableModel) -> Tree:
    with torch.no_grad():
        surface = hair_surface(hair, model, model.neutral(avatar.identity[None])[0].numpy())
    albedo = np.concatenate([linear_to_bytes(hair.texture.albedo), _bytes(hair.texture.coverage)], -1)
    pattern = np.clip(np.rint(128.0 + 127.0 / PATTERN_RANGE * strand_pattern()), 1.0, 255.0).astype(np.uint8)
    return {
        "name": "hair",
        "material": "hair",
        "positions": surface.vertices.reshape(-1),
        "normals": surface.normals.reshape(-1),
        "strands": surface.strands.reshape(-1),
        "triangles": covered_triangles(hair.texture, LEAST_COVERAGE).astype(np.uint32).reshape(-1),
        "uv": envelope_uv().reshape(-1),
        "textures": {"albedo": _texels(albedo), "pattern": _texels(pattern[..., None])},
    }


def _correctives(correctives: AlbedoCorrectives) -> Tree:
    deltas = correctives.deltas.float().numpy()  # (K, R, R, 3)
    scales = np.maximum(np.abs(deltas).max((1, 2, 3)), 1e-6)
    return {
        "expressions": _flat(correctives.expressions),
        "gram": _flat(correctives.gram),
        "mixing": _flat(correctives.mixing),
        "size": deltas.shape[1],
        "share": 1.0 / (1.0 + STRIP_SHARE),
        "deltas": np.rint(127.0 * deltas / scales[:, None, None, None]).astype(np.int8).reshape(-1),
        "scales": scales.astype(np.float32),
    }


def _texels(codes: UInt8Array) -> Tree:
    return {"width": codes.shape[1], "height": codes.shape[0], "data": codes.reshape(-1)}


def _bytes(values: Float32Array) -> UInt8Array:
    codes: UInt8Array = np.rint(255.0 * np.clip(values, 0.0, 1.0)).astype(np.uint8)
    return codes


def _flat(tensor: torch.Tensor, dtype: npt.DTypeLike = np.float32) -> npt.NDArray[Any]:
    return tensor.detach().numpy().astype(dtype).reshape(-1)
