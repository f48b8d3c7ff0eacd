"""Reflectance maps as 8-bit pictures.

`diffuse.png`: RGB, sRGB-encoded. `specular.png`: greyscale, linear, 255 times the specular albedo A_S, which reflects
0.04 A_S at normal incidence. `normal.png`: RGB, linear, 255 (n + 1) / 2 with x along growing u, y up in the picture and
z out of the surface (the convention of glTF and OpenGL).
"""

import io
from pathlib import Path

import numpy as np
from PIL import Image

from fitme.arrays import Float32Array, UInt8Array
from fitme.color import linear_to_bytes
from fitme.reflectance.maps import ReflectanceMaps

DIFFUSE_FILE = "diffuse.png"
SPECULAR_FILE = "specular.png"
NORMAL_FILE = "normal.png"


def diffuse_codes(maps: ReflectanceMaps) -> UInt8Array:
    """(H, W, 3) sRGB-encoded diffuse albedo of the first of the batch."""
    return linear_to_bytes(maps.diffuse[0].detach().cpu().numpy())


def specular_codes(maps: ReflectanceMaps) -> UInt8Array:
    """(H, W) specular albedo of the first of the batch, [0, 1] spread over 0..255."""
    return _codes(maps.specular[0, ..., 0].detach().cpu().numpy())


def specular_alpha_codes(maps: ReflectanceMaps) -> UInt8Array:
    """(H, W, 2) white with the specular albedo as its alpha, where glTF looks for it."""
    alpha = specular_codes(maps)
    return np.stack([np.full_like(alpha, 255), alpha], -1)


def normal_codes(maps: ReflectanceMaps) -> UInt8Array:
    """(H, W, 3) tangent-space normals of the first of the batch, [-1, 1] spread over 0..255."""
    return _codes(maps.normals[0].detach().cpu().numpy() * 0.5 + 0.5)


def png(codes: UInt8Array) -> bytes:
    """PNG file of a picture (H, W) or (H, W, C): grey, grey with alpha, RGB."""
    buffer = io.BytesIO()
    Image.fromarray(codes).save(buffer, "PNG")
    return buffer.getvalue()


def write_textures(maps: ReflectanceMaps, folder: Path) -> None:
    """Write `DIFFUSE_FILE`, `SPECULAR_FILE` and `NORMAL_FILE` into an existing folder."""
    (folder / DIFFUSE_FILE).write_bytes(png(diffuse_codes(maps)))
    (folder / SPECULAR_FILE).write_bytes(png(specular_codes(maps)))
    (folder / NORMAL_FILE).write_bytes(png(normal_codes(maps)))


def _codes(values: Float32Array) -> UInt8Array:
    codes: UInt8Array = np.rint(np.clip(values, 0.0, 1.0) * 255.0).astype(np.uint8)
    return codes
