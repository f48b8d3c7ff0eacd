"""Captured subject that synthetic maps are compared with: windows of bare skin, and the size of its texels.

Its diffuse albedo is assumed sRGB-encoded, since only then are its colour ratios plausible for skin.
"""

from pathlib import Path

import numpy as np
from PIL import Image
from scipy.ndimage import gaussian_filter

from fitme.arrays import Float64Array, UInt8Array
from fitme.bench.reflectance.patches import SkinPatch, skin_patch
from fitme.color import bytes_to_linear
from fitme.errors import InputError

DIFFUSE_FILE, SPECULAR_FILE, NORMALS_FILE = "s1.png", "s1_specAlbedo.png", "s1_tangentNormals.png"
POSITION_FILE = "s1_shape.png"
MAP_SIZE = (1024, 1536)
"""Rows and columns of every map."""
EYES = ((270, 300, 558, 588), (270, 300, 962, 992))
"""Windows around the eyes: first and last row, first and last column."""
EYE_DISTANCE_M = 0.063
"""Distance between the eyes, an adult average, which gives the unitless positions their scale."""
POSITION_BLUR_TEXELS = 8.0
"""Standard deviation of the blur of positions, whose 8-bit steps are wider than a texel."""
WINDOWS = {
    "cheek": ((360, 440, 330, 480), (380, 440, 440, 560), (360, 440, 1056, 1206), (380, 440, 980, 1100)),
    "forehead": ((80, 150, 560, 800), (60, 130, 330, 560), (60, 130, 820, 1050)),
    "nose": ((280, 400, 745, 845), (250, 330, 735, 800)),
    "lips": ((514, 534, 715, 815), (556, 570, 690, 820)),
}
"""First and last row, first and last column, clear of moles, hair and the line between the lips."""


def captured_patches(folder: Path) -> dict[str, list[SkinPatch]]:
    """Patches of the subject per region. Raises InputError where a map is missing or not of `MAP_SIZE`."""
    linear = np.asarray(bytes_to_linear(_read(folder / DIFFUSE_FILE, "RGB")), np.float64)
    specular = _read(folder / SPECULAR_FILE, "L") / 255.0
    normals = _read(folder / NORMALS_FILE, "RGB") / 127.5 - 1.0
    sizes = _texel_sizes_mm(_read(folder / POSITION_FILE, "RGB").astype(np.float64))
    patches: dict[str, list[SkinPatch]] = {}
    for region, windows in WINDOWS.items():
        patches[region] = []
        for top, bottom, left, right in windows:
            at = np.s_[top:bottom, left:right]
            width, height = (float(size[at].mean()) for size in sizes)
            patches[region].append(skin_patch(linear[at], specular[at], normals[at], (width, height)))
    return patches


def _texel_sizes_mm(positions: Float64Array) -> tuple[Float64Array, Float64Array]:
    """Width and height (H, W) of texels on the skin, millimetres, from positions (H, W, 3) of any scale."""
    eyes = [positions[top:bottom, left:right].mean((0, 1)) for top, bottom, left, right in EYES]
    scale = 1e3 * EYE_DISTANCE_M / float(np.linalg.norm(eyes[1] - eyes[0]))
    smooth = gaussian_filter(positions, (POSITION_BLUR_TEXELS, POSITION_BLUR_TEXELS, 0.0)) * scale
    across, down = (np.linalg.norm(np.gradient(smooth, axis=axis), axis=-1) for axis in (1, 0))
    return np.asarray(across, np.float64), np.asarray(down, np.float64)


def _read(path: Path, mode: str) -> UInt8Array:
    try:
        with Image.open(path) as image:
            pixels = np.asarray(image.convert(mode))
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error}): give the folder of the captured subject") from error
    if pixels.shape[:2] != MAP_SIZE:
        raise InputError(f"{path} is {pixels.shape[:2]}, expected {MAP_SIZE}: windows are measured on that size")
    return pixels
