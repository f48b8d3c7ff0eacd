from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fitme.color import LUMINANCE
from fitme.fit.lighting.albedo_scale import (
    SKIN_SPECULAR,
    SKIN_TONES,
    SPECULAR_REFLECTION,
    WARMTH,
    AlbedoScaleSettings,
    expected_skin_albedo,
)
from fitme.skin.pigments import ita_of_albedo

Array = npt.NDArray[np.floating[Any]]
SETTINGS = AlbedoScaleSettings()
people_seen = st.builds(
    lambda tone, shading: ((SKIN_TONES[tone] + SPECULAR_REFLECTION * SKIN_SPECULAR) * shading).astype(np.float32),
    st.integers(0, len(SKIN_TONES) - 1),
    st.floats(0.3, 0.9),
)


def imaged(skin: Array, draw: np.random.Generator) -> Array:
    """Colours (N, 3) of skins (N, 3) under lights as the settings expect them."""
    level = SETTINGS.shading_log_sigma * draw.standard_normal((len(skin), 1))
    warmth = SETTINGS.temperature_log_sigma * draw.standard_normal((len(skin), 1)) * WARMTH
    tint = SETTINGS.tint_log_sigma * draw.standard_normal(skin.shape) + warmth
    return np.asarray((skin + SPECULAR_REFLECTION * SKIN_SPECULAR) * SETTINGS.mean_shading * np.exp(level + tint))


def people(count: int, draw: np.random.Generator) -> Array:
    hue = SETTINGS.hue_log_sigma * draw.standard_normal((count, 3))
    return np.asarray(SKIN_TONES[draw.integers(len(SKIN_TONES), size=count)] * np.exp(hue))


@pytest.mark.parametrize("face", [[0.08, 0.04, 0.025], [0.17, 0.11, 0.08], [0.42, 0.28, 0.24]])
def test_it_is_the_mean_of_people_of_that_colour(face: list[float]) -> None:
    draw = np.random.default_rng(0)
    skin = people(400_000, draw)
    off = np.log(imaged(skin, draw) / np.array(face))
    alike = np.abs(off).max(1) < 0.06
    expected = np.exp(np.log(skin[alike]).mean(0))
    assert alike.sum() > 100
    np.testing.assert_allclose(expected_skin_albedo(np.array(face, np.float32), SETTINGS), expected, rtol=0.05)


@given(people_seen, st.floats(1.1, 2.0))
def test_skin_is_no_darker_in_a_brighter_image(face: Array, factor: float) -> None:
    dim, bright = (float(expected_skin_albedo(np.float32(f) * face, SETTINGS).mean()) for f in (1.0, factor))
    assert bright > 0.999 * dim


def test_a_brighter_image_is_part_skin_and_part_light() -> None:
    color = (0.6 * SKIN_TONES).astype(np.float32)
    lighter = np.log(expected_skin_albedo(1.3 * color, SETTINGS) / expected_skin_albedo(color, SETTINGS)).mean()
    assert 0.3 < lighter / np.log(1.3) < 0.8


def test_warm_light_is_that_of_a_black_body() -> None:
    wavelengths = np.array([610e-9, 550e-9, 465e-9])
    warm, day = (1.0 / np.expm1(0.014388 / (wavelengths * kelvin)) for kelvin in (3500.0, 6500.0))
    change = np.log(warm / day)
    change -= change[1]
    np.testing.assert_allclose(WARMTH, change / np.abs(change).max(), atol=0.01)


def test_redder_skin_of_the_same_brightness_is_darker() -> None:
    pale, red = expected_skin_albedo(np.array([[0.25, 0.2, 0.18], [0.33, 0.18, 0.12]], np.float32), SETTINGS)
    assert red[1] < 0.8 * pale[1]


def test_the_specular_term_of_dark_skin_is_not_taken_for_albedo() -> None:
    dark = SKIN_TONES[-2]
    color = ((dark + SPECULAR_REFLECTION * SKIN_SPECULAR) * SETTINGS.mean_shading).astype(np.float32)
    matt, specular_too = (expected_skin_albedo(color, SETTINGS, specular) for specular in (0.0, SKIN_SPECULAR))
    assert specular_too[2] / specular_too[0] < 0.96 * matt[2] / matt[0]
    np.testing.assert_allclose(specular_too, dark, rtol=0.35)


def test_hue_and_exposure_together_tell_more_than_exposure_alone() -> None:
    draw = np.random.default_rng(0)
    skin = people(2000, draw)
    color = imaged(skin, draw)
    found = expected_skin_albedo(color.astype(np.float32), SETTINGS)
    by_exposure = expected_skin_albedo(
        np.repeat(np.exp(np.log(color).mean(1, keepdims=True)), 3, 1).astype(np.float32),
        AlbedoScaleSettings(tint_log_sigma=5.0),
    )
    error, plain = (np.abs(np.log(values / skin))[:, 1].mean() for values in (found, by_exposure))
    assert error < 0.8 * plain


def test_no_class_of_people_is_seen_lighter_or_darker_than_it_is_by_much() -> None:
    draw = np.random.default_rng(1)
    skin = people(20_000, draw)
    found = np.log(expected_skin_albedo(imaged(skin, draw).astype(np.float32), SETTINGS) / skin)[:, 1]
    bias = [found[group].mean() for group in np.array_split(np.argsort(skin[:, 1]), 6)]
    assert np.abs(bias).max() < 0.3


@pytest.mark.parametrize("lamp", [(1.0, 0.552, 0.247), (1.0, 0.386, 0.095)], ids=["3,500 K", "2,700 K"])
@pytest.mark.parametrize("shading", [0.4, 0.6, 0.85])
def test_tones_keep_their_order_under_a_lamp_without_white_balance(lamp: tuple[float, ...], shading: float) -> None:
    """And their differences: black bodies' colours in linear sRGB, at the same luminance."""
    light = np.array(lamp) / (np.array(lamp) @ LUMINANCE)
    color = (SKIN_TONES + SPECULAR_REFLECTION * SKIN_SPECULAR) * light * shading
    lit, lit_white = (expected_skin_albedo(c.astype(np.float32), SETTINGS) for c in (color, color / light))
    found, true = ita_of_albedo(lit), ita_of_albedo(SKIN_TONES.astype(np.float32))
    assert (np.diff(found) < 0.0).all()
    assert np.ptp(found) > 0.6 * np.ptp(true)
    assert np.abs(found - ita_of_albedo(lit_white)).max() < 40.0


def test_images_with_white_balance_do_not_change_for_those_without() -> None:
    color = (SKIN_TONES * 0.6 * [1.05, 1.0, 0.95]).astype(np.float32)
    sure = replace(SETTINGS, unbalanced_share=0.0)
    np.testing.assert_allclose(expected_skin_albedo(color, SETTINGS), expected_skin_albedo(color, sure), rtol=0.02)
