"""Hair is drawn from both sides."""

from dataclasses import replace

import numpy as np

from fitme.arrays import Float32Array
from fitme.hair.hair import Hair, hair_surface
from fitme.hair.renderer import HairRenderer, HeadRender
from fitme.hair.texture import HairTexture
from fitme.render.light import Light
from fitme.shape.morphable_model import MorphableModel

from .conftest import CAMERA, pose_of


def test_hair_at_the_back_is_seen_through_gaps_at_the_front(
    model: MorphableModel, neutral: Float32Array, hair: Hair
) -> None:
    coverage = hair.texture.coverage
    middle = coverage.shape[1] // 2
    gap = np.array(coverage)
    gap[:, middle - 60 : middle + 60] = 0.0
    renderer = HairRenderer((CAMERA.height, CAMERA.width), threads=1)
    nothing = HeadRender(
        np.zeros((CAMERA.height, CAMERA.width, 3), np.uint8),
        np.zeros((CAMERA.height, CAMERA.width), np.uint8),
        np.zeros((CAMERA.height, CAMERA.width, 4), np.float32),
    )
    drawn = []
    for kept in (coverage, gap):
        texture = HairTexture(hair.texture.albedo, kept)
        renderer.set_hair(hair_surface(replace(hair, texture=texture), model, neutral), texture)
        drawn.append(renderer.render_over(nothing, pose_of(0), CAMERA, Light.ambient(1.0)))
    (whole, mask), (parted, parted_mask) = drawn
    shown = np.abs(whole.astype(int) - parted).max(-1) > 2
    assert shown.sum() > 500, "the gap is before the hair at the back"
    assert (parted_mask[shown] > 200).mean() > 0.9
    assert parted[shown].mean() < whole[shown].mean(), "the inner side lies in the shade"
    # Behind the gap a bulge of the outer side may come into sight as well.
    assert (mask >= parted_mask).mean() > 0.999
