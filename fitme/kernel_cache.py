"""Numba's compiled kernels on disk: a folder that can be written, without files that were cut off."""

import logging
import os
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

import numba

from fitme.errors import BackendError

logger = logging.getLogger(__name__)

_OWNER_ONLY = 0o700
_CACHE_ENDINGS = ("*.nbi", "*.nbc")
"""Numba's files of a kernel: an index and its compiled variants, each a pickle."""
_LAST_OPCODE = b"."
"""With which every pickle ends."""


@cache
def ensure_kernel_cache() -> None:
    """Let numba keep kernels beside the code or in the user's cache; if it can write neither, in a temporary folder of
    the user's own, with a warning. `NUMBA_CACHE_DIR`, where set, is taken as it is.

    Call this before the first kernel is declared: numba looks for a folder at each declaration.

    :raises BackendError: the temporary folder belongs to somebody else.
    """
    config: Any = numba.config  # Its attributes come from the environment.
    if config.CACHE_DIR:
        return
    try:
        numba.njit(cache=True)(_probe)
    except RuntimeError:  # "cannot cache function: no locator available"
        folder = Path(tempfile.gettempdir()) / f"fitme-kernels-{os.getuid()}"
        folder.mkdir(mode=_OWNER_ONLY, exist_ok=True)
        # Compiled code is loaded from there: nobody else may have put it there.
        status = folder.lstat()
        if status.st_uid != os.getuid() or status.st_mode & 0o077 or not folder.is_dir() or folder.is_symlink():
            raise BackendError(
                f"{folder} belongs to somebody else, and neither the package's folder nor the home can be written: "
                "set NUMBA_CACHE_DIR to a folder of your own"
            ) from None
        config.CACHE_DIR = str(folder)
        logger.warning(
            "compiled kernels are kept in %s, since neither the package's folder nor the home can be written; "
            "NUMBA_CACHE_DIR names another folder",
            folder,
        )


def cached_kernel(function: Any, **options: Any) -> Any:  # noqa: ANN401 (numba is untyped)
    """A function compiled by numba on first call with options of `numba.njit`, and kept on disk.

    :raises BackendError: a file in the cache is cut off and cannot be removed.
    """
    ensure_kernel_cache()
    compiled = numba.njit(cache=True, **options)(function)
    remove_cut_files(Path(compiled.stats.cache_path))
    return compiled


@cache
def remove_cut_files(folder: Path) -> None:
    """Remove files of the cache that a crash or a full disk has cut off, once a process: numba fails on them.

    :raises BackendError: one cannot be removed.
    """
    for file in (file for ending in _CACHE_ENDINGS for file in folder.glob(ending)):
        try:
            if _is_cut(file):
                file.unlink(missing_ok=True)
        except OSError as error:
            raise BackendError(
                f"{file}: a compiled kernel is cut off and cannot be removed ({error.strerror}): remove it, or set "
                "NUMBA_CACHE_DIR to a folder of your own"
            ) from error


def _is_cut(file: Path) -> bool:
    """Whether a pickle lacks its end; false for one that another process has just removed."""
    try:
        with file.open("rb") as opened:
            size = opened.seek(0, os.SEEK_END)
            opened.seek(max(size - 1, 0))
            return opened.read() != _LAST_OPCODE
    except FileNotFoundError:
        return False


def _probe() -> None:
    """Function that numba is asked to cache, and that never runs."""
