"""A folder of reflectance maps for training: made-up skins in 8 bits, and the numbers that training compares."""

import json
import multiprocessing
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from fitme.color import linear_to_bytes
from fitme.errors import InputError
from fitme.reflectance.atlas import SkinAtlas
from fitme.reflectance.skin import Skin, synthesize_skin
from fitme.shape.regions import Region

CHANNELS = 6
"""sRGB-encoded diffuse albedo (3), specular albedo (1), slopes of the surface along u and up the layout (2)."""
SLOPE_LIMIT = 0.6
"""Slope that the largest byte stands for."""
WORKER_NICENESS = 10
_DATA_FILE, _ABOUT_FILE = "maps.npy", "about.json"


@dataclass(frozen=True, eq=False)
class MapDataset:
    """Maps in a memory-mapped file."""

    maps: npt.NDArray[np.uint8]
    """(N, R, R, 6)."""

    @property
    def resolution(self) -> int:
        """R."""
        return int(self.maps.shape[1])

    def batch(self, indices: npt.NDArray[np.int64], mirrored: npt.NDArray[np.bool_]) -> Tensor:
        """(B, 6, R, R) float32 as `CHANNELS` says, slopes in their own unit; those chosen are mirrored about the face's
        axis, which the layout allows because it is symmetric."""
        stack = torch.from_numpy(self.maps[indices]).permute(0, 3, 1, 2).float()
        colors, slopes = stack[:, :4] / 255.0, (stack[:, 4:] - 128.0) / 127.0 * SLOPE_LIMIT
        batch = torch.cat([colors, slopes], 1)
        flipped = batch.flip(-1) * torch.tensor([1.0, 1.0, 1.0, 1.0, -1.0, 1.0])[:, None, None]
        return torch.where(torch.from_numpy(mirrored)[:, None, None, None], flipped, batch)

    def mean(self) -> Tensor:
        """(6, R, R) mean of the maps and their mirror images."""
        count = min(len(self.maps), 400)
        total = torch.zeros(CHANNELS, self.resolution, self.resolution)
        for index in range(count):
            both = np.array([index, index])
            total += self.batch(both, np.array([False, True])).mean(0)
        return total / count


def encode_skin(skin: Skin) -> npt.NDArray[np.uint8]:
    """(R, R, 6) bytes of one head's maps."""
    slopes = skin.normals[..., :2] / np.maximum(skin.normals[..., 2:], 0.1)
    coded = np.clip(np.rint(slopes / SLOPE_LIMIT * 127.0), -127, 127) + 128.0
    specular = np.clip(np.rint(skin.specular * 255.0), 0, 255)
    return np.concatenate([linear_to_bytes(skin.diffuse), specular.astype(np.uint8), coded.astype(np.uint8)], -1)


def build_dataset(folder: Path, count: int, resolution: int, *, first_seed: int = 0, workers: int = 1) -> MapDataset:
    """Make the skins of `count` seeds from `first_seed` on. A folder that holds exactly these is used as it is."""
    about = {"count": count, "resolution": resolution, "first_seed": first_seed, "channels": CHANNELS}
    about_path = folder / _ABOUT_FILE
    if not (about_path.is_file() and json.loads(about_path.read_text()) == about):
        folder.mkdir(parents=True, exist_ok=True)
        about_path.unlink(missing_ok=True)
        shape = (count, resolution, resolution, CHANNELS)
        maps = np.lib.format.open_memmap(folder / _DATA_FILE, "w+", np.uint8, shape)  # type: ignore[no-untyped-call]
        jobs = [(seed, resolution) for seed in range(first_seed, first_seed + count)]
        if workers > 1:
            with multiprocessing.get_context("spawn").Pool(workers, os.nice, (WORKER_NICENESS,)) as pool:
                for index, encoded in enumerate(pool.imap(_make, jobs, chunksize=8)):
                    maps[index] = encoded
        else:
            for index, job in enumerate(jobs):
                maps[index] = _make(job)
        maps.flush()
        about_path.write_text(json.dumps(about))
    return load_dataset(folder)


def load_dataset(folder: Path) -> MapDataset:
    """Open what `build_dataset` made; InputError when it is not there or of another layout."""
    path = folder / _DATA_FILE
    try:
        maps = np.load(path, mmap_mode="r")
    except (OSError, ValueError) as error:
        raise InputError(f"{path} is not a readable set of maps ({error}): build it with `build_dataset`") from error
    if maps.ndim != 4 or maps.shape[-1] != CHANNELS or maps.shape[1] != maps.shape[2] or maps.dtype != np.uint8:
        raise InputError(f"{path} has shape {maps.shape} and type {maps.dtype}, expected (N, R, R, {CHANNELS}) uint8")
    return MapDataset(maps)


def texel_weight(atlas: SkinAtlas) -> Tensor:
    """(1, 1, R, R) how much each texel matters: the face's front most, gaps between islands hardly."""
    weight = np.where(atlas.covered, 0.7, 0.05)
    front = (atlas.u < 0.28) & (atlas.v > 0.08) & (atlas.v < 0.74) & atlas.skin_like
    weight = np.where(front | atlas.is_region(Region.EYES), 1.6, weight)
    return torch.from_numpy(weight.astype(np.float32))[None, None]


def _make(job: tuple[int, int]) -> npt.NDArray[np.uint8]:
    return encode_skin(synthesize_skin(*job))
