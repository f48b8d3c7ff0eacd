"""Sideways and upside-down pictures without metadata are turned upright by their faces."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from skimage import data

from fitme.export.video import write_mp4
from fitme.ingest.candidates import gather
from fitme.ingest.orientation import SURE_MATCH, turned, upright
from fitme.ingest.person_tracking import PersonTracker
from fitme.ingest.prefetch import Prefetcher
from fitme.ingest.selection import choose
from fitme.shape.model_file import load_default_model
from fitme.track.factory import landmark_backend
from fitme.track.landmarks import FaceFinder


@pytest.fixture(scope="module")
def finder() -> Iterator[FaceFinder]:
    with closing(FaceFinder(landmark_backend())) as opened:
        yield opened


@pytest.mark.parametrize("quarter_turns", [0, 1, 2, 3])
def test_the_face_decides_how_a_photo_is_turned(finder: FaceFinder, quarter_turns: int):
    portrait = data.astronaut()
    found = upright(turned(portrait, quarter_turns), finder)
    assert found.quarter_turns == -quarter_turns % 4
    np.testing.assert_array_equal(found.image, portrait)
    assert found.match >= SURE_MATCH
    (face,) = found.faces
    (expected,) = finder.detect(portrait)
    np.testing.assert_allclose(face.landmarks, expected.landmarks, atol=1e-3)


def test_an_upright_face_is_not_invented_where_there_is_none(finder: FaceFinder):
    for image in (data.coffee(), np.full((300, 400, 3), 128, np.uint8)):
        found = upright(image, finder)
        assert (found.quarter_turns, found.faces) == (0, ())
        np.testing.assert_array_equal(found.image, image)


def test_videos_and_photos_are_turned_and_named(tmp_path: Path):
    portrait = data.astronaut()
    frames = [np.roll(portrait, 3 * index, 1) for index in range(6)]
    write_mp4((turned(frame, 2) for frame in frames), 30, tmp_path / "upside_down.mp4")
    Image.fromarray(turned(portrait, 1)).save(tmp_path / "sideways.png")
    candidates = gather([tmp_path / "upside_down.mp4", tmp_path / "sideways.png"])
    with Prefetcher(candidates) as prefetcher:
        read = list(prefetcher)
    assert [prefetched.candidate for prefetched in read] == candidates
    for prefetched, frame in zip(read, [*frames, portrait], strict=True):
        assert np.abs(prefetched.frame.image.astype(int) - frame).mean() < 4.0
    person = PersonTracker(load_default_model())
    assert choose(person, candidates).keyframes
    (warning,) = [line for line in person.warnings if "turned" in line]
    assert "sideways.png by 270 degrees, upside_down.mp4 by 180 degrees" in warning
