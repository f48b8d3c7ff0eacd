"""Occlusion of a face: shares and masks of drawn occluders, and what must not count as one."""

import cv2
import numpy as np
import pytest

from fitme.geometry import HeadPose
from fitme.track.occlusion import SMALLEST_COVERED, FaceOcclusion
from fitme.track.oval import oval_mask

PATIENCE = 3


@pytest.fixture(scope="module")
def landmarks(finder, astronaut):
    return finder.detect(astronaut)[0].landmarks


@pytest.fixture
def occlusion(model, astronaut, landmarks):
    """That has seen the uncovered face."""
    occlusion = FaceOcclusion(model, patience=PATIENCE)
    assert occlusion.check(astronaut, landmarks, FRONTAL).share == 0.0
    return occlusion


FRONTAL = HeadPose(np.zeros(3, np.float32), np.array([0.0, 0.0, -0.6], np.float32))


def with_cup(image, landmarks, color):
    """The image with a disc over mouth and chin, and the disc's mask."""
    covered = image.copy()
    center = landmarks[[13, 152]].mean(0).astype(int)
    radius = int(0.3 * np.ptp(landmarks[:, 0]))
    cv2.circle(covered, tuple(int(v) for v in center), radius, color, thickness=-1)
    return covered, (covered != image).any(-1)


@pytest.mark.parametrize("color", [(20, 60, 180), (15, 15, 15), (150, 105, 85)], ids=["cup", "microphone", "palm"])
def test_what_covers_the_mouth_is_found_and_masked(occlusion, astronaut, landmarks, color):
    covered, disc = with_cup(astronaut, landmarks, color)
    found = occlusion.check(covered, landmarks, FRONTAL)
    face = oval_mask(landmarks, *disc.shape)
    assert found.share == pytest.approx(disc[face].mean(), abs=0.12)
    mask = found.mask(*disc.shape)
    assert (mask & disc & face).sum() > 0.6 * (disc & face).sum()
    assert (mask & ~disc).sum() < 0.35 * mask.sum()


def test_light_and_noise_are_no_occlusion(occlusion, astronaut, landmarks):
    columns = np.linspace(0.45, 1.3, astronaut.shape[1])[None, :, None]
    noise = np.random.default_rng(0).normal(0.0, 5.0, astronaut.shape)
    lit = np.clip(astronaut * columns + noise, 0, 255).astype(np.uint8)
    assert occlusion.check(lit, landmarks, FRONTAL).share == 0.0


def test_what_stays_on_the_face_becomes_part_of_it(occlusion, astronaut, landmarks):
    covered, _ = with_cup(astronaut, landmarks, (20, 60, 180))
    shares = [occlusion.check(covered, landmarks, FRONTAL).share for _ in range(PATIENCE + 2)]
    assert min(shares[: PATIENCE + 1]) > 0.1
    assert shares[-1] == 0.0
    assert occlusion.check(astronaut, landmarks, FRONTAL).share == 0.0, "the first reference is kept"


@pytest.mark.parametrize("covered_ones", [{0, 3}, {4}, set()], ids=["the first, too", "the last", "none"])
def test_the_majority_decides_what_covers_the_face(model, astronaut, landmarks, covered_ones):
    """Whatever the order of the images, and under changing exposure."""
    occlusion = FaceOcclusion(model, patience=PATIENCE)
    faces = []
    for index in range(5):
        image = with_cup(astronaut, landmarks, (20, 60, 180))[0] if index in covered_ones else astronaut
        faces.append((np.clip(image * (0.8 + 0.08 * index), 0, 255).astype(np.uint8), landmarks, FRONTAL))
    shares = occlusion.majority_shares(faces)
    assert {index for index, share in enumerate(shares) if share >= SMALLEST_COVERED} == covered_ones
    assert all(share < 0.02 for index, share in enumerate(shares) if index not in covered_ones)
