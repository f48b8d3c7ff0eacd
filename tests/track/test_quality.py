import cv2
import numpy as np
import pytest

from fitme.track.oval import oval_mask
from fitme.track.quality import image_quality
from fitme.track.segmentation import PersonSegmenter


@pytest.fixture(scope="module")
def landmarks(finder, astronaut):
    return finder.detect(astronaut)[0].landmarks


def test_blur_lowers_sharpness_steadily(astronaut, landmarks):
    sharpness = [image_quality(astronaut, landmarks).sharpness]
    sharpness += [image_quality(cv2.GaussianBlur(astronaut, (0, 0), s), landmarks).sharpness for s in (1.0, 2.0, 4.0)]
    assert sharpness == sorted(sharpness, reverse=True)
    assert sharpness[-1] < 0.3 * sharpness[0]


def test_sharpness_does_not_grow_with_contrast_or_light(astronaut, landmarks):
    full = image_quality(astronaut, landmarks).sharpness
    faint = image_quality((astronaut * 0.5 + 30).astype(np.uint8), landmarks).sharpness
    assert faint == pytest.approx(full, rel=0.1)


def test_a_face_enlarged_without_detail_is_less_sharp(astronaut, landmarks):
    tiny = cv2.resize(astronaut, (128, 128), interpolation=cv2.INTER_AREA)
    assert image_quality(tiny, landmarks / 4.0).sharpness < 0.7 * image_quality(astronaut, landmarks).sharpness
    large = cv2.resize(astronaut, (1536, 1536), interpolation=cv2.INTER_CUBIC)
    found = image_quality(large, landmarks * 3.0)
    assert found.sharpness < 1.3 * image_quality(astronaut, landmarks).sharpness
    assert found.face_size_px == pytest.approx(3.0 * image_quality(astronaut, landmarks).face_size_px, rel=0.02)


def test_exposure_and_clipping(astronaut, landmarks):
    plain = image_quality(astronaut, landmarks)
    dark = image_quality((astronaut * 0.05).astype(np.uint8), landmarks)
    blown = image_quality(np.clip(astronaut.astype(np.int32) * 4, 0, 255).astype(np.uint8), landmarks)
    assert dark.exposure < 0.1 < plain.exposure < blown.exposure
    assert plain.clipped < 0.05
    assert dark.clipped > 0.2
    assert blown.clipped > 0.5


def test_a_face_outside_of_the_image_has_no_quality(astronaut, landmarks):
    found = image_quality(astronaut, landmarks + np.float32(2000.0))
    assert found.sharpness == 0.0
    assert found.clipped == 1.0


def test_the_oval_holds_the_face_and_grows(landmarks):
    mask = oval_mask(landmarks, 512, 512)
    nose, corner = landmarks[1].astype(int), (0, 0)
    assert mask[nose[1], nose[0]]
    assert not mask[corner]
    areas = [oval_mask(landmarks, 512, 512, grow=grow).sum() for grow in (-0.2, 0.0, 0.2)]
    assert areas == sorted(areas)


def test_the_person_is_segmented(astronaut, landmarks):
    segmenter = PersonSegmenter()
    person = segmenter.mask(astronaut)
    segmenter.close()
    assert person.shape == astronaut.shape[:2]
    assert person[oval_mask(landmarks, 512, 512)].mean() > 0.9
    assert person[:60, 450:].mean() < 0.2
