"""Tone of enamel from a fused texture: the person's where images show teeth, the usual one where they show others."""

import numpy as np
import pytest

from fitme.color import LUMINANCE
from fitme.fit.texture.fusion import FusedTexture
from fitme.fit.texture.mouth_tones import FLESH_TINT, enamel_tone, front_teeth, with_tones
from fitme.fit.texture.unprojection import TexelTable, texel_table
from fitme.parts.textures import ENAMEL
from fitme.shape.model_file import load_default_model
from fitme.shape.regions import Region

SKIN, OWN, DARK, LIPS = (0.45, 0.25, 0.18), (0.8, 0.66, 0.55), (0.06, 0.02, 0.02), (0.45, 0.15, 0.14)


@pytest.fixture(scope="module")
def table() -> TexelTable:
    return texel_table(load_default_model(), 256)


def fused(table: TexelTable, teeth, confidence: float = 0.9, share: float = 1.0) -> FusedTexture:
    observed = np.tile(np.float32(SKIN), (len(table.rows), 1))
    front = np.flatnonzero(front_teeth(table))
    observed[front] = DARK
    observed[front[: round(share * len(front))]] = teeth
    known = np.full(len(observed), confidence, np.float32)
    return FusedTexture(observed, observed, observed, np.ones((len(observed), 1), np.float32), known, (), (), known)


def test_enamel_has_the_tone_of_teeth_that_images_show(table):
    np.testing.assert_allclose(enamel_tone(table, fused(table, OWN, share=0.6)), OWN, rtol=1e-5)
    few = enamel_tone(table, fused(table, OWN, share=0.2))
    assert np.all(few > ENAMEL) and np.all(few < OWN), "some teeth decide in part"


def test_enamel_is_the_usual_before_a_mouth_was_open(table):
    np.testing.assert_allclose(enamel_tone(table, fused(table, OWN, confidence=0.1)), ENAMEL, rtol=1e-6)


@pytest.mark.parametrize("teeth", [DARK, LIPS])
def test_enamel_is_the_usual_where_an_open_mouth_shows_none(table, teeth):
    np.testing.assert_allclose(enamel_tone(table, fused(table, teeth)), ENAMEL, rtol=1e-5)


def test_generated_teeth_take_the_tone_and_flesh_loses_blue(table):
    random = np.random.default_rng(0)
    albedo = random.uniform(0.2, 0.6, (len(table.rows), 3)).astype(np.float32)
    found = with_tones(table, albedo, np.float32(OWN))
    teeth, flesh = (table.region == int(region) for region in (Region.TEETH, Region.MOUTH_INTERIOR))
    np.testing.assert_allclose(
        found[teeth] / found[teeth, 1:2], np.tile(np.divide(OWN, OWN[1]), (teeth.sum(), 1)), rtol=1e-4
    )
    order = np.argsort(albedo[teeth] @ LUMINANCE)
    assert (np.diff((found[teeth] @ LUMINANCE)[order]) >= -1e-6).all(), "the pattern stays"
    np.testing.assert_allclose(found[flesh], albedo[flesh] * np.float32(FLESH_TINT), rtol=1e-5)
    others = ~(teeth | flesh)
    assert np.array_equal(found[others], albedo[others])
