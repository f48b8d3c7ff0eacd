"""Teeth that meet, by painted mouths: light from lip to lip; not with a gap, a tongue or lips between the rims."""

import cv2
import numpy as np
import pytest

from fitme.fit.alignment.meeting_teeth import JAW_SIGMA, closed_jaw_precision, teeth_meet
from fitme.shape.expressions import expression_index
from fitme.shape.landmark_groups import LANDMARK_COUNT, LIP_RIMS, MOUTH_CORNERS

SKIN, TEETH, DARK, TONGUE, LIPS = (190, 150, 130), (200, 190, 175), (50, 25, 22), (150, 70, 70), (180, 40, 50)
WIDTH_PX, SIZE_PX = 80.0, 160


def mouth(opening_px, *bands):
    """Image and landmarks of a mouth whose opening is filled by bands of a colour and a share of the height."""
    landmarks = np.zeros((LANDMARK_COUNT, 2), np.float32)
    middle, top = SIZE_PX / 2.0, SIZE_PX / 2.0 - opening_px / 2.0
    landmarks[list(MOUTH_CORNERS)] = [(middle - WIDTH_PX / 2, middle), (middle + WIDTH_PX / 2, middle)]
    for place, (upper, lower) in enumerate(LIP_RIMS):
        across = middle + (-1) ** place * 5.0 * place
        landmarks[upper], landmarks[lower] = (across, top), (across, top + opening_px)
    image = np.full((SIZE_PX, SIZE_PX, 3), SKIN, np.uint8)
    begin = top
    for color, share in bands:
        end = begin + share * opening_px
        cv2.rectangle(image, (0, round(begin)), (SIZE_PX, round(end)), color, -1)
        begin = end
    return image, landmarks


def test_teeth_fill_the_opening_from_lip_to_lip():
    assert teeth_meet(*mouth(18.0, (TEETH, 1.0)))
    # Lips shade what is next to them.
    assert teeth_meet(*mouth(18.0, (DARK, 0.08), (TEETH, 0.84), (DARK, 0.08)))


@pytest.mark.parametrize("bands", [
    [(TEETH, 0.45), (DARK, 0.2), (TEETH, 0.35)],
    [(TEETH, 0.6), (TONGUE, 0.4)],
    [(LIPS, 1.0)],
    [(TONGUE, 1.0)],
])  # fmt: skip
def test_a_gap_a_tongue_or_lips_are_no_teeth_that_meet(bands):
    assert not teeth_meet(*mouth(18.0, *bands))


def test_closed_lips_and_wide_mouths_show_no_teeth_that_meet():
    assert not teeth_meet(*mouth(2.0, (TEETH, 1.0)))
    assert not teeth_meet(*mouth(50.0, (TONGUE, 1.0)))


def test_the_jaw_alone_is_known():
    precision = closed_jaw_precision()
    jaw = expression_index("jawOpen")
    assert precision[jaw] == pytest.approx(JAW_SIGMA**-2)
    assert not np.delete(precision, jaw).any()
