"""Reflectance maps as 8-bit images, by the encodings of `fitme.reflectance.modality`.

`diffuse.png`: RGB, sRGB-encoded. `specular.png`: greyscale, linear, 255 times the specular albedo A_S, which reflects
0.04 A_S at normal incidence. `normal.png`: RGB, linear, 255 (n + 1) / 2 with x along growing u, y up in the image and z
out of the surface (the convention of glTF and OpenGL).
"""

import io
from pathlib import Path

import numpy as np
from PIL import Image

from fitme.arrays import Float32Array, UInt8Array
from fitme.color import linear_to_bytes
from fitme.reflectance.maps import ReflectanceMaps
from fitme.reflectance.modality import MODALITIES, Encoding, Modality


def texture_codes(modality: Modality, maps: ReflectanceMaps) -> UInt8Array:
    """8-bit values of a modality's map, the first of the batch: (H, W, 3), or (H, W) of one channel."""
    values = maps.by_name()[modality.name][0].detach().cpu().numpy()
    if modality.encoding is Encoding.COLOR:
        codes = linear_to_bytes(values)
    elif modality.encoding is Encoding.TANGENT_NORMAL:
        codes = _codes(values * 0.5 + 0.5)
    else:
        codes = _codes(values)
    return codes[..., 0] if modality.channels == 1 else codes


def alpha_codes(codes: UInt8Array) -> UInt8Array:
    """White with a texture (H, W) as alpha, (H, W, 2): glTF reads the specular factor from the alpha channel."""
    return np.stack([np.full_like(codes, 255), codes], -1)


def png(codes: UInt8Array) -> bytes:
    """PNG file of an image (H, W) or (H, W, C), uint8: grey, grey with alpha, RGB."""
    buffer = io.BytesIO()
    Image.fromarray(codes).save(buffer, "PNG")
    return buffer.getvalue()


def write_textures(maps: ReflectanceMaps, folder: Path) -> None:
    """Write every modality's `file` into an existing folder."""
    for modality in MODALITIES:
        (folder / modality.file).write_bytes(png(texture_codes(modality, maps)))


def _codes(values: Float32Array) -> UInt8Array:
    """Values in [0, 1] as 8-bit codes 0 to 255, rounded."""
    codes: UInt8Array = np.rint(np.clip(values, 0.0, 1.0) * 255.0).astype(np.uint8)
    return codes
