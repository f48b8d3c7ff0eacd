"""Rows of teeth by painted mouths: that meet, light from lip to lip, or are apart, with a tongue or dark between."""

import cv2
import numpy as np
import pytest

from fitme.fit.alignment.rows_of_teeth import (
    JAW,
    JAW_SIGMA,
    OVERLAP_M,
    between_rows,
    known_jaw,
    opening_of,
    teeth_meet,
    upper_edge,
)
from fitme.shape.landmark_groups import LANDMARK_COUNT, LIP_RIMS, MOUTH_CORNERS

SKIN, TEETH, DARK, TONGUE, LIPS = (190, 150, 130), (200, 190, 175), (50, 25, 22), (150, 70, 70), (180, 40, 50)
WIDTH_PX, SIZE_PX = 80.0, 160


def mouth(opening_px, *bands, blur_px=0.0):
    """A mouth whose opening is filled by bands of a colour and a share of the height."""
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
    if blur_px:
        image = cv2.GaussianBlur(image, (0, 0), blur_px)
    return opening_of(image, landmarks)


def test_teeth_fill_the_opening_from_lip_to_lip():
    assert teeth_meet(mouth(18.0, (TEETH, 1.0)))
    # Lips shade what is next to them.
    assert teeth_meet(mouth(18.0, (DARK, 0.08), (TEETH, 0.84), (DARK, 0.08)))


@pytest.mark.parametrize("bands", [
    [(TEETH, 0.45), (DARK, 0.2), (TEETH, 0.35)],
    [(TEETH, 0.6), (TONGUE, 0.4)],
    [(LIPS, 1.0)],
    [(TONGUE, 1.0)],
])  # fmt: skip
def test_a_gap_a_tongue_or_lips_are_no_teeth_that_meet(bands):
    assert not teeth_meet(mouth(18.0, *bands))


def test_closed_lips_and_wide_mouths_show_no_teeth_that_meet():
    assert not teeth_meet(mouth(2.0, (TEETH, 1.0)))
    assert not teeth_meet(mouth(50.0, (TONGUE, 1.0)))


def test_what_is_between_rows_is_measured():
    seen = between_rows(mouth(30.0, (TEETH, 0.4), (TONGUE, 0.35), (TEETH, 0.25)))
    assert seen is not None and seen.lower_row
    assert seen.share == pytest.approx(0.35, abs=0.06)
    assert seen.opening_px == pytest.approx(30.0, abs=0.1)
    # Without a lower row it lies behind the lower lip, without any the rows are as far apart as the lips.
    upper = between_rows(mouth(30.0, (TEETH, 0.4), (DARK, 0.6)))
    assert upper is not None and not upper.lower_row
    assert upper.share == pytest.approx(0.6, abs=0.06)
    none = between_rows(mouth(18.0, (DARK, 1.0)))
    assert none is not None and none.share == pytest.approx(1.0)


@pytest.mark.parametrize("bands", [[(TEETH, 1.0)], [(SKIN, 1.0)], [(LIPS, 1.0)], [(TEETH, 0.5), (SKIN, 0.5)]])
def test_teeth_skin_and_bright_lips_say_nothing_of_rows_apart(bands):
    assert between_rows(mouth(18.0, *bands)) is None


def test_the_jaw_alone_is_known():
    per_metre, travel_m = 1500.0, 0.03
    met = known_jaw(mouth(18.0, (TEETH, 1.0)), per_metre, travel_m)
    assert met.precision[JAW] == pytest.approx(JAW_SIGMA**-2)
    assert not np.delete(met.precision, JAW).any() and not met.mean.any()
    apart = known_jaw(mouth(30.0, (TEETH, 0.4), (TONGUE, 0.35), (TEETH, 0.25)), per_metre, travel_m)
    assert apart.mean[JAW] == pytest.approx((0.35 * 30.0 / per_metre + OVERLAP_M) / travel_m, abs=0.05)
    # Without a lower row: less surely, as far as the image shows.
    hidden = known_jaw(mouth(18.0, (DARK, 1.0)), per_metre, travel_m)
    assert hidden.mean[JAW] == pytest.approx((18.0 / per_metre + OVERLAP_M) / travel_m, abs=0.02)
    assert 0.0 < hidden.precision[JAW] < apart.precision[JAW]
    assert known_jaw(mouth(2.0, (DARK, 1.0)), per_metre, travel_m) is None


def test_the_upper_rows_edge_is_where_light_ends():
    for blur_px in (0.3, 3.0):
        edge = upper_edge(mouth(30.0, (TEETH, 0.4), (DARK, 0.6), blur_px=blur_px))
        assert edge is not None and not edge.hidden and not edge.between.lower_row
        assert edge.place[1] == pytest.approx(SIZE_PX / 2 - 15.0 + 0.4 * 30.0, abs=1.5)
        assert edge.between.share == pytest.approx(0.6, abs=0.06)
    both = upper_edge(mouth(30.0, (TEETH, 0.4), (DARK, 0.3), (TEETH, 0.3)))
    assert both is not None and both.between.lower_row and both.between.share == pytest.approx(0.3, abs=0.08)
    # A tongue below is no lower row.
    tongue = upper_edge(mouth(30.0, (TEETH, 0.4), (DARK, 0.3), (TONGUE, 0.3)))
    assert tongue is not None and not tongue.between.lower_row


def test_a_lip_hides_the_upper_row_where_the_mouth_is_dark_or_wide():
    for opening_px, color in ((9.0, DARK), (30.0, DARK), (30.0, TONGUE)):
        edge = upper_edge(mouth(opening_px, (color, 1.0)))
        assert edge is not None and edge.hidden
    # Lips that hardly part, flesh in a small opening, which may be a blurred lip, and rows that meet tell nothing.
    for opening_px, color in ((2.0, DARK), (9.0, TONGUE), (18.0, TEETH)):
        assert upper_edge(mouth(opening_px, (color, 1.0))) is None
