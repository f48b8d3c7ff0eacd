"""A face that is small in a large photo keeps the photo's detail, under the camera of the whole photo."""

from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from skimage import data

from fitme.fit.alignment.aligner import camera_of
from fitme.geometry import Camera
from fitme.ingest.candidates import gather
from fitme.ingest.frame import WORKING_SIDE_PX
from fitme.ingest.person_tracking import PersonTracker, TrackedFrame
from fitme.shape.model_file import load_default_model
from fitme.track.tracker import FrameTracker

WIDTH, HEIGHT = 4800, 3200
LEFT, TOP = 2900, 400


@pytest.fixture(scope="module")
def photo() -> np.ndarray:
    """A full-body photo, as far as pixels go: a portrait at an upper corner of 15 megapixels."""
    image = np.full((HEIGHT, WIDTH, 3), 150, np.uint8)
    image[TOP : TOP + 512, LEFT : LEFT + 512] = data.astronaut()
    return image


def tracked(path: Path) -> TrackedFrame:
    ((_, found),) = PersonTracker(load_default_model()).tracked_frames(gather([path]))
    return found


def test_detail_comes_from_the_original(tmp_path: Path, photo: np.ndarray):
    Image.fromarray(photo).save(tmp_path / "full_body.png", compress_level=1)
    Image.fromarray(data.astronaut()).save(tmp_path / "portrait.png")
    found, portrait = tracked(tmp_path / "full_body.png"), tracked(tmp_path / "portrait.png")
    window = found.frame.window
    assert window is not None
    assert (window.whole_width_px, window.whole_height_px) == (WIDTH, HEIGHT)
    assert max(found.frame.image.shape) < WORKING_SIDE_PX
    assert found.observation.quality.face_size_px > 0.98 * portrait.observation.quality.face_size_px
    # The window's pixels are the photo's own, and its landmarks lie where the portrait has them.
    left, top = round(window.left_px), round(window.top_px)
    height, width = found.frame.image.shape[:2]
    np.testing.assert_array_equal(found.frame.image, photo[top : top + height, left : left + width])
    in_portrait = found.observation.landmarks + [left - LEFT, top - TOP]
    assert np.abs(in_portrait - portrait.observation.landmarks).mean() < 1.0


def test_the_camera_is_that_of_the_whole_photo(tmp_path: Path, photo: np.ndarray):
    Image.fromarray(photo).save(tmp_path / "full_body.png", compress_level=1)
    found = tracked(tmp_path / "full_body.png")
    with closing(FrameTracker(load_default_model())) as tracker:
        expected = tracker.analyse(photo)
    assert expected is not None
    np.testing.assert_allclose(found.observation.pose.translation, expected.pose.translation, rtol=0.02, atol=0.01)
    np.testing.assert_allclose(found.observation.pose.rotation, expected.pose.rotation, atol=0.02)
    # A focal length that a fit finds refers to the whole photo, too.
    camera, window = found.observation.camera, found.frame.window
    assert window is not None
    refitted, whole = camera_of(camera, 0.9), camera_of(expected.camera, 0.9)
    point = torch.tensor([[0.3, 0.2, -4.0]])
    shift = torch.tensor([window.left_px, window.top_px])
    torch.testing.assert_close(refitted.project(point) + shift, whole.project(point))


def test_a_large_face_is_taken_with_its_whole_photo(tmp_path: Path):
    enlarged = Image.fromarray(data.astronaut()[:300, 100:400]).resize((2400, 2400), Image.Resampling.BICUBIC)
    enlarged.save(tmp_path / "selfie.png", compress_level=1)
    found = tracked(tmp_path / "selfie.png")
    assert found.frame.window is None
    assert found.frame.image.shape == (WORKING_SIDE_PX, WORKING_SIDE_PX, 3)
    assert found.observation.camera.whole_side_px is None


def test_a_window_of_a_window_refers_to_the_whole():
    whole = Camera.centered(1000.0, 2000, 1500)
    once = whole.window(100.0, 200.0, 500.0, 250)
    twice = once.window(10.0, 20.0, 100.0, 50)
    assert (once.longer_side_px, twice.longer_side_px) == (1000.0, 500.0)
    assert camera_of(twice, 0.5).focal_px == pytest.approx(0.5 * whole.longer_side_px * 0.25)
