"""Shading of the mouth's interior before any frame has shown it."""

import numpy as np
import torch

from fitme.fit.texture.mouth_interior import DARK, LOWER_TEETH_SHADE, open_mouth
from fitme.fit.texture.unprojection import texel_table
from fitme.reflectance.maps import ReflectanceMaps
from fitme.render.occlusion import MIN_TEETH_FACTOR, head_occlusion, teeth_and_adjacent
from fitme.shape.model_file import load_default_model
from fitme.shape.regions import Region

RESOLUTION = 256


def test_teeth_end_in_the_dark_and_nothing_is_mirrored_there() -> None:
    model = load_default_model()
    table = texel_table(model, RESOLUTION)
    mouth = open_mouth(model, RESOLUTION)
    maps = mouth.over(ReflectanceMaps.constant((0.7, 0.6, 0.5), 0.4, RESOLUTION))
    diffuse, specular = (table.from_map(part[0].numpy()) for part in (maps.diffuse, maps.specular))
    teeth = table.region == Region.TEETH
    middle = np.median(table.rows[teeth])  # The layout has the upper row above the lower one.
    upper, lower = teeth & (table.rows < middle), teeth & (table.rows > middle)
    assert np.allclose(diffuse[upper], (0.7, 0.6, 0.5), atol=1e-6)
    shaded = np.isclose(diffuse[lower], LOWER_TEETH_SHADE * np.array([0.7, 0.6, 0.5]), atol=1e-6).all(-1)
    assert shaded.mean() > 0.9
    outside = np.isin(table.region, [int(r) for r in (Region.SKIN, Region.LIPS, Region.EYES, Region.EARS)])
    assert np.allclose(diffuse[outside], (0.7, 0.6, 0.5), atol=1e-6)
    assert np.allclose(specular[outside], 0.4)
    assert not specular[teeth | (table.region == Region.MOUTH_INTERIOR)].any()
    behind = teeth_and_adjacent(model) & ~model.vertex_mask(Region.TEETH)
    rim = table.interpolate(behind.float()[:, None]).numpy()[:, 0]
    assert np.allclose(diffuse[rim > 0.5], DARK, atol=1e-6)
    assert (rim > 0.5).sum() > 100


def test_surfaces_behind_teeth_are_occluded_like_them() -> None:
    model = load_default_model()
    both = teeth_and_adjacent(model)
    assert both[model.vertex_mask(Region.TEETH)].all()
    assert not torch.equal(both, model.vertex_mask(Region.TEETH))
    assert (head_occlusion(model)[both] >= MIN_TEETH_FACTOR).all()
    assert not both[model.vertex_mask(Region.LIPS, Region.SKIN)].any()
