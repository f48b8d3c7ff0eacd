"""Reflectance of the parts: what is common to everybody, in the person's tones.

Teeth are the person's: the head's maps hold enamel where the rows of teeth lie in the model's layout, over the shades
that all teeth have in common.
"""

import functools

import cv2
import numpy as np
import torch

from fitme.arrays import Float32Array, UInt8Array
from fitme.color import linear_to_bytes
from fitme.parts.drawn_head import STRIP_PLACES, STRIP_SHARE, DrawnHead
from fitme.parts.eye_map import eye_map
from fitme.parts.head_parts import HeadParts, Texture
from fitme.parts.teeth_layout import TeethLayout
from fitme.reflectance.maps import ReflectanceMaps
from fitme.reflectance.modality import MODALITIES

BRIGHTEST = 0.95
"""Largest linear albedo of teeth."""
GUM = (0.36, 0.15, 0.14)
"""Linear albedo of gums."""
MOUTH_TINT = (0.0, 0.25, 0.30)
"""Power of the light that reaches a tooth by which its channels are dimmed: what is reflected in the mouth is red."""
RATIO_CODE = 128.0
"""Code of a ratio of one in the textures of teeth."""
ENAMEL_SPECULAR, GUM_SPECULAR, SKIN_SPECULAR = 0.7, 0.3, 0.3
"""Specular albedo: enamel is polished; gums lie in the shade, where the renderer's mirrored surroundings are dark."""
LASH_ALBEDO = (0.012, 0.009, 0.008)
"""Linear albedo of lashes: that of painted heads."""
TEAR_SPECULAR = 0.7
"""Specular albedo of the tear film on the eyes: index 1.34 to 1.38."""
LIGHT_BLUR_TEXELS = 3.0
"""Standard deviation of the filter of the light in the mouth."""
EYE_TEXTURES = (Texture.LEFT_EYE, Texture.RIGHT_EYE)
NECK_ABOVE = 0.02
"""Distance above the neck's edge at which the bust takes its colours, layout units."""
NECK_CELLS = 96
"""Cells a side over which the head's map is averaged for this."""
BUST_ROWS, BUST_COLUMNS = 16, 64
BUST_BLUR_COLUMNS = 4.0
"""Standard deviation of the filter over colours round the neck."""


def teeth_map(parts: HeadParts, teeth: TeethLayout, diffuse: Float32Array) -> Float32Array:
    """(H, W, 3) linear diffuse albedo of teeth and gums.

    :param diffuse: (R, R, 3) of the head: enamel is the person's, from the rows of teeth in the model's layout.
    """
    enamel = parts.teeth_texture[..., 3:].astype(np.float32) / np.float32(255.0)
    x, y = (teeth.places * diffuse.shape[0] - 0.5).transpose(2, 0, 1)
    own = np.asarray(cv2.remap(diffuse, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE), np.float32)
    tone = np.array(GUM, np.float32) + enamel * (own - np.array(GUM, np.float32))
    return np.asarray(np.minimum(teeth_shades(parts) * tone, BRIGHTEST), np.float32)


def teeth_shades(parts: HeadParts) -> Float32Array:
    """(H, W, 3) albedo of teeth and gums over that of enamel and gums: darker at edges, necks and deep in the mouth."""
    ratio = parts.teeth_texture[..., :3].astype(np.float32) / np.float32(RATIO_CODE)
    return np.asarray(ratio * _light_in_mouth(parts) ** np.array(MOUTH_TINT, np.float32), np.float32)


@functools.lru_cache(maxsize=2)
def _light_in_mouth(parts: HeadParts) -> Float32Array:
    """(H, W, 1) share of the light that reaches teeth and gums, in the layout of their texture; 1 elsewhere."""
    height, width = parts.teeth_texture.shape[:2]
    light = np.ones((height, width), np.float32)
    for part in parts.opaque:
        if part.texture is not Texture.TEETH:
            continue
        corners = np.rint(part.uv[part.uv_triangles] * (width, height)).astype(np.int32)
        for triangle, level in zip(corners, part.occlusion[part.triangles].mean(1), strict=True):
            cv2.fillConvexPoly(light, triangle, (float(level),))
    return np.asarray(cv2.GaussianBlur(light, (0, 0), LIGHT_BLUR_TEXELS), np.float32)[..., None]


def bust_map(diffuse: Float32Array, neck_uv: Float32Array) -> Float32Array:
    """(H, W, 3) linear diffuse albedo of the bust: the neck's at its edge, fading into their mean.

    :param diffuse: (R, R, 3) of the head.
    :param neck_uv: (L, 2) of `DrawnHead`.
    """
    cells = cv2.resize(diffuse, (NECK_CELLS, NECK_CELLS), interpolation=cv2.INTER_AREA)
    at = np.interp(np.linspace(0, len(neck_uv), BUST_COLUMNS), np.arange(len(neck_uv) + 1), np.arange(len(neck_uv) + 1))
    index = np.rint(at).astype(int) % len(neck_uv)
    x = (neck_uv[index, 0] * NECK_CELLS - 0.5).astype(np.float32)[None]
    y = ((neck_uv[index, 1] - NECK_ABOVE) * NECK_CELLS - 0.5).astype(np.float32)[None]
    sampled = cv2.remap(cells, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    edge = np.asarray(sampled, np.float32)  # (1, W, 3)
    mean = np.median(edge, axis=1, keepdims=True)
    wide = cv2.copyMakeBorder(edge, 0, 0, BUST_COLUMNS, BUST_COLUMNS, cv2.BORDER_WRAP)
    blurred = cv2.GaussianBlur(wide, (0, 0), BUST_BLUR_COLUMNS)[:, BUST_COLUMNS:-BUST_COLUMNS]
    edge = np.asarray(blurred, np.float32)
    share = np.linspace(0.0, 1.0, BUST_ROWS, dtype=np.float32)[:, None, None] ** 0.5
    return np.asarray(edge + share * (mean - edge), np.float32)


def with_strip(maps: ReflectanceMaps, drawn: DrawnHead) -> ReflectanceMaps:
    """Maps (1, (1 + STRIP_SHARE) R, R, C) for `DrawnHead`: those of the head (1, R, R, C) above, the parts' below."""
    height, side = round(STRIP_SHARE * maps.diffuse.shape[1]), maps.diffuse.shape[2]
    strips = {
        modality.name: np.full((height, side, modality.channels), modality.default, np.float32)
        for modality in MODALITIES
    }
    strips["specular"][:] = SKIN_SPECULAR
    if drawn.parts is not None:
        enamel = drawn.parts.teeth_texture[..., 3:].astype(np.float32) / np.float32(255.0)
        _put(strips["specular"], Texture.TEETH, GUM_SPECULAR + enamel * np.float32(ENAMEL_SPECULAR - GUM_SPECULAR))
        diffuse = maps.diffuse[0].detach().cpu().numpy()
        if drawn.teeth is not None:
            _put(strips["diffuse"], Texture.TEETH, teeth_map(drawn.parts, drawn.teeth, diffuse))
        if len(drawn.neck_uv):
            _put(strips["diffuse"], Texture.BUST, bust_map(diffuse, drawn.neck_uv))
        for side, texture in enumerate(EYE_TEXTURES):
            _put(strips["diffuse"], texture, eye_map(diffuse, side))
            _put(strips["specular"], texture, np.full((1, 1), TEAR_SPECULAR, np.float32))
    return ReflectanceMaps.from_names(
        {
            name: torch.cat([values, torch.from_numpy(strips[name])[None].to(values)], 1)
            for name, values in maps.by_name().items()
        }
    )


def part_codes(maps: ReflectanceMaps, drawn: DrawnHead) -> dict[Texture, UInt8Array]:
    """Parts' own maps as 8-bit images, sRGB: (H, W, 3), or with coverage (H, W, 4). None for a model without parts."""
    if drawn.parts is None:
        return {}
    codes: dict[Texture, UInt8Array] = {}
    diffuse = maps.diffuse[0].detach().cpu().numpy()
    if drawn.teeth is not None:
        codes[Texture.TEETH] = linear_to_bytes(teeth_map(drawn.parts, drawn.teeth, diffuse))
    if len(drawn.neck_uv):
        codes[Texture.BUST] = linear_to_bytes(bust_map(diffuse, drawn.neck_uv))
    for side, texture in enumerate(EYE_TEXTURES):
        codes[texture] = linear_to_bytes(eye_map(diffuse, side))
    coverage = drawn.parts.lash_texture
    dark = np.broadcast_to(linear_to_bytes(np.array(LASH_ALBEDO, np.float32)), (*coverage.shape, 3))
    codes[Texture.LASHES] = np.concatenate([dark, coverage[..., None]], -1)
    return codes


def _put(strip: Float32Array, texture: Texture, values: Float32Array) -> None:
    height, width = strip.shape[:2]
    left, top, right, bottom = STRIP_PLACES[texture]
    columns, rows = slice(round(left * width), round(right * width)), slice(round(top * height), round(bottom * height))
    size = columns.stop - columns.start, rows.stop - rows.start
    resized = cv2.resize(values, size, interpolation=cv2.INTER_AREA)
    strip[rows, columns] = resized.reshape(*resized.shape[:2], -1)
