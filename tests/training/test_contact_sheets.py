"""Contact sheets of samples."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fitme.reflectance.generator import ReflectanceGenerator
from fitme.reflectance.maps import ReflectanceMaps
from fitme.shape.model_file import load_default_model
from fitme.training.contact_sheets import (
    LARGEST_IMAGE_BYTES,
    HeadRenderer,
    front_light,
    interpolation,
    map_sheet,
    sample_latents,
    sample_maps,
    side_light,
    write_image,
)


@pytest.fixture(scope="module")
def renderer() -> HeadRenderer:
    return HeadRenderer(load_default_model(), (64, 48))


def test_a_head_fills_its_render_and_has_its_colour(renderer: HeadRenderer):
    pale, dark = (
        renderer.render(ReflectanceMaps.constant(color, 0.3, 16), front_light())
        for color in ((0.7, 0.5, 0.4), (0.1, 0.06, 0.04))
    )
    assert pale.shape == (64, 48, 3)
    differs = np.abs(pale.astype(int) - dark).sum(-1) > 30
    assert differs.mean() > 0.5
    rows, columns = np.nonzero(differs)
    assert rows.min() < 6 and columns.max() - columns.min() > 34
    assert columns.min() > 0 and columns.max() < 47


def test_the_lights_differ(renderer: HeadRenderer):
    maps = ReflectanceMaps.constant((0.5, 0.3, 0.25), 0.3, 16)
    front, side = renderer.render(maps, front_light()), renderer.render(maps, side_light())
    assert front[20:44, 10:24].mean() > side[20:44, 10:24].mean() + 20


def test_a_sheet_has_a_render_for_every_head(renderer: HeadRenderer):
    maps = ReflectanceMaps.concatenated([ReflectanceMaps.constant((0.1 * k, 0.2, 0.2), 0.3, 8) for k in range(1, 6)])
    sheet = renderer.sheet(maps, 3, front_light())
    assert sheet.shape == (2 * 64, 3 * 48, 3)
    np.testing.assert_array_equal(sheet[64:, 48:96], renderer.render(maps.one(4), front_light()))
    assert not sheet[64:, 96:].any()


def test_samples_depend_on_the_seed_alone(tiny_generator: ReflectanceGenerator):
    first, again, other = (sample_maps(tiny_generator, 5, seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first.diffuse, again.diffuse)
    assert not np.array_equal(first.diffuse, other.diffuse)
    assert map_sheet(first).shape == (3 * 64, 5 * 64, 3)


def test_interpolation_goes_from_seed_to_seed(tiny_generator: ReflectanceGenerator):
    line = interpolation(tiny_generator, (1, 2, 3), between=2)
    assert len(line.diffuse) == 7
    ends = [sample_maps(tiny_generator, 1, seed).diffuse for seed in (1, 2, 3)]
    for index, end in zip((0, 3, 6), ends, strict=True):
        np.testing.assert_allclose(line.diffuse[index], end[0], atol=1e-4)
    w = [sample_latents(tiny_generator, 1, seed) for seed in (1, 2)]
    assert not np.allclose(w[0], w[1])


def test_written_images_are_small_and_complete(tmp_path: Path):
    noise = np.random.default_rng(0).integers(0, 255, (900, 900, 3), np.uint8)
    write_image(noise, tmp_path / "noise.jpg")
    write_image(noise[:40], tmp_path / "noise.png")
    assert (tmp_path / "noise.jpg").stat().st_size <= LARGEST_IMAGE_BYTES
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "noise.png")), noise[:40])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["noise.jpg", "noise.png"]
