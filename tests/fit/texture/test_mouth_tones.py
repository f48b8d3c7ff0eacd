"""Tones behind the lips: the person's teeth and flesh where images show them, the usual ones where they show others."""

import numpy as np
import pytest

from fitme.fit.texture.delighting import ViewAlbedo
from fitme.fit.texture.mouth_tones import (
    ENAMEL,
    FLESH_TINT,
    ShownMouth,
    enamel_tone,
    flesh_tone,
    with_mouth,
    with_teeth,
)
from fitme.fit.texture.teeth import ShownTeeth, TeethTexels, teeth_texels
from fitme.fit.texture.unprojection import TexelTable, texel_table
from fitme.shape.model_file import load_default_model
from fitme.shape.regions import Region

SKIN, OWN, DARK = (0.45, 0.25, 0.18), (0.62, 0.55, 0.45), (0.06, 0.02, 0.02)
RESOLUTION = 256


@pytest.fixture(scope="module")
def table() -> TexelTable:
    return texel_table(load_default_model(), RESOLUTION)


@pytest.fixture(scope="module")
def texels() -> TeethTexels:
    found = teeth_texels(load_default_model(), RESOLUTION)
    assert found is not None
    return found


def shown(texels: TeethTexels, color, share: float = 1.0, weight: float = 1.0) -> ShownTeeth:
    weights = np.zeros(len(texels.rows), np.float32)
    weights[: round(share * len(weights))] = weight
    return ShownTeeth(texels, np.tile(np.float32(color), (len(weights), 1)), weights)


def test_enamel_has_the_tone_of_teeth_that_images_show(texels):
    np.testing.assert_allclose(enamel_tone(shown(texels, OWN)), OWN, rtol=1e-4)
    few = enamel_tone(shown(texels, OWN, share=0.08))
    assert np.all(few < ENAMEL) and np.all(few > OWN), "some teeth decide in part"


@pytest.mark.parametrize(("share", "weight"), [(0.01, 1.0), (1.0, 0.01)])
def test_enamel_is_the_usual_where_images_show_hardly_any(texels, share, weight):
    np.testing.assert_allclose(enamel_tone(shown(texels, OWN, share, weight)), ENAMEL, rtol=1e-5)


def test_no_enamel_is_blue_or_black(texels):
    blue, dark = enamel_tone(shown(texels, (0.4, 0.5, 0.7))), enamel_tone(shown(texels, DARK))
    assert blue[2] < blue[1] < blue[0]
    assert dark.min() > 0.2


def test_teeth_that_images_show_stay_as_they_are(table, texels):
    albedo = np.full((len(table.rows), 3), 0.3, np.float32)
    result = with_teeth(table, albedo, shown(texels, OWN, share=0.5))
    places = table.texels_at(texels.rows, texels.columns)
    half = len(places) // 2
    np.testing.assert_allclose(result[places[:half]], np.tile(np.float32(OWN), (half, 1)), rtol=1e-5)
    teeth = table.within((Region.TEETH,))
    assert teeth[places].all()
    assert np.array_equal(result[~teeth], albedo[~teeth])
    np.testing.assert_allclose(with_teeth(table, albedo, None)[teeth], np.tile(np.float32(ENAMEL), (teeth.sum(), 1)))


def test_flesh_has_the_tone_that_open_mouths_show(table):
    generated = np.full((len(table.rows), 3), (0.3, 0.1, 0.1), np.float32)
    inside = np.flatnonzero(table.within((Region.MOUTH_INTERIOR,)))

    def view(color) -> ViewAlbedo:
        albedo = np.tile(np.float16(color), (len(inside), 1))
        return ViewAlbedo(inside.astype(np.int32), albedo, np.ones(len(inside), np.float16))

    skin = np.float32(SKIN)
    np.testing.assert_allclose(flesh_tone(table, generated, [], skin), FLESH_TINT, rtol=1e-6)
    own = flesh_tone(table, generated, [view((0.45, 0.12, 0.1))], skin)
    np.testing.assert_allclose(own, (1.5, 1.2, 1.0), rtol=0.01)
    # Red lips in its place make it no redder than flesh is.
    lips = flesh_tone(table, generated, [view((0.6, 0.05, 0.04))], skin)
    assert (lips[0] / lips[1]) / (FLESH_TINT[0] / FLESH_TINT[1]) < 1.6
    # Teeth and lips' skin are no flesh, and one odd view does not make it black.
    np.testing.assert_allclose(flesh_tone(table, generated, [view((0.6, 0.5, 0.4))], skin), FLESH_TINT, rtol=1e-6)
    assert flesh_tone(table, generated, [view((0.003, 0.001, 0.001))], skin).min() > 0.2


def test_the_mouth_takes_both_and_all_else_stays(table, texels):
    albedo = np.full((len(table.rows), 3), 0.3, np.float32)
    found = with_mouth(table, albedo, ShownMouth(shown(texels, OWN), np.float32((1.2, 0.8, 0.7))))
    flesh, behind = table.within((Region.MOUTH_INTERIOR,)), table.within((Region.MOUTH_INTERIOR, Region.TEETH))
    np.testing.assert_allclose(found[flesh], np.tile(np.float32((0.36, 0.24, 0.21)), (flesh.sum(), 1)), rtol=1e-5)
    assert np.array_equal(found[~behind], albedo[~behind])
