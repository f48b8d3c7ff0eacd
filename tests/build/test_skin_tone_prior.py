"""The skin-tone prior's builder: groups are equal, ordered, and their means geometric."""

import numpy as np

from fitme.build.skin_tone_prior import tones_of
from fitme.fit.lighting.albedo_scale import SKIN_TONES


def test_tones_are_geometric_means_of_groups_from_light_to_dark() -> None:
    draw = np.random.default_rng(0)
    lightness = np.linspace(-1.0, 0.0, 400)
    albedos = np.exp(lightness[:, None] * [0.9, 1.2, 1.4] - [0.4, 0.8, 1.1])
    tones = tones_of(albedos[draw.permutation(400)], 4)
    expected = [np.exp(np.log(albedos[group]).mean(0)) for group in np.split(np.arange(400), 4)]
    np.testing.assert_allclose(tones, expected[::-1])


def test_the_shipped_prior_goes_from_light_to_dark() -> None:
    assert SKIN_TONES.shape == (20, 3)
    assert (np.diff(SKIN_TONES, axis=0) < 0.0).all()
    assert (np.diff(SKIN_TONES, axis=1) < 0.0).all()
