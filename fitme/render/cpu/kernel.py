"""Decorators that compile numba kernels with the options of this package."""

from collections.abc import Callable
from typing import Any, TypeVar, cast

from fitme.kernel_cache import cached_kernel

_Function = TypeVar("_Function", bound=Callable[..., Any])

_RELAXED = {"contract", "reassoc", "nsz", "arcp"}
"""Fast-math flags of LLVM that keep infinities and NaNs defined."""


def kernel(function: _Function) -> _Function:
    """Compile for the CPU on first call, release the interpreter lock while running, keep the result on disk.

    Kernels run on the calling thread: numba's own thread pool may abort the process when two threads enter it at once,
    so callers that want both cores hand bands of rows to Python threads. Arithmetic is strict IEEE, without which an
    edge shared by two triangles could leave gaps.

    Numba's cache on disk is keyed by the file of the compiled function alone: after an edit to a kernel that kernels of
    other files call, delete their `__pycache__/*.nb?`.
    """
    return cast(_Function, cached_kernel(function, nogil=True, error_model="numpy"))


def relaxed_kernel(function: _Function) -> _Function:
    """Compile as `kernel` does, with fused and reordered arithmetic: for shading, which needs no exact rounding."""
    return cast(_Function, cached_kernel(function, nogil=True, error_model="numpy", fastmath=_RELAXED))
