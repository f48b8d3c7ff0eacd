"""Detail of unseen skin: as strong as people's, nothing where images decide, the person's own strength."""

from pathlib import Path

import numpy as np
import pytest

from fitme.color import LUMINANCE
from fitme.errors import ModelFileError
from fitme.fit.texture.skin.detail import Octaves, add_detail
from fitme.fit.texture.skin.mask import OFFSET
from fitme.fit.texture.unprojection import TexelTable, texel_table
from fitme.reflectance.skin_detail import SkinDetail, load_skin_detail, packaged_skin_detail, save_skin_detail
from fitme.shape.model_file import load_default_model
from fitme.shape.regions import Region

RESOLUTION = 256
TONE = 0.3


@pytest.fixture(scope="module")
def table() -> TexelTable:
    return texel_table(load_default_model(), RESOLUTION)


@pytest.fixture(scope="module")
def detail() -> SkinDetail:
    return packaged_skin_detail()


def sigmas(table: TexelTable, detail: SkinDetail, albedo: np.ndarray, at: np.ndarray) -> np.ndarray:
    """Standard deviation of log luminance of each octave at some texels."""
    octaves = Octaves.of(detail, RESOLUTION)
    inside = table.within((Region.SKIN,))[:, None].astype(np.float32)
    light = np.log(albedo + OFFSET) @ LUMINANCE
    bands = octaves.split(table.to_map(light[:, None])[..., 0], table.to_map(inside)[..., 0])
    return np.array([table.from_map(band[..., None])[at].std() for band in bands])


def cheek(table: TexelTable, left: bool) -> np.ndarray:
    u, v = (table.columns + 0.5) / RESOLUTION, (table.rows + 0.5) / RESOLUTION
    side = (u > 0.63) & (u < 0.71) if left else (u > 0.29) & (u < 0.37)
    return np.flatnonzero(side & (v > 0.4) & (v < 0.48) & (table.region == Region.SKIN))


def plain(table: TexelTable) -> np.ndarray:
    return np.full((len(table.rows), 3), TONE, np.float32)


def test_unseen_skin_gets_the_variance_of_peoples_and_nothing_else_changes(table: TexelTable, detail: SkinDetail):
    none = np.zeros((len(table.rows), 1), np.float32)
    result = add_detail(table, plain(table), none, none, detail)
    octaves = Octaves.of(detail, RESOLUTION)
    cheeks = detail.parts["cheeks"]
    shift = np.log(TONE + OFFSET) - detail.log_tone
    wanted = np.exp(np.add(octaves.values(cheeks.log_sigma), shift * np.array(octaves.values(cheeks.tone_slope))))
    found = sigmas(table, detail, result, cheek(table, left=True))
    assert (found / wanted > 1 / 1.5).all() and (found / wanted < 1.5).all(), found / wanted
    other = ~table.within((Region.SKIN, Region.LIPS, Region.NECK, Region.EARS))
    np.testing.assert_allclose(result[other], TONE, atol=1e-5)
    assert abs(result[cheek(table, left=True)].mean() - TONE) < 0.01


def test_what_images_show_is_left_alone(table: TexelTable, detail: SkinDetail):
    every = np.ones((len(table.rows), 1), np.float32)
    np.testing.assert_allclose(add_detail(table, plain(table), every, every, detail), TONE, atol=1e-5)


def test_unseen_skin_is_as_rough_as_the_persons_own(table: TexelTable, detail: SkinDetail):
    seen = (table.columns < RESOLUTION // 2).astype(np.float32)[:, None]
    noise = np.random.default_rng(0).standard_normal((len(table.rows), 1)).astype(np.float32)
    rough, fine = (
        sigmas(
            table, detail,
            add_detail(table, plain(table) * np.exp(strength * seen * noise), seen, seen, detail),
            cheek(table, left=True),
        )
        for strength in (0.08, 0.01)
    )  # fmt: skip
    assert (rough > 1.3 * fine).all()


def test_detail_that_is_there_already_is_counted(table: TexelTable, detail: SkinDetail):
    none = np.zeros((len(table.rows), 1), np.float32)
    once = add_detail(table, plain(table), none, none, detail)
    twice = add_detail(table, once, none, none, detail)
    at = cheek(table, left=True)
    assert (sigmas(table, detail, twice, at) < 1.25 * sigmas(table, detail, once, at)).all()


def test_statistics_are_kept_by_their_file(detail: SkinDetail, tmp_path: Path):
    path = tmp_path / "detail.json"
    save_skin_detail(detail, path)
    assert load_skin_detail(path) == detail
    path.write_text(path.read_text().replace('"version": 1', '"version": 2'))
    with pytest.raises(ModelFileError, match="fitme train detail"):
        load_skin_detail(path)
    path.write_text("{}")
    with pytest.raises(ModelFileError, match="holds no statistics"):
        load_skin_detail(path)
