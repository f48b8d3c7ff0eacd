"""Histogram matching: skin gets another skin tone without banding; hair, eyes and mouth do not change."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fitme.color import linear_to_bytes
from fitme.shape.regions import Region
from fitme.skin.cielab import lab_of_linear, linear_of_lab
from fitme.skin.layers import lip_mask
from fitme.skin.painter import synthesize_skin
from fitme.skin.pigments import ita_of_albedo
from fitme.skin.skin_tone_classes import skin_ita_deg, skin_tone_mask
from fitme.skin.texel_geometry import default_texel_geometry
from fitme.training.textures.tone_matching import (
    light_between_hairs,
    match_curve,
    match_tone,
    skin_mask,
)

SIZE = 128


@pytest.fixture(scope="module")
def texel_geometry():
    return default_texel_geometry(SIZE)


@pytest.fixture(scope="module")
def heads(texel_geometry):
    """Diffuse albedos from the darkest to the palest of some."""
    diffuse = [synthesize_skin(seed, SIZE).diffuse for seed in range(14)]
    return sorted(diffuse, key=lambda one: skin_ita_deg(one, texel_geometry))


@given(st.lists(st.floats(0.003, 0.95), min_size=3, max_size=3))
@settings(deadline=None)
def test_lab_and_back(color):
    np.testing.assert_allclose(linear_of_lab(lab_of_linear(np.array(color))), color, atol=1e-9)


def test_lab_agrees_with_the_typology_angle():
    color = np.array([[0.4, 0.25, 0.18], [0.1, 0.06, 0.04]], np.float32)
    lightness, _, b = np.moveaxis(lab_of_linear(color), -1, 0)
    np.testing.assert_allclose(np.degrees(np.arctan2(lightness - 50.0, b)), ita_of_albedo(color), rtol=1e-4)


@given(st.floats(-3.0, 3.0), st.floats(0.6, 1.7), st.integers(0, 1000))
@settings(max_examples=30, deadline=None)
def test_a_curve_gives_the_references_distribution_and_never_falls(shift, scale, seed):
    draw = np.random.default_rng(seed)
    source, reference = draw.normal(size=4000), shift + scale * draw.normal(size=4000)
    matched = match_curve(source, source, reference)
    assert np.mean(matched) == pytest.approx(np.mean(reference), abs=0.08)
    assert np.std(matched) == pytest.approx(np.std(reference), rel=0.1)
    rising = match_curve(np.linspace(-8.0, 8.0, 500), source, reference)
    assert (np.diff(rising) > 0).all()


@pytest.mark.parametrize(("source", "reference"), [(0, -1), (-1, 0), (6, 1), (3, -2)])
def test_cheeks_and_forehead_get_the_references_skin_tone(heads, texel_geometry, source, reference):
    matched = match_tone(heads[source], heads[reference], texel_geometry)
    assert skin_ita_deg(matched, texel_geometry) == pytest.approx(
        skin_ita_deg(heads[reference], texel_geometry), abs=4.0
    )


def test_eyes_mouth_and_gaps_stay_exactly(heads, texel_geometry):
    matched = match_tone(heads[0], heads[-1], texel_geometry)
    eyes_and_mouth = texel_geometry.is_region(Region.EYES, Region.TEETH, Region.MOUTH_INTERIOR)
    np.testing.assert_allclose(matched[eyes_and_mouth], heads[0][eyes_and_mouth], atol=1e-6)


def test_dark_brows_and_hair_stay_dark_on_paler_skin(heads, texel_geometry):
    dark = next(
        one for one in heads[:6] if skin_mask(one, texel_geometry)[texel_geometry.is_region(Region.SCALP)].mean() < 0.3
    )
    matched = match_tone(dark, heads[-1], texel_geometry)
    hair = (skin_mask(dark, texel_geometry) < 0.02) & texel_geometry.is_region(Region.SCALP)
    skin = skin_tone_mask(texel_geometry)
    assert hair.sum() > 300
    assert matched[hair].mean() < 1.2 * dark[hair].mean()
    assert matched[skin].mean() > 3.0 * dark[skin].mean()


def test_a_head_matched_to_itself_hardly_changes(heads, texel_geometry):
    for head in heads[::5]:
        change = np.abs(lab_of_linear(match_tone(head, head, texel_geometry)) - lab_of_linear(head))
        assert np.quantile(change[texel_geometry.covered], 0.95) < 1.0


def test_no_banding(heads, texel_geometry):
    """A smooth ramp of tones on the forehead comes out with as many distinct levels as it went in."""
    ramp = heads[-1] * np.linspace(0.8, 1.2, SIZE, dtype=np.float32)[None, :, None]
    matched = match_tone(np.clip(ramp, 0.003, 0.95), heads[4], texel_geometry)
    row = int(0.2 * SIZE)
    columns = slice(int(0.35 * SIZE), int(0.65 * SIZE))
    before, after = (linear_to_bytes(one)[row, columns, 0].astype(int) for one in (ramp, matched))
    assert len(np.unique(after)) >= 0.5 * len(np.unique(before))
    assert np.abs(np.diff(after)).max() <= 3 + np.abs(np.diff(before)).max()


def test_masks_are_shares_and_exclude_the_lips(heads, texel_geometry):
    for head in heads[::4]:
        for mask in (
            skin_mask(head, texel_geometry),
            light_between_hairs(head, texel_geometry),
            lip_mask(texel_geometry),
        ):
            assert mask.min() >= 0.0 and mask.max() <= 1.0 + 1e-6
        assert skin_mask(head, texel_geometry)[lip_mask(texel_geometry) > 0.95].max() < 0.2
        assert skin_mask(head, texel_geometry)[skin_tone_mask(texel_geometry)].mean() > 0.8
