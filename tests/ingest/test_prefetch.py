"""Prefetching: photos are read and searched one ahead, in order; errors are raised at the photo's position."""

import threading
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from skimage import data

from fitme.errors import InputError
from fitme.export.video import write_mp4
from fitme.ingest import prefetch
from fitme.ingest.candidates import Candidate, gather
from fitme.ingest.prefetch import Prefetched, Prefetcher
from fitme.track.landmarks import FaceFinder
from fitme.track.mediapipe_tasks import TasksBackend


@pytest.fixture
def photos(tmp_path: Path) -> list[Path]:
    """A meadow, an astronaut, a meadow."""
    paths = [tmp_path / f"{index}.png" for index in range(3)]
    for path in paths:
        Image.new("RGB", (320, 240), (90, 120, 90)).save(path)
    Image.fromarray(data.astronaut()).save(paths[1])
    return paths


def test_photos_come_in_order_with_their_faces(photos: list[Path]):
    with Prefetcher(gather(photos)) as prefetcher:
        frames = list(prefetcher)
    assert [prefetched.frame.source for prefetched in frames] == ["0.png", "1.png", "2.png"]
    faces = [prefetched.faces for prefetched in frames]
    assert [len(found) for found in faces if found is not None] == [0, 1, 0]
    with closing(FaceFinder(TasksBackend())) as finder:
        (expected,) = finder.detect(data.astronaut())
    assert faces[1] is not None
    np.testing.assert_array_equal(faces[1][0].landmarks, expected.landmarks)


def test_one_photo_is_searched_ahead(photos: list[Path], monkeypatch: pytest.MonkeyPatch):
    read = prefetch.read_still
    begun = [threading.Event() for _ in photos]

    def reading(photo: Candidate):
        begun[photos.index(photo.path)].set()
        return read(photo)

    monkeypatch.setattr(prefetch, "read_still", reading)
    with Prefetcher(gather(photos)) as prefetcher:
        assert begun[0].wait(10.0)  # Before the first iteration.
        coming = iter(prefetcher)
        next(coming)
        assert begun[1].wait(10.0)
        assert not begun[2].is_set()


def test_a_damaged_photo_raises_at_its_position(photos: list[Path]):
    photos[1].write_bytes(photos[1].read_bytes()[:3000])
    taken: list[Prefetched] = []
    with Prefetcher(gather(photos)) as prefetcher, pytest.raises(InputError, match=r"1.png: the image is truncated"):
        for prefetched in prefetcher:
            taken.append(prefetched)  # noqa: PERF402 -- kept when the iteration raises
    assert [prefetched.frame.source for prefetched in taken] == ["0.png"]


def test_frames_of_videos_come_in_order_without_faces(photos: list[Path], tmp_path: Path):
    write_mp4((np.full((48, 64, 3), 30 * index, np.uint8) for index in range(4)), 20, tmp_path / "clip.mp4")
    with Prefetcher(gather([photos[0], tmp_path / "clip.mp4", photos[2]])) as prefetcher:
        frames = list(prefetcher)
    assert [prefetched.candidate.frame for prefetched in frames] == [0, 0, 1, 2, 3, 0]
    assert [prefetched.faces is None for prefetched in frames] == [False, True, True, True, True, False]


def test_no_candidates():
    with Prefetcher([]) as prefetcher:
        assert list(prefetcher) == []
