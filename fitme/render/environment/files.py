"""Panoramas from files: Radiance's `.hdr`, OpenEXR's `.exr`, and ordinary images, whose clipped lights are expanded
again."""

import os
import struct
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from fitme.arrays import Float32Array
from fitme.color import LUMINANCE, bytes_to_linear
from fitme.errors import InputError
from fitme.render.environment.panorama import Environment, environment_of
from fitme.render.environment.presets import PRESETS, preset_environment

MAX_PIXELS = 100_000_000
"""Pixels of a panorama at most, so that a file cannot exhaust the memory."""
ASPECT_RANGE = (1.8, 2.2)
"""Width over height of an equirectangular panorama: 2, with some tolerance for cropped ones."""
EXPANSION, EXPANSION_POWER = 8.0, 6.0
"""Factor by which an 8-bit panorama's white is brighter than it says, and the power of the luminance by which the
factor rises: lamps and skies are clipped there (Landis, "Production-Ready Global Illumination", SIGGRAPH 2002)."""


HEADER_BYTES = 65_536
"""Beginning of an OpenEXR file in which its attributes are looked for."""
_EXR_MAGIC = b"v/1\x01"
_DATA_WINDOW = b"dataWindow\0box2i\0"
_BOX = struct.Struct("<Iiiii")
"""Size of an attribute of type `box2i`, and its corners: left, top, right, bottom, all inside."""
_NOT_AN_IMAGE = "damaged, or not an image; give a panorama as .hdr, .exr, .jpg, .png or .webp"


def load_environment(source: str | Path) -> Environment:
    """Surroundings of a preset's name or of a panorama's file.

    :raises InputError: there is no such file or preset, the file is no image, too large, or no panorama.
    """
    if str(source) in PRESETS:
        return preset_environment(str(source))
    path = Path(source)
    if not path.is_file():
        raise InputError(f"{source}: neither a panorama's file nor one of {', '.join(PRESETS)}")
    return environment_of(read_panorama(path))


def read_panorama(path: Path) -> Float32Array:
    """(H, W, 3) radiance, linear sRGB primaries, of a file; InputError as for `load_environment`."""
    _check_size(path)
    data = np.fromfile(path, np.uint8)
    os.environ.setdefault("OPENCV_IO_ENABLE_OPENEXR", "1")  # else OpenCV reads no `.exr`
    try:
        image = cv2.imdecode(data, cv2.IMREAD_ANYDEPTH | cv2.IMREAD_COLOR)
    except cv2.error as error:
        raise InputError(f"{path}: {_NOT_AN_IMAGE}") from error
    if image is None:
        raise InputError(f"{path}: {_NOT_AN_IMAGE}")
    height, width = image.shape[:2]
    if not ASPECT_RANGE[0] <= width / height <= ASPECT_RANGE[1]:
        raise InputError(f"{path}: {width} x {height} pixels; an equirectangular panorama is twice as wide as high")
    colors: npt.NDArray[Any] = image[..., ::-1]
    if image.dtype == np.uint8:
        return _expanded(bytes_to_linear(np.ascontiguousarray(colors)))
    if image.dtype == np.uint16:
        return _expanded(bytes_to_linear((colors >> 8).astype(np.uint8)))
    finite = np.nan_to_num(colors.astype(np.float32), nan=0.0, posinf=0.0, neginf=0.0)
    return np.ascontiguousarray(np.maximum(finite, 0.0))  # lossy OpenEXR files ring below 0


def _expanded(linear: Float32Array) -> Float32Array:
    """Radiance of an 8-bit panorama's linear values, with its highlights brighter than the file could hold."""
    luminance = (linear @ LUMINANCE)[..., None]
    expanded: Float32Array = linear * (1.0 + EXPANSION * luminance**EXPANSION_POWER)
    return expanded


def _check_size(path: Path) -> None:
    """Refuse an image whose header says that it is too large, before it is decoded."""
    from PIL import Image, UnidentifiedImageError

    if path.suffix.lower() == ".hdr":
        size = _radiance_size(path)
    elif path.suffix.lower() == ".exr":
        size = _openexr_size(path)
    else:
        limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
        try:
            with Image.open(path) as opened:
                size = opened.size
        except (UnidentifiedImageError, OSError) as error:
            raise InputError(f"{path}: {_NOT_AN_IMAGE}") from error
        finally:
            Image.MAX_IMAGE_PIXELS = limit
    if size[0] * size[1] > MAX_PIXELS:
        raise InputError(
            f"{path}: {size[0]} x {size[1]} pixels; a panorama may have {MAX_PIXELS // 1_000_000} million at most"
        )


def _radiance_size(path: Path) -> tuple[int, int]:
    """Width and height that the header of a Radiance file says."""
    with path.open("rb") as opened:
        head = opened.read(4096).decode("latin-1")
    lines = head.split("\n")
    for line in lines:
        words = line.split()
        if len(words) == 4 and words[0] in ("-Y", "+Y") and words[2] in ("+X", "-X"):
            try:
                return int(words[3]), int(words[1])
            except ValueError:
                break
    raise InputError(f"{path}: not a Radiance file")


def _openexr_size(path: Path) -> tuple[int, int]:
    """Width and height that the header of an OpenEXR file says: those of its attribute `dataWindow`."""
    with path.open("rb") as opened:
        head = opened.read(HEADER_BYTES)
    start = head.find(_DATA_WINDOW)
    corners = head[start + len(_DATA_WINDOW) :][: _BOX.size]
    if not head.startswith(_EXR_MAGIC) or start < 0 or len(corners) < _BOX.size:
        raise InputError(f"{path}: not an OpenEXR file")
    _, left, top, right, bottom = _BOX.unpack(corners)
    return max(right - left + 1, 0), max(bottom - top + 1, 0)
