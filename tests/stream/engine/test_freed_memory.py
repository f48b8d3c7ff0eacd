"""Memory that a process has freed goes back to the system."""

import platform

import numpy as np
import psutil
import pytest

from stream.engine.freed_memory import give_back_freed_memory

BLOCKS, BLOCK_BYTES = 4_000, 25_000
"""Blocks that glibc takes from its heap."""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc returns memory when it is asked to")
def test_memory_between_what_is_still_used_is_given_back() -> None:
    blocks = [np.ones(BLOCK_BYTES, np.uint8) for _ in range(BLOCKS)]
    kept = blocks[::100]
    del blocks
    before = psutil.Process().memory_info().rss
    give_back_freed_memory()
    assert before - psutil.Process().memory_info().rss > BLOCKS * BLOCK_BYTES // 2
    assert all(block.all() for block in kept)
