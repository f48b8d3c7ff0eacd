"""Freed memory, given back to the system when a session ends.

glibc keeps freed memory for later allocations, in pieces between those that are still used: without this, a process
grows by some megabytes with each of its first hundreds of sessions, although it holds nothing of them.
"""

import ctypes
import gc


def give_back_freed_memory() -> None:
    """Collect what nothing refers to, and return free pages to the system; with other libraries than glibc only the
    first. Takes some tens of milliseconds."""
    gc.collect()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
