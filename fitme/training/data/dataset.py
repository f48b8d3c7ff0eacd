"""A folder of reflectance maps for training, and the numbers that training compares.

::

    maps.npy       (N, R, R, 6) uint8, see `encode_maps`: given maps, if any, then made skins
    causes.npy     (N, C) float32: what the painter was told (`factors.factor_vector`); NaN for given maps
    typology.npy   (N,) float32: typology angle in degrees, measured on cheeks and forehead
    seeds.npy      (N,) int64: the made skins' seeds; -1 for given maps
    about.json     how the set was made, and its spread over the classes of skin tone; written last
"""

import hashlib
import json
import multiprocessing
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from fitme.arrays import BoolArray, Float32Array, Int64Array, UInt8Array
from fitme.color import bytes_to_linear, linear_to_bytes, linear_to_srgb
from fitme.errors import FitmeError, InputError
from fitme.reflectance.generator import split_channels
from fitme.reflectance.map_arrays import MapArrays
from fitme.reflectance.maps import ReflectanceMaps
from fitme.reflectance.modality import MODALITIES, Encoding, Modality
from fitme.shape.regions import Region
from fitme.skin.factors import FACTOR_COUNT, factor_vector
from fitme.skin.painter import synthesize_skin
from fitme.skin.skin_tone_classes import CLASS_NAMES, SkinToneCounts, ita_class_index, ita_class_limit, skin_ita_deg
from fitme.skin.texel_geometry import TexelGeometry, default_texel_geometry
from fitme.training.data.dataset_files import (
    ABOUT_FILE,
    FACTORS_FILE,
    ITA_FILE,
    MAPS_FILE,
    SEEDS_FILE,
    GrowingSet,
    MapRow,
)

SLOPE_LIMIT = 0.6
"""Slope that the largest byte stands for."""
HELD_OUT_SEED = 1_000_000
"""Made heads of this seed and the following are for measuring only: no training set has them."""
SUPPLIED_SEED = -1
"""Stands in `MapDataset.seeds` for a map that was not made from a seed."""
WORKER_NICENESS = 10
JOBS_AT_ONCE = 4
"""Skins that a process paints before it asks for more."""
_PROBE_RESOLUTION = 32
_MOST_TRIES = 30
"""How many times as many seeds as there are skins to make are tried before a balanced set is given up."""


@dataclass(frozen=True, eq=False)
class MapDataset:
    """Maps in a memory-mapped file, and a row of numbers for each."""

    maps: UInt8Array
    """(N, R, R, 6)."""
    factors: Float32Array
    """(N, C) as `factors.factor_vector` has them; NaN for given maps."""
    ita_deg: Float32Array
    """(N,) individual typology angle, degrees, measured on the diffuse albedo."""
    seeds: Int64Array
    """(N,) what each skin was made from; `SUPPLIED_SEED` for given maps."""

    @property
    def resolution(self) -> int:
        """R."""
        return int(self.maps.shape[1])

    def batch(self, indices: Int64Array, mirrored: BoolArray) -> Tensor:
        """(B, 6, R, R) float32 as `decode_bytes` gives them; those chosen are mirrored about the face's axis, which the
        layout allows because it is symmetric."""
        batch = decode_bytes(torch.from_numpy(self.maps[indices]))
        flipped = batch.flip(-1) * torch.tensor(_mirror_signs())[:, None, None]
        return torch.where(torch.from_numpy(mirrored)[:, None, None, None], flipped, batch)

    def mean(self) -> Tensor:
        """(6, R, R) mean of the maps and their mirror images."""
        count = min(len(self.maps), 400)
        total = torch.zeros(channel_count(), self.resolution, self.resolution)
        for index in range(count):
            both = np.array([index, index])
            total += self.batch(both, np.array([False, True])).mean(0)
        return total / count


@dataclass(frozen=True)
class SuppliedMaps:
    """Encoded maps from elsewhere that a set shall hold besides made skins."""

    count: int
    """M."""
    recipe: dict[str, Any]
    """What decides them, as JSON has it: the set is made anew when this changes."""
    make: Callable[[], Iterator[UInt8Array]]
    """Gives M maps (R, R, 6), encoded as `encode_maps` does."""


def channel_count() -> int:
    """Channels of training data, 6 while the table has the three modalities: sRGB-encoded diffuse albedo (3), specular
    albedo (1), slopes of the surface along u and up the layout (2)."""
    return sum(modality.raw_channels for modality in MODALITIES.generated)


def encode_maps(maps: MapArrays) -> UInt8Array:
    """(R, R, 6) bytes of maps (R, R, C) of all generated modalities: colours sRGB-encoded, other values linear, normals
    as slopes from -`SLOPE_LIMIT` to `SLOPE_LIMIT`."""
    by_name = maps.by_name()
    return np.concatenate([_to_bytes(modality, by_name[modality.name]) for modality in MODALITIES.generated], -1)


def _to_bytes(modality: Modality, values: Float32Array) -> UInt8Array:
    """(R, R, channels) bytes of a map (R, R, C)."""
    if modality.encoding is Encoding.COLOR:
        return linear_to_bytes(values)
    if modality.encoding is Encoding.LINEAR:
        return np.asarray(np.clip(np.rint(values * 255.0), 0, 255), np.uint8)
    slopes = values[..., :2] / np.maximum(values[..., 2:], 0.1)
    return np.asarray(np.clip(np.rint(slopes / SLOPE_LIMIT * 127.0), -127, 127) + 128.0, np.uint8)


def decode_bytes(maps: Tensor) -> Tensor:
    """(B, 6, R, R) float32 of bytes (B, R, R, 6) of `encode_maps`: values in [0, 1], slopes in their own unit."""
    stack = maps.permute(0, 3, 1, 2).float()
    parts = split_channels(stack, MODALITIES.generated)
    return torch.cat([_from_bytes(MODALITIES[name], part) for name, part in parts.items()], 1)


def _from_bytes(modality: Modality, values: Tensor) -> Tensor:
    if modality.encoding is Encoding.TANGENT_NORMAL:
        return (values - 128.0) / 127.0 * SLOPE_LIMIT
    return values / 255.0


def encoded_maps(maps: ReflectanceMaps) -> Tensor:
    """(B, 6, R, R) of maps, as `decode_bytes` gives them but not rounded to bytes."""
    by_name = maps.by_name()
    parts = [_channels_of(modality, by_name[modality.name]) for modality in MODALITIES.generated]
    return torch.cat(parts, -1).permute(0, 3, 1, 2)


def _channels_of(modality: Modality, values: Tensor) -> Tensor:
    """(B, R, R, channels) of a map (B, R, R, C)."""
    if modality.encoding is Encoding.TANGENT_NORMAL:
        return values[..., :2] / values[..., 2:].clamp(min=0.1)
    return linear_to_srgb(values) if modality.encoding is Encoding.COLOR else values


def _mirror_signs() -> list[float]:
    """Of each channel where a map is mirrored: the slope along u turns round."""
    signs = []
    for modality in MODALITIES.generated:
        slopes = modality.encoding is Encoding.TANGENT_NORMAL
        signs += [-1.0, 1.0] if slopes else [1.0] * modality.raw_channels
    return signs


def build_dataset(
    folder: Path,
    count: int,
    resolution: int,
    *,
    first_seed: int = 0,
    workers: int = 1,
    balanced: bool = False,
    given: SuppliedMaps | None = None,
    replace: bool = True,
    progress: Callable[[int, int], None] | None = None,
) -> MapDataset:
    """Make a set of `count` skins from the seeds from `first_seed` on, after the given maps if there are any.

    A folder that holds exactly this is used as it is; a run that was cut off is gone on with.

    :param workers: processes that paint; the result does not depend on it.
    :param balanced: pass over seeds whose class of skin tone is full, so that every class's share is within
        `typology.SMALLEST_SHARE` and `LARGEST_SHARE`.
    :param replace: make the set anew where the folder holds another one; otherwise that is an InputError.
    :param progress: is told how many maps of how many there are.
    """
    total = count + (given.count if given else 0)
    recipe = _recipe(count, resolution, first_seed, balanced, given)
    if (folder / ABOUT_FILE).is_file():
        if _read_about(folder).get("recipe") == recipe:
            return load_dataset(folder)
        if not replace:
            raise InputError(
                f"{folder} holds another set of maps ({_read_about(folder).get('recipe')}, wanted {recipe}): give"
                " another folder, or --replace"
            )
    with GrowingSet(folder, recipe, total, (resolution, resolution, channel_count()), FACTOR_COUNT) as growing:
        if progress:
            progress(len(growing), total)
        for row in _rows(growing, count, resolution, first_seed, workers, balanced, given):
            growing.append(row)
            if progress:
                progress(len(growing), total)
        report = SkinToneCounts.of(np.array(growing.ita_deg))
        classes = {name: {"maps": n, "share": s} for name, n, s in zip(CLASS_NAMES, *_columns(report), strict=True)}
        growing.finish({"recipe": recipe, "classes": classes})
    return load_dataset(folder)


def load_dataset(folder: Path) -> MapDataset:
    """Open what `build_dataset` made; InputError when it is not there, unfinished or of another layout."""
    if not (folder / ABOUT_FILE).is_file():
        raise InputError(f"{folder} holds no finished set of maps: build it with `fitme data build --out {folder}`")
    arrays = {}
    for name in (MAPS_FILE, FACTORS_FILE, ITA_FILE, SEEDS_FILE):
        path = folder / name
        try:
            arrays[name] = np.load(path, mmap_mode="r" if name == MAPS_FILE else None)
        except (OSError, ValueError, EOFError) as error:
            raise InputError(
                f"{path} is not readable ({error}): build the set again with `fitme data build`"
            ) from error
    maps = arrays[MAPS_FILE]
    channels = channel_count()
    if maps.ndim != 4 or maps.shape[-1] != channels or maps.shape[1] != maps.shape[2] or maps.dtype != np.uint8:
        raise InputError(
            f"{folder / MAPS_FILE} has shape {maps.shape} and type {maps.dtype}, expected (N, R, R, {channels}) uint8"
        )
    for name, shape in ((FACTORS_FILE, (len(maps), FACTOR_COUNT)), (ITA_FILE, (len(maps),))):
        if arrays[name].shape != shape:
            raise InputError(
                f"{folder / name} has shape {arrays[name].shape}, expected {shape}: the set was made by another version"
                " of the painter; build it again with `fitme data build`"
            )
    return MapDataset(maps, arrays[FACTORS_FILE], arrays[ITA_FILE], arrays[SEEDS_FILE])


def texel_weight(texel_geometry: TexelGeometry) -> Tensor:
    """(1, 1, R, R) how much each texel matters: the face's front most, gaps between islands hardly."""
    weight = np.where(texel_geometry.covered, 0.7, 0.05)
    front = (texel_geometry.u < 0.28) & (texel_geometry.v > 0.08) & (texel_geometry.v < 0.74) & texel_geometry.skin_like
    weight = np.where(front | texel_geometry.is_region(Region.EYES), 1.6, weight)
    return torch.from_numpy(weight.astype(np.float32))[None, None]


def _rows(
    growing: GrowingSet,
    count: int,
    resolution: int,
    first_seed: int,
    workers: int,
    balanced: bool,
    given: SuppliedMaps | None,
) -> Iterator[MapRow]:
    """The rows that are still missing: given maps first, so that made skins even out their tones."""
    given_count = given.count if given else 0
    texel_geometry = default_texel_geometry(resolution)
    if given and len(growing) < given_count:
        unknown = np.full(FACTOR_COUNT, np.nan, np.float32)
        for index, maps in enumerate(given.make()):
            if index >= len(growing):
                angle = skin_ita_deg(bytes_to_linear(maps[..., :3]), texel_geometry)
                yield MapRow(maps, unknown, angle, SUPPLIED_SEED)
    total = count + given_count
    limit = ita_class_limit(total) if balanced else total
    next_seed = max([first_seed - 1, *growing.seeds]) + 1
    tried = 0
    with _Painters(workers) as paint:
        while len(growing) < total:
            missing = total - len(growing)
            if tried > _MOST_TRIES * count + _MOST_TRIES:
                raise FitmeError(
                    f"after {tried} seeds {missing} of {count} skins are missing because their classes of skin tone"
                    f" {SkinToneCounts.of(np.array(growing.ita_deg)).counts} are full: give more even maps"
                )
            jobs = [(seed, resolution) for seed in range(next_seed, next_seed + missing)]
            next_seed, tried = next_seed + missing, tried + missing
            for row in paint(jobs):
                taken = ita_class_index(np.array(growing.ita_deg)).tolist().count(int(ita_class_index(row.ita_deg)))
                if taken < limit:
                    yield row


class _Painters:
    """Processes that paint, as a context manager whose value turns jobs into rows in their order."""

    def __init__(self, workers: int) -> None:
        context = multiprocessing.get_context("spawn")
        settings: dict[str, Any] = {"mp_context": context, "initializer": os.nice, "initargs": (WORKER_NICENESS,)}
        self._pool = ProcessPoolExecutor(workers, **settings) if workers > 1 else None

    def __enter__(self) -> Callable[[list[tuple[int, int]]], Iterator[MapRow]]:
        if self._pool is None:
            return lambda jobs: map(_make, jobs)
        pool = self._pool
        return lambda jobs: pool.map(_make, jobs, chunksize=JOBS_AT_ONCE)

    def __exit__(self, *_: object) -> None:
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)


def _make(job: tuple[int, int]) -> MapRow:
    seed, resolution = job
    skin = synthesize_skin(seed, resolution)
    angle = skin_ita_deg(skin.diffuse, default_texel_geometry(resolution))
    return MapRow(encode_maps(skin.arrays), factor_vector(skin.factors), angle, seed)


def _recipe(count: int, resolution: int, first_seed: int, balanced: bool, given: SuppliedMaps | None) -> dict[str, Any]:
    """What decides a set. The painter is known by a small picture that it paints."""
    probe = synthesize_skin(first_seed, _PROBE_RESOLUTION)
    painted = encode_maps(probe.arrays).tobytes()
    return {
        "skins": count,
        "resolution": resolution,
        "first_seed": first_seed,
        "channels": channel_count(),
        "causes": FACTOR_COUNT,
        "balanced": balanced,
        "painter": hashlib.sha256(painted).hexdigest()[:16],
        "given": given.recipe if given else None,
    }


def _read_about(folder: Path) -> dict[str, Any]:
    try:
        about = json.loads((folder / ABOUT_FILE).read_text())
    except ValueError:
        return {}  # Not ours or damaged: nothing that could be used as it is.
    return about if isinstance(about, dict) else {}


def _columns(report: SkinToneCounts) -> tuple[tuple[int, ...], list[float]]:
    return report.counts, [round(share, 4) for share in report.shares]
