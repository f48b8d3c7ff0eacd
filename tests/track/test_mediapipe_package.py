"""MediaPipe's networks: those that were not closed do not keep the garbage collector waiting."""

import gc
import threading
import weakref
from collections.abc import Callable

import numpy as np
import pytest

from fitme.track.landmarks import LandmarkBackend
from fitme.track.mediapipe_tasks import TasksBackend
from fitme.track.segmentation import PersonSegmenter

IMAGE = np.zeros((48, 64, 3), np.uint8)
PATIENCE_S = 60.0


def segmenter() -> PersonSegmenter:
    made = PersonSegmenter()
    made.mask(IMAGE)
    return made


def landmarkers() -> LandmarkBackend:
    made = TasksBackend()
    made.follow(IMAGE)
    made.boxes(IMAGE)
    return made


@pytest.mark.parametrize("make", [segmenter, landmarkers])
def test_networks_in_a_cycle_of_references_are_collected(make: Callable[[], object]) -> None:
    cycle: list[object] = [make()]
    cycle.append(cycle)
    owner = weakref.ref(cycle[0])
    del cycle
    # In a thread of its own: a finaliser that waits for a thread that has ended waits for ever.
    collecting = threading.Thread(target=gc.collect, daemon=True)
    collecting.start()
    collecting.join(PATIENCE_S)
    assert not collecting.is_alive()
    assert owner() is None
