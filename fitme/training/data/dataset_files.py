"""The files of a set of maps while it is being made: they grow by one map at a time, a run that was cut off is gone on
with, and the final names appear only when everything is there."""

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
from fitme.errors import FitmeError, StoreError

MAPS_FILE, FACTORS_FILE, ITA_FILE, SEEDS_FILE = "maps.npy", "causes.npy", "typology.npy", "seeds.npy"
ABOUT_FILE = "about.json"
PARTIAL = ".partial"

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""What the system says when a disk, a quota or the largest file is full."""
_SPARE_BYTES = 1 << 20


@dataclass(frozen=True)
class MapRow:
    """One head of a set."""

    maps: UInt8Array
    """(R, R, C)."""
    factors: Float32Array
    """(K,)."""
    ita_deg: float
    seed: int


@dataclass
class GrowingSet:
    """Writes `total` rows one after the other; use it as a context manager and end with `finish`.

    Rows that an interrupted run of the same recipe has written are kept: `ita_deg` and `seeds` hold them.
    """

    folder: Path
    recipe: dict[str, Any]
    """What the set is made of, as JSON has it."""
    total: int
    map_shape: tuple[int, int, int]
    factor_count: int
    ita_deg: list[float] = field(default_factory=list, init=False)
    seeds: list[int] = field(default_factory=list, init=False)

    def __enter__(self) -> Self:
        self.folder.mkdir(parents=True, exist_ok=True)
        self._recipe_path = self.folder / (ABOUT_FILE + PARTIAL)
        names = (MAPS_FILE, FACTORS_FILE, ITA_FILE, SEEDS_FILE)
        self._paths = [self.folder / (name + PARTIAL) for name in names]
        self._types: tuple[np.dtype[Any], ...] = tuple(np.dtype(name) for name in ("u1", "<f4", "<f4", "<i8"))
        self._shapes: tuple[tuple[int, ...], ...] = (self.map_shape, (self.factor_count,), (), ())
        self._sizes = [t.itemsize * int(np.prod(s)) for t, s in zip(self._types, self._shapes, strict=True)]
        self._headers = [_header(t, (self.total, *s)) for t, s in zip(self._types, self._shapes, strict=True)]
        kept = self._rows_of_interrupted_run()
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
        """Add a row; StoreError when the disk is full, with what is there kept for the next run."""
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
        """Give the files their names; `about` is written last."""
        if len(self) != self.total:
            raise FitmeError(f"{self.folder}: only {len(self)} of {self.total} maps were made")
        for file in self._files:
            file.close()
        final = self.folder / ABOUT_FILE
        self._recipe_path.write_text(json.dumps(about, indent=1))
        final.unlink(missing_ok=True)
        for path in (*self._paths, self._recipe_path):
            path.replace(path.with_name(path.name.removesuffix(PARTIAL)))

    def _rows_of_interrupted_run(self) -> int:
        try:
            same = json.loads(self._recipe_path.read_text()) == self.recipe
            sizes = [path.stat().st_size for path in self._paths]
        except (OSError, ValueError):
            return 0  # No run was interrupted here, or one that left nothing to go on from.
        rows = [(s - len(h)) // size for s, h, size in zip(sizes, self._headers, self._sizes, strict=True)]
        return max(0, min(rows)) if same else 0

    def _check_space(self, rows: int) -> None:
        needed = rows * sum(self._sizes) + _SPARE_BYTES
        free = shutil.disk_usage(self.folder).free
        reusable = sum(path.stat().st_size for path in self._paths if path.is_file() and rows == self.total)
        if needed > free + reusable:
            raise StoreError(
                f"{self.folder}: {rows} maps take {needed / 1e9:.2f} GB and the disk has {free / 1e9:.2f} GB free: make"
                " fewer or smaller maps, or give a folder on another disk"
            )


def _header(dtype: np.dtype[Any], shape: tuple[int, ...]) -> bytes:
    """The beginning of an `.npy` file of such an array."""
    buffer = io.BytesIO()
    about = {"descr": dtype.str, "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(buffer, about)  # type: ignore[no-untyped-call]
    return buffer.getvalue()
