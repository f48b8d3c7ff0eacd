from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fitme.shape.regions import Region
from fitme.skin.attributes import sample_attributes
from fitme.skin.painter import synthesize_skin
from fitme.skin.pigments import ITA_CLASSES, hair_color, ita_of_albedo, melanin_of_ita, skin_color
from fitme.skin.skin_tone_classes import ita_class_index, skin_ita_deg
from fitme.skin.texel_geometry import default_texel_geometry

SIZE = 64


def attributes_of(seed: int, **changes):
    plain = {"hair_density": 0.0, "hair_length": 0.0, "beard_density": (0.0,) * 4, "beard_shadow": 0.0, "lipstick": 0.0}
    return replace(sample_attributes(np.random.default_rng(seed)), **(plain | changes))


def forehead(skin) -> np.ndarray:
    texel_geometry = default_texel_geometry(SIZE)
    return skin.diffuse[(texel_geometry.u < 0.1) & (np.abs(texel_geometry.v - 0.19) < 0.02)].mean(0)


@settings(max_examples=8, deadline=None)
@given(st.integers(0, 10**6))
def test_skins_are_valid_reflectance(seed):
    skin = synthesize_skin(seed, SIZE)
    assert skin.diffuse.shape == (SIZE, SIZE, 3) and skin.specular.shape == (SIZE, SIZE, 1)
    assert np.isfinite(skin.diffuse).all() and skin.diffuse.min() > 0.0 and skin.diffuse.max() < 1.0
    assert skin.specular.min() >= 0.0 and skin.specular.max() <= 1.0
    np.testing.assert_allclose(np.linalg.norm(skin.normals, axis=-1), 1.0, atol=1e-5)
    assert skin.normals[..., 2].min() > 0.3


def test_equal_seeds_give_equal_skins_and_other_seeds_others():
    first, again, other = synthesize_skin(5, SIZE), synthesize_skin(5, SIZE), synthesize_skin(6, SIZE)
    np.testing.assert_array_equal(first.diffuse, again.diffuse)
    np.testing.assert_array_equal(first.normals, again.normals)
    assert np.abs(first.diffuse - other.diffuse).mean() > 0.005


@pytest.mark.parametrize(("low", "high"), ITA_CLASSES.values(), ids=ITA_CLASSES)
def test_painted_skin_has_the_ita_of_its_attributes(low, high):
    middle = (low + high) / 2.0
    skin = synthesize_skin(1, SIZE, attributes=attributes_of(1, ita_deg=middle, tan_lines=0.0, freckles=0.0))
    assert low - 10.0 < float(ita_of_albedo(forehead(skin))) < high + 10.0


def test_sampled_itas_are_balanced_over_the_classes():
    angles = np.array([sample_attributes(np.random.default_rng(seed)).ita_deg for seed in range(1200)])
    for low, high in ITA_CLASSES.values():
        assert 0.12 < ((angles >= low) & (angles < high)).mean() < 0.22


def test_painted_itas_are_balanced_over_the_classes():
    texel_geometry = default_texel_geometry(SIZE)
    angles = [skin_ita_deg(synthesize_skin(seed, SIZE).diffuse, texel_geometry) for seed in range(300)]
    shares = np.bincount(ita_class_index(np.array(angles)), minlength=len(ITA_CLASSES)) / len(angles)
    sampling_margin = 0.055  # 2.5 standard deviations of a share of 300 draws
    assert shares.min() > 0.12 - sampling_margin and shares.max() < 0.22 + sampling_margin


def test_pigments_darken_and_redden():
    amounts = np.linspace(0.002, 1.0, 20)
    by_melanin = skin_color(amounts, np.full(20, 0.01))
    assert (np.diff(by_melanin.sum(-1)) < 0.0).all()
    by_blood = skin_color(np.full(20, 0.02), np.linspace(0.004, 0.2, 20))
    assert (np.diff(by_blood[:, 1] / by_blood[:, 0]) < 0.0).all()
    assert melanin_of_ita(-50.0, 0.01) > melanin_of_ita(20.0, 0.01) > melanin_of_ita(60.0, 0.01)
    black, fair, red = hair_color(3.0, 0.0), hair_color(0.05, 0.1), hair_color(0.05, 0.6)
    assert black.max() < fair.min() and red[0] / red[2] > fair[0] / fair[2]


def test_hair_beard_and_eyes_appear_where_they_belong():
    texel_geometry = default_texel_geometry(128)
    fair = {"ita_deg": 55.0, "hair_eumelanin": 2.0, "hair_pheomelanin": 0.0, "hair_gray": 0.0}
    bald = synthesize_skin(2, 128, attributes=attributes_of(2, **fair)).diffuse.mean(-1)
    hairy = synthesize_skin(
        2, 128, attributes=attributes_of(2, **fair, hair_density=1.0, hairline_rise=0.0, beard_density=(1.0,) * 4)
    ).diffuse.mean(-1)
    crown, nose = (texel_geometry.v < 0.05), (texel_geometry.u < 0.03) & (np.abs(texel_geometry.v - 0.38) < 0.03)
    chin = (texel_geometry.u < 0.05) & (np.abs(texel_geometry.v - 0.68) < 0.02)
    assert hairy[crown].mean() < 0.3 * bald[crown].mean()
    assert hairy[chin].mean() < 0.6 * bald[chin].mean()
    np.testing.assert_allclose(hairy[nose], bald[nose], atol=0.02)
    pupil, sclera = (
        texel_geometry.iris < 0.3,
        (texel_geometry.iris > 1.4) & texel_geometry.is_region(Region.EYES) & (texel_geometry.iris < 2.0),
    )
    assert bald[pupil].mean() < 0.15 < 0.4 < bald[sclera].mean()


def test_lips_are_redder_than_and_about_as_specular_as_the_cheek():
    texel_geometry = default_texel_geometry(SIZE)
    skin = synthesize_skin(4, SIZE, attributes=attributes_of(4, ita_deg=50.0, moisture=0.8))
    lips = (texel_geometry.lips < -0.004) & (texel_geometry.inner_lips > 0.004) & texel_geometry.is_region(Region.LIPS)
    cheek = (np.abs(texel_geometry.u - 0.15) < 0.03) & (np.abs(texel_geometry.v - 0.42) < 0.03)
    assert skin.diffuse[lips][:, 1].mean() / skin.diffuse[lips][:, 0].mean() < 0.95 * (
        skin.diffuse[cheek][:, 1].mean() / skin.diffuse[cheek][:, 0].mean()
    )
    assert 0.85 < skin.specular[lips].mean() / skin.specular[cheek].mean() < 1.25


def test_age_deepens_creases():
    smooth = synthesize_skin(3, 128, attributes=attributes_of(3, wrinkles=0.0))
    creased = synthesize_skin(3, 128, attributes=attributes_of(3, wrinkles=1.0))
    assert creased.normals[..., :2].std() > 1.1 * smooth.normals[..., :2].std()
