"""Files of a data set of maps: they grow by one map at a time, an interrupted build is resumed, and the final names
appear only when every map is written. Sets of version 1, with other names, are migrated."""

import errno
import io
import json
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Self

import numpy as np

from fitme.arrays import Float32Array, UInt8Array
from fitme.atomic_file import PARTIAL_SUFFIX, atomic_file, partial_path
from fitme.errors import FitmeError, InputError, StoreError

MAPS_FILE, FACTORS_FILE, ITA_FILE, SEEDS_FILE = "maps.npy", "factors.npy", "ita.npy", "seeds.npy"
ABOUT_FILE = "about.json"
VERSION = 2
"""Version of the files, in the recipe. Version 1 had no version and other names of files and keys, see `migrate`."""
_RENAMED_FILES = {"causes.npy": FACTORS_FILE, "typology.npy": ITA_FILE}
_RENAMED_KEYS = {"causes": "factors", "given": "supplied"}
_RENAMED_SUPPLIED_KEYS = {"pictures": "images"}
"""Names of version 1, and those that replaced them."""

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""Error numbers of a full disk, a full quota and the largest file."""
_SPARE_BYTES = 1 << 20
"""Space for headers and `about.json`."""


@dataclass(frozen=True)
class MapRow:
    """One head of a set."""

    maps: UInt8Array
    """(R, R, 6) as `encoding.encode_maps` encodes them."""
    factors: Float32Array
    """(C,) NaN where unknown."""
    ita_deg: float
    seed: int
    """Seed of a synthetic head, else `dataset.SUPPLIED_SEED`."""


@dataclass
class GrowingSet:
    """Set under construction: a context manager that appends `total` rows and ends with `finish`.

    Rows of an interrupted build of an equal recipe are kept: `ita_deg` and `seeds` contain theirs.
    """

    folder: Path
    recipe: dict[str, Any]
    """JSON value that identifies the set."""
    total: int
    map_shape: tuple[int, int, int]
    factor_count: int
    ita_deg: list[float] = field(default_factory=list, init=False)
    seeds: list[int] = field(default_factory=list, init=False)

    def __enter__(self) -> Self:
        self.folder.mkdir(parents=True, exist_ok=True)
        self._recipe_path = partial_path(self.folder / ABOUT_FILE)
        names = (MAPS_FILE, FACTORS_FILE, ITA_FILE, SEEDS_FILE)
        self._paths = [partial_path(self.folder / name) for name in names]
        self._types: tuple[np.dtype[Any], ...] = tuple(np.dtype(name) for name in ("u1", "<f4", "<f4", "<i8"))
        self._shapes: tuple[tuple[int, ...], ...] = (self.map_shape, (self.factor_count,), (), ())
        self._sizes = [t.itemsize * int(np.prod(s)) for t, s in zip(self._types, self._shapes, strict=True)]
        self._headers = [_header(t, (self.total, *s)) for t, s in zip(self._types, self._shapes, strict=True)]
        # Rows are whole where every file has them: the shortest file counts, longer ones are cut.
        kept = self._rows_of_interrupted_build()
        self._check_space(self.total - kept)
        self._files: list[BinaryIO] = []
        if kept == 0:
            self._recipe_path.write_text(json.dumps(self.recipe))
        for path, header, size in zip(self._paths, self._headers, self._sizes, strict=True):
            file: BinaryIO = path.open("r+b" if kept else "w+b")
            self._files.append(file)
            if kept == 0:
                file.write(header)
            file.truncate(len(header) + kept * size)
            file.seek(len(header))
        if kept:
            self.ita_deg = np.fromfile(self._files[2], np.float32, kept).tolist()
            self.seeds = np.fromfile(self._files[3], np.int64, kept).tolist()
        for file in self._files:
            file.seek(0, 2)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for file in self._files:
            file.close()

    def __len__(self) -> int:
        return len(self.seeds)

    def append(self, row: MapRow) -> None:
        """Append a row; StoreError when the disk is full, with the rows so far kept for the next build."""
        values: tuple[Any, ...] = (row.maps, row.factors, row.ita_deg, row.seed)
        try:
            for file, value, kind, size in zip(self._files, values, self._types, self._sizes, strict=True):
                data = np.asarray(value, kind).tobytes()
                if len(data) != size:
                    raise ValueError(f"a row of {len(data)} bytes where {size} are expected")
                file.write(data)
                file.flush()
        except OSError as error:
            if error.errno in _FULL:
                raise StoreError(
                    f"{self.folder}: the disk is full after {len(self)} of {self.total} maps: free"
                    f" {(self.total - len(self)) * sum(self._sizes) / 1e9:.2f} GB and run the same command again; it"
                    " goes on from there"
                ) from error
            raise
        self.ita_deg.append(row.ita_deg)
        self.seeds.append(row.seed)

    def finish(self, about: dict[str, Any]) -> None:
        """Rename the files to their final names; `about` (a JSON value) is the last."""
        if len(self) != self.total:
            raise FitmeError(f"{self.folder}: only {len(self)} of {self.total} maps were made")
        for file in self._files:
            file.close()
        self._recipe_path.write_text(json.dumps(about, indent=1))
        # Without `about.json` the folder holds no finished set: files of an old set never count with new ones.
        (self.folder / ABOUT_FILE).unlink(missing_ok=True)
        for path in (*self._paths, self._recipe_path):
            path.replace(path.with_name(path.name.removesuffix(PARTIAL_SUFFIX)))

    def _rows_of_interrupted_build(self) -> int:
        """Number of whole rows of an interrupted build of an equal recipe."""
        try:
            same = json.loads(self._recipe_path.read_text()) == self.recipe
            sizes = [path.stat().st_size for path in self._paths]
        except (OSError, ValueError):
            return 0  # No build was interrupted here, or its files are unusable.
        rows = [(s - len(h)) // size for s, h, size in zip(sizes, self._headers, self._sizes, strict=True)]
        return max(0, min(rows)) if same else 0

    def _check_space(self, rows: int) -> None:
        """StoreError if the disk has no room for so many rows."""
        needed = rows * sum(self._sizes) + _SPARE_BYTES
        free = shutil.disk_usage(self.folder).free
        reusable = sum(path.stat().st_size for path in self._paths if path.is_file() and rows == self.total)
        if needed > free + reusable:
            raise StoreError(
                f"{self.folder}: {rows} maps take {needed / 1e9:.2f} GB and the disk has {free / 1e9:.2f} GB free: make"
                " fewer or smaller maps, or give a folder on another disk"
            )


def migrate(folder: Path) -> None:
    """Rename the files and the recipe's keys of a set of version 1, finished or interrupted; contents do not change.

    :raises InputError: if the set is of a later version, or the folder cannot be written.
    """
    for suffix in ("", PARTIAL_SUFFIX):
        about_path = folder / (ABOUT_FILE + suffix)
        try:
            about = json.loads(about_path.read_text())
            recipe = about if suffix else about.get("recipe")
        except (OSError, ValueError, AttributeError):
            continue  # No set, or a damaged one, which is built again.
        if not isinstance(recipe, dict) or recipe.get("version") == VERSION:
            continue
        if "version" in recipe:
            raise InputError(
                f"{folder} holds a set of version {recipe['version']}, this release reads version {VERSION}: use the"
                " release that built it, or another folder"
            )
        migrated = _migrated_recipe(recipe)
        try:
            # Arrays first: if this is interrupted, the recipe is still of version 1 and the next call finishes.
            for old, new in _RENAMED_FILES.items():
                if (folder / (old + suffix)).is_file():
                    (folder / (old + suffix)).replace(folder / (new + suffix))
            with atomic_file(about_path) as partial:
                partial.write_text(json.dumps(migrated if suffix else {**about, "recipe": migrated}, indent=1))
        except OSError as error:
            raise InputError(
                f"{folder} holds a set of version 1 whose files cannot be renamed ({error.strerror}): make the folder"
                " writable, or copy it"
            ) from error


def _migrated_recipe(recipe: dict[str, Any]) -> dict[str, Any]:
    """Recipe of version 1 with the names of `VERSION`."""
    migrated = {_RENAMED_KEYS.get(key, key): value for key, value in recipe.items()}
    supplied = migrated.get("supplied")
    if isinstance(supplied, dict):
        migrated["supplied"] = {_RENAMED_SUPPLIED_KEYS.get(key, key): value for key, value in supplied.items()}
    return {"version": VERSION, **migrated}


def _header(dtype: np.dtype[Any], shape: tuple[int, ...]) -> bytes:
    """Header of an `.npy` file of an array."""
    buffer = io.BytesIO()
    about = {"descr": dtype.str, "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(buffer, about)  # type: ignore[no-untyped-call]
    return buffer.getvalue()
