"""Shared libraries of the system that OpenCV's and MediaPipe's wheels need and do not contain."""

import ctypes
import sys
from typing import Final

from fitme.errors import BackendError

DEBIAN_PACKAGES: Final = {
    "libGL.so.1": "libgl1",
    "libgthread-2.0.so.0": "libglib2.0-0",
    "libEGL.so.1": "libegl1",
    "libGLESv2.so.2": "libgles2",
}
"""Package of Debian and Ubuntu by the library's name."""


def check_native_libraries() -> None:
    """Raise BackendError, naming the packages to install, if this Linux lacks one of the libraries."""
    missing = [name for name in DEBIAN_PACKAGES if not _loads(name)] if sys.platform == "linux" else []
    if missing:
        packages = " ".join(DEBIAN_PACKAGES[name] for name in missing)
        raise BackendError(
            f"this system lacks {', '.join(missing)}, which OpenCV and MediaPipe need; on Debian or Ubuntu: "
            f"apt-get install --no-install-recommends {packages}"
        )


def _loads(name: str) -> bool:
    try:
        ctypes.CDLL(name)
    except OSError:
        return False
    return True
