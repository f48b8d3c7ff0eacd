"""Data set of reflectance maps for training: a folder of arrays with one row for each head.

::

    maps.npy       (N, R, R, 6) uint8 of `encoding.encode_maps`: user-supplied textures first, then synthetic heads
    factors.npy    (N, C) float32: generative factors (`factors.factor_vector`); NaN for user-supplied textures
    ita.npy        (N,) float32: individual typology angle in degrees, measured on cheeks and forehead
    seeds.npy      (N,) int64: seeds of the synthetic heads; -1 for user-supplied textures
    about.json     recipe of the set and its shares of the classes of skin tone; written last
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
from fitme.color import bytes_to_linear
from fitme.errors import FitmeError, InputError
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
    VERSION,
    GrowingSet,
    MapRow,
    migrate,
)
from fitme.training.data.encoding import channel_count, decode_bytes, encode_maps, mirrored_maps

HELD_OUT_SEED = 1_000_000
"""First seed of the held-out synthetic heads: no training set contains them."""
SUPPLIED_SEED = -1
"""Value in `MapDataset.seeds` of user-supplied textures."""
WORKER_NICENESS = 10
SKINS_PER_JOB = 4
"""Skins that a process paints before it asks for more."""
MEAN_SAMPLES = 400
"""Largest number of maps in `MapDataset.mean`."""
_PROBE_RESOLUTION = 32
_LARGEST_TRIES = 30
"""Ratio of tried seeds to wanted skins at which a balanced set is given up."""


@dataclass(frozen=True, eq=False)
class MapDataset:
    """Maps in a memory-mapped file, and their factors, skin tones and seeds."""

    maps: UInt8Array
    """(N, R, R, 6) encoded as `encode_maps` does."""
    factors: Float32Array
    """(N, C) in the order of `factors.factor_vector`; NaN for user-supplied textures."""
    ita_deg: Float32Array
    """(N,) individual typology angle, degrees, measured on the diffuse albedo."""
    seeds: Int64Array
    """(N,) seeds of the synthetic heads; `SUPPLIED_SEED` for user-supplied textures."""

    @property
    def resolution(self) -> int:
        """Texels a side."""
        return int(self.maps.shape[1])

    def batch(self, indices: Int64Array, mirrored: BoolArray) -> Tensor:
        """Maps (B, 6, R, R), float32, as `decode_bytes` returns them; those with `mirrored` (B,) set are mirrored about
        the face's axis, which the symmetric layout allows."""
        batch = decode_bytes(torch.from_numpy(self.maps[indices]))
        return torch.where(torch.from_numpy(mirrored)[:, None, None, None], mirrored_maps(batch), batch)

    def mean(self) -> Tensor:
        """Mean (6, R, R) of the first maps and their mirror images."""
        count = min(len(self.maps), MEAN_SAMPLES)
        total = torch.zeros(channel_count(), self.resolution, self.resolution)
        for index in range(count):
            both = np.array([index, index])
            total += self.batch(both, np.array([False, True])).mean(0)
        return total / count


@dataclass(frozen=True)
class SuppliedMaps:
    """Maps of user-supplied textures, which a set contains besides synthetic heads."""

    count: int
    """M."""
    recipe: dict[str, Any]
    """JSON value that identifies the maps: a set is rebuilt when it changes."""
    make: Callable[[], Iterator[UInt8Array]]
    """Yields M maps (R, R, 6), encoded as `encode_maps` does."""


@dataclass(frozen=True)
class _Plan:
    """Contents of a set."""

    skins: int
    resolution: int
    first_seed: int
    balanced: bool
    supplied: SuppliedMaps | None

    @property
    def supplied_count(self) -> int:
        return self.supplied.count if self.supplied else 0

    @property
    def total(self) -> int:
        return self.skins + self.supplied_count

    def recipe(self) -> dict[str, Any]:
        """JSON value that identifies the set. The painter's version is the digest of a small skin that it paints."""
        probe = synthesize_skin(self.first_seed, _PROBE_RESOLUTION)
        painted = encode_maps(probe.arrays).tobytes()
        return {
            "version": VERSION,
            "skins": self.skins,
            "resolution": self.resolution,
            "first_seed": self.first_seed,
            "channels": channel_count(),
            "factors": FACTOR_COUNT,
            "balanced": self.balanced,
            "painter": hashlib.sha256(painted).hexdigest()[:16],
            "supplied": self.supplied.recipe if self.supplied else None,
        }


def build_dataset(
    folder: Path,
    count: int,
    resolution: int,
    *,
    first_seed: int = 0,
    workers: int = 1,
    balanced: bool = False,
    supplied: SuppliedMaps | None = None,
    replace: bool = True,
    progress: Callable[[int, int], None] | None = None,
) -> MapDataset:
    """Build a set of `count` synthetic skins from the seeds from `first_seed` on, after the supplied maps if any.

    A folder that already holds this set is used as it is; an interrupted build is resumed.

    :param resolution: texels a side.
    :param workers: processes that paint; the result does not depend on it.
    :param balanced: skip seeds whose class of skin tone is full, so that every class's share lies between
        `skin_tone_classes.SMALLEST_SHARE` and `LARGEST_SHARE`.
    :param replace: rebuild where the folder holds another set, instead of an InputError.
    :param progress: called with the number of maps so far and in total.
    :raises InputError: if the folder holds another set and `replace` is not given.
    :raises StoreError: if the disk is full.
    """
    plan = _Plan(count, resolution, first_seed, balanced, supplied)
    recipe = plan.recipe()
    migrate(folder)
    if (folder / ABOUT_FILE).is_file():
        if _read_about(folder).get("recipe") == recipe:
            return load_dataset(folder)
        if not replace:
            raise InputError(
                f"{folder} holds another set of maps ({_read_about(folder).get('recipe')}, wanted {recipe}): give"
                " another folder, or --replace"
            )
    map_shape = (resolution, resolution, channel_count())
    with GrowingSet(folder, recipe, plan.total, map_shape, FACTOR_COUNT) as growing:
        if progress:
            progress(len(growing), plan.total)
        for row in _rows(growing, plan, workers):
            growing.append(row)
            if progress:
                progress(len(growing), plan.total)
        counts = SkinToneCounts.of(np.array(growing.ita_deg))
        shares = [round(share, 4) for share in counts.shares]
        classes = {name: {"maps": n, "share": s} for name, n, s in zip(CLASS_NAMES, counts.counts, shares, strict=True)}
        growing.finish({"recipe": recipe, "classes": classes})
    return load_dataset(folder)


def load_dataset(folder: Path) -> MapDataset:
    """Open a set that `build_dataset` built; sets of version 1 are migrated in place.

    :raises InputError: if the set is missing, unfinished, damaged, or of another version of the painter or the files.
    """
    migrate(folder)
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
    maps, channels = arrays[MAPS_FILE], channel_count()
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
    """Weights (1, 1, R, R) of texels in training losses: the front of the face most, gaps between islands hardly."""
    weight = np.where(texel_geometry.covered, 0.7, 0.05)
    front = (texel_geometry.u < 0.28) & (texel_geometry.v > 0.08) & (texel_geometry.v < 0.74) & texel_geometry.skin_like
    weight = np.where(front | texel_geometry.is_region(Region.EYES), 1.6, weight)
    return torch.from_numpy(weight.astype(np.float32))[None, None]


def _rows(growing: GrowingSet, plan: _Plan, workers: int) -> Iterator[MapRow]:
    """Missing rows of a set."""
    # Supplied maps come first: the synthetic skins after them even out the classes of skin tone.
    yield from _supplied_rows(growing, plan)
    limit = ita_class_limit(plan.total) if plan.balanced else plan.total
    next_seed = max([plan.first_seed - 1, *growing.seeds]) + 1
    tried = 0
    with _Painters(workers) as paint:
        while len(growing) < plan.total:
            missing = plan.total - len(growing)
            if tried > _LARGEST_TRIES * plan.skins + _LARGEST_TRIES:
                raise FitmeError(
                    f"after {tried} seeds {missing} of {plan.skins} skins are missing because their classes of skin"
                    f" tone {SkinToneCounts.of(np.array(growing.ita_deg)).counts} are full: supply more even textures"
                )
            # As many seeds as skins are missing: the set ends at the same seed with any number of workers.
            jobs = [(seed, plan.resolution) for seed in range(next_seed, next_seed + missing)]
            next_seed, tried = next_seed + missing, tried + missing
            for row in paint(jobs):
                members = ita_class_index(np.array(growing.ita_deg)).tolist().count(int(ita_class_index(row.ita_deg)))
                if members < limit:
                    yield row


def _supplied_rows(growing: GrowingSet, plan: _Plan) -> Iterator[MapRow]:
    """Missing rows of the supplied maps; their factors are unknown."""
    if plan.supplied is None or len(growing) >= plan.supplied.count:
        return
    texel_geometry = default_texel_geometry(plan.resolution)
    unknown = np.full(FACTOR_COUNT, np.nan, np.float32)
    for index, maps in enumerate(plan.supplied.make()):
        if index >= len(growing):
            ita_deg = skin_ita_deg(bytes_to_linear(maps[..., :3]), texel_geometry)
            yield MapRow(maps, unknown, ita_deg, SUPPLIED_SEED)


class _Painters:
    """Processes that paint, as a context manager whose value turns jobs (seed, resolution) into rows in their order."""

    def __init__(self, workers: int) -> None:
        context = multiprocessing.get_context("spawn")
        settings: dict[str, Any] = {"mp_context": context, "initializer": os.nice, "initargs": (WORKER_NICENESS,)}
        self._pool = ProcessPoolExecutor(workers, **settings) if workers > 1 else None

    def __enter__(self) -> Callable[[list[tuple[int, int]]], Iterator[MapRow]]:
        if self._pool is None:
            return lambda jobs: map(_paint_row, jobs)
        pool = self._pool
        return lambda jobs: pool.map(_paint_row, jobs, chunksize=SKINS_PER_JOB)

    def __exit__(self, *_: object) -> None:
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)


def _paint_row(job: tuple[int, int]) -> MapRow:
    """Row of the synthetic head of a seed at a resolution."""
    seed, resolution = job
    skin = synthesize_skin(seed, resolution)
    ita_deg = skin_ita_deg(skin.diffuse, default_texel_geometry(resolution))
    return MapRow(encode_maps(skin.arrays), factor_vector(skin.factors), ita_deg, seed)


def _read_about(folder: Path) -> dict[str, Any]:
    """Content of the folder's `about.json`; empty if it is damaged or of other software."""
    try:
        about = json.loads((folder / ABOUT_FILE).read_text())
    except ValueError:
        return {}
    return about if isinstance(about, dict) else {}
