"""Threads that work on several frames at a time."""

import threading
import time

import pytest
import torch

from fitme.frame_pool import MOST_THREADS, FramePool


def test_results_keep_their_order() -> None:
    pool = FramePool(3)
    assert pool.map(lambda wait_s, name: (time.sleep(wait_s), name)[1], [0.05, 0.02, 0.0], "abc") == ["a", "b", "c"]
    pool.close()


def test_frames_are_worked_on_at_the_same_time() -> None:
    both = threading.Barrier(2, timeout=20.0)
    pool = FramePool(2)
    assert sorted(pool.map(lambda _: both.wait(), range(2))) == [0, 1]
    pool.close()


def test_one_thread_is_the_caller() -> None:
    assert set(FramePool(1).map(lambda _: threading.get_ident(), range(3))) == {threading.get_ident()}


def test_columns_of_different_lengths_are_refused() -> None:
    with pytest.raises(ValueError, match="shorter"):
        FramePool(2).map(lambda *_: None, range(2), range(1))


def test_a_failure_is_raised() -> None:
    pool = FramePool(2)
    with pytest.raises(ZeroDivisionError):
        pool.map(lambda number: 1 / number, [1, 0, 2])
    pool.close()


def test_threads_follow_those_of_tensors() -> None:
    before = torch.get_num_threads()
    try:
        for tensors, frames in ((1, 1), (3, 3), (64, MOST_THREADS)):
            torch.set_num_threads(tensors)
            pool = FramePool()
            assert pool.threads == frames
            pool.close()
    finally:
        torch.set_num_threads(before)
