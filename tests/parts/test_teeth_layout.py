"""Bands of the rows of teeth in the head's map: where nothing else lies, along the arch from right to left."""

import numpy as np
import pytest

from fitme.parts.drawn_head import DrawnHead, drawn_head
from fitme.parts.teeth_layout import LOWER, UPPER, TeethLayout, TeethRow
from fitme.parts.textures import GUM, teeth_map, teeth_shades
from fitme.shape.model_file import load_default_model
from fitme.shape.raster import uv_raster
from fitme.shape.regions import Region

SIDE = 512


@pytest.fixture(scope="module")
def drawn() -> DrawnHead:
    return drawn_head(load_default_model())


@pytest.fixture(scope="module")
def layout(drawn: DrawnHead) -> TeethLayout:
    assert drawn.teeth is not None
    return drawn.teeth


def row(layout: TeethLayout, name: str) -> TeethRow:
    return next(found for found in layout.rows if found.part.name == name)


@pytest.mark.parametrize("name", [UPPER, LOWER])
def test_bands_lie_on_the_rows_of_the_model_which_parts_hide(layout: TeethLayout, drawn: DrawnHead, name: str):
    model = load_default_model()
    triangle = uv_raster(model, SIDE).triangle
    left, top, right, bottom = (round(edge * SIDE) for edge in row(layout, name).band)
    inside = triangle[top:bottom, left:right]
    assert inside.size > 100 and (inside >= 0).all()
    assert (model.triangle_region.numpy()[inside] == int(Region.TEETH)).all()
    assert drawn.parts is not None and drawn.parts.hidden[inside].all()


@pytest.mark.parametrize("name", [UPPER, LOWER])
def test_crowns_fill_their_band_with_their_edges_at_the_other_rows_side(layout: TeethLayout, name: str):
    found = row(layout, name)
    coverage, (rows, columns) = found.surface(SIDE)
    assert coverage.triangle.shape == (rows.stop - rows.start, columns.stop - columns.start)
    covered = coverage.triangle >= 0
    assert covered.mean() > 0.75
    # Edges meet between the rows, gums are away from there.
    edge, gum = (covered[-3:-1], covered[:1]) if name == UPPER else (covered[1:3], covered[-1:])
    assert edge.mean() > gum.mean()
    # The layout's u grows to the person's left.
    heights = found.part.binding.apply(load_default_model().mean.numpy())
    assert np.corrcoef(found.along[:, 0], heights[:, 0])[0, 1] > 0.9


def test_teeth_have_the_colours_of_their_places_in_the_bands(layout: TeethLayout, drawn: DrawnHead):
    assert drawn.parts is not None
    diffuse = np.full((SIDE, SIDE, 3), 0.5, np.float32)
    found = row(layout, UPPER)
    left, top, right, bottom = (round(edge * SIDE) for edge in found.band)
    diffuse[top:bottom, (left + right) // 2 : right] = (0.8, 0.6, 0.4)  # The person's left.
    albedo = teeth_map(drawn.parts, layout, diffuse)
    bare = albedo / teeth_shades(drawn.parts)
    points = found.part.binding.apply(load_default_model().mean.numpy())
    height, width = albedo.shape[:2]
    at = np.zeros((len(points), 2))
    at[found.part.triangles.ravel()] = found.part.uv[found.part.uv_triangles.ravel()]
    sampled = bare[
        (at[:, 1] * height).astype(int).clip(0, height - 1), (at[:, 0] * width).astype(int).clip(0, width - 1)
    ]
    front = points[:, 2] > points[:, 2].max() - 0.012
    for side, color in ((points[:, 0] > 0.002, (0.8, 0.6, 0.4)), (points[:, 0] < -0.002, (0.5, 0.5, 0.5))):
        np.testing.assert_allclose(np.median(sampled[front & side], axis=0), color, rtol=0.02)
    gums = drawn.parts.teeth_texture[..., 3] == 0
    np.testing.assert_allclose(np.median(bare[gums], axis=0), GUM, rtol=0.02)
