"""Reflectance of the parts: what is common to everybody, in the person's tones.

Teeth have the enamel's tone of the person: of the head's maps, where the upper row of teeth lies in the model's layout.
The fit's maps hold the generator's teeth there, and images of smiles over them by the expression.
"""

import functools
from dataclasses import dataclass

import cv2
import numpy as np
import torch

from fitme.arrays import Float32Array, UInt8Array
from fitme.color import LUMINANCE, linear_to_bytes
from fitme.parts.drawn_head import STRIP_PLACES, STRIP_SHARE, DrawnHead
from fitme.parts.eye_map import eye_map
from fitme.parts.head_parts import HeadParts, Texture
from fitme.reflectance.maps import ReflectanceMaps
from fitme.reflectance.modality import MODALITIES

ENAMEL = (0.68, 0.605, 0.49)
"""Linear albedo of enamel where no image shows any: between shades A1 and B1 of the VITA classical guide; A1 alone
(CIELAB b* 15) looks yellow beside lips."""
ENAMEL_LUMINANCE = (0.54, 0.72)
"""Range of the luminance of enamel: images show teeth in the shade of the lips."""
COOLEST_RED, WARMEST_RED = 1.05, 1.25
"""Bounds of red over green in the albedo of enamel."""
WARMEST_BLUE, COOLEST_BLUE = 0.78, 0.92
"""Bounds of blue over green: no enamel is blue, whatever the light in which the fit explains an image."""
UPPER_TEETH_V, FRONT_TEETH_U = (0.88, 0.925), (0.44, 0.56)
"""Rows and columns of the upper front teeth in the model's layout."""
BRIGHT_QUANTILE = 0.7
"""Quantile of luminance above which a texel there shows a tooth, and no gap."""
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


@dataclass(frozen=True)
class PersonTones:
    """Tones that the parts take from a person's maps, linear."""

    enamel: Float32Array
    """(3,)."""


def person_tones(maps: ReflectanceMaps) -> PersonTones:
    """Tones of the first of a batch of maps: enamel from the bright texels of the upper front teeth."""
    diffuse = maps.diffuse[0].detach().cpu().numpy()
    rows, columns = (
        slice(int(low * size), max(int(high * size), int(low * size) + 1))
        for (low, high), size in zip((UPPER_TEETH_V, FRONT_TEETH_U), diffuse.shape[:2], strict=True)
    )
    texels = diffuse[rows, columns].reshape(-1, 3)
    luminance = texels @ LUMINANCE
    bright = texels[luminance >= np.quantile(luminance, BRIGHT_QUANTILE)].mean(0)
    level = float(bright @ LUMINANCE)
    own = np.maximum(bright, 1e-4)
    red, blue = own[0] / own[1], own[2] / own[1]
    hue = np.array([np.clip(red, COOLEST_RED, WARMEST_RED), 1.0, np.clip(blue, WARMEST_BLUE, COOLEST_BLUE)])
    hue /= float(hue @ LUMINANCE)
    return PersonTones(np.asarray(float(np.clip(level, *ENAMEL_LUMINANCE)) * hue, np.float32))


def teeth_map(parts: HeadParts, tones: PersonTones) -> Float32Array:
    """(H, W, 3) linear diffuse albedo of teeth and gums."""
    codes = parts.teeth_texture.astype(np.float32)
    ratio, enamel = codes[..., :3] / np.float32(RATIO_CODE), codes[..., 3:] / np.float32(255.0)
    tone = np.array(GUM, np.float32) + enamel * (tones.enamel - np.array(GUM, np.float32))
    return np.asarray(ratio * tone * _light_in_mouth(parts) ** np.array(MOUTH_TINT, np.float32), np.float32)


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
        _put(strips["diffuse"], Texture.TEETH, teeth_map(drawn.parts, person_tones(maps)))
        enamel = drawn.parts.teeth_texture[..., 3:].astype(np.float32) / np.float32(255.0)
        _put(strips["specular"], Texture.TEETH, GUM_SPECULAR + enamel * np.float32(ENAMEL_SPECULAR - GUM_SPECULAR))
        diffuse = maps.diffuse[0].detach().cpu().numpy()
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
    codes: dict[Texture, UInt8Array] = {Texture.TEETH: linear_to_bytes(teeth_map(drawn.parts, person_tones(maps)))}
    diffuse = maps.diffuse[0].detach().cpu().numpy()
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
