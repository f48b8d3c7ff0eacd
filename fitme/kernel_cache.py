"""Folder in which numba keeps compiled kernels, wherever the package and the home can be written."""

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


def _probe() -> None:
    """Function that numba is asked to cache, and that never runs."""
