import cv2
import numpy as np
import pytest

from fitme.errors import InputError, ModelFileError
from fitme.track.landmarks import Box
from fitme.track.mediapipe_tasks import TasksBackend

NOSE_TIP = 1


def canvas(width, height):
    return np.full((height, width, 3), 120, np.uint8)


def test_a_face_is_found_with_all_its_landmarks(finder, astronaut):
    (face,) = finder.detect(astronaut)
    assert face.landmarks.shape == (478, 2)
    assert face.depth.shape == (478,)
    assert face.landmarks[NOSE_TIP] == pytest.approx((226, 134), abs=12)
    assert face.depth[NOSE_TIP] < face.depth[454]  # nearer than the side of the face


@pytest.mark.parametrize("size", [(1800, 1800), (128, 128)])
def test_landmarks_scale_with_the_image(finder, astronaut, size):
    (small,) = finder.detect(astronaut)
    (found,) = finder.detect(cv2.resize(astronaut, size, interpolation=cv2.INTER_AREA))
    expected = small.landmarks * size[0] / 512.0
    assert np.abs(found.landmarks - expected).mean() < 0.03 * found.box.side


def test_a_small_face_in_an_image_of_20_megapixels_is_found(finder, astronaut):
    image = canvas(5000, 4000)
    image[2000:2256, 1000:1256] = cv2.resize(astronaut, (256, 256), interpolation=cv2.INTER_AREA)
    (face,) = finder.detect(image)
    assert face.landmarks[NOSE_TIP] == pytest.approx((1000 + 113, 2000 + 67), abs=8)


def test_a_face_that_fills_the_image_is_found(finder, astronaut):
    (face,) = finder.detect(np.ascontiguousarray(astronaut[60:190, 160:290]))
    assert face.landmarks[NOSE_TIP] == pytest.approx((66, 74), abs=12)


def test_several_detects_a_second_face(finder, astronaut):
    both = np.ascontiguousarray(np.concatenate([astronaut, astronaut[:, ::-1]], 1))
    faces = finder.detect(both)
    assert len(faces) == 2
    assert finder.rivals(faces)
    assert finder.several(both, faces[0])
    assert not finder.several(astronaut, finder.detect(astronaut)[0])


def test_no_face_is_found_in_an_image_without_faces(finder):
    assert finder.detect(canvas(640, 480)) == ()


def test_a_face_of_a_video_is_tracked_lost_and_found(finder, astronaut):
    frame = canvas(1280, 720)
    frame[100:612, 300:812] = astronaut
    finder.reset()
    assert finder.follow(frame) is not None
    assert finder.follow(canvas(1280, 720)) is None
    found = [finder.follow(frame) for _ in range(10)]
    assert found[-1] is not None
    assert found[-1].landmarks[NOSE_TIP] == pytest.approx((300 + 226, 100 + 134), abs=12)


@pytest.mark.parametrize(
    "image",
    [np.zeros((10, 10), np.uint8), np.zeros((10, 10, 4), np.uint8), np.zeros((10, 10, 3), np.float32),
     np.zeros((0, 10, 3), np.uint8)],
)  # fmt: skip
def test_images_of_another_layout_are_refused(finder, image):
    with pytest.raises(InputError, match="RGB"):
        finder.detect(image)


def test_overlap_of_boxes():
    box = Box(0.0, 0.0, 2.0, 2.0)
    assert box.overlap(box) == 1.0
    assert box.overlap(Box(1.0, 0.0, 2.0, 2.0)) == pytest.approx(1.0 / 3.0)
    assert box.overlap(Box(5.0, 5.0, 1.0, 1.0)) == 0.0


def test_a_missing_bundle_is_named(tmp_path):
    with pytest.raises(ModelFileError, match=r"absent\.task"):
        TasksBackend(tmp_path / "absent.task")
