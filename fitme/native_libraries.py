"""What OpenCV's and MediaPipe's wheels need of the system: shared libraries, and the kernel's list of processors."""

import ctypes
import sys
from pathlib import Path
from typing import Final

from fitme.errors import BackendError

DEBIAN_PACKAGES: Final = {
    "libGL.so.1": "libgl1",
    "libgthread-2.0.so.0": "libglib2.0-0",
    "libEGL.so.1": "libegl1",
    "libGLESv2.so.2": "libgles2",
}
"""Package of Debian and Ubuntu by the library's name."""

PROCESSOR_LIST: Final = Path("/sys/devices/system/cpu/possible")
"""File without which MediaPipe's allocator ends the process."""


def check_processor_list() -> None:
    """Raise BackendError if this Linux does not show its processors, as in a changed root without ``/sys``."""
    if sys.platform == "linux" and not PROCESSOR_LIST.exists():
        raise BackendError(f"{PROCESSOR_LIST}, which MediaPipe needs, is missing: mount -t sysfs sysfs /sys")


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
