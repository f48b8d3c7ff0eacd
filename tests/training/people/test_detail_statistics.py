"""Statistics of skin's detail, measured on textures of known noise."""

import numpy as np
import pytest

from fitme.errors import InputError
from fitme.skin.texel_geometry import default_texel_geometry
from fitme.training.people.detail_statistics import detail_statistics
from fitme.training.people.portrait_fit import PortraitTexture

RESOLUTION = 256


def textures(count: int, sigma: float, tones: tuple[float, ...] = (0.3,)) -> list[PortraitTexture]:
    random = np.random.default_rng(0)
    covered = default_texel_geometry(RESOLUTION).covered.astype(np.float32)
    made = []
    for index in range(count):
        light = sigma * random.standard_normal((RESOLUTION, RESOLUTION, 1))
        albedo = tones[index % len(tones)] * np.exp(light).repeat(3, -1)
        made.append(PortraitTexture(albedo.astype(np.float32), 0.9 * covered, covered))
    return made


def test_strength_is_found_in_every_part_and_marginals_are_normalised():
    weak, strong = (detail_statistics(textures(5, sigma), RESOLUTION) for sigma in (0.02, 0.06))
    for name in ("forehead", "cheeks", "nose", "chin"):
        ratio = np.exp(np.subtract(strong.parts[name].log_sigma, weak.parts[name].log_sigma))
        np.testing.assert_allclose(ratio, 3.0, rtol=0.15)
    # Grey noise: all channels are one.
    np.testing.assert_allclose(np.asarray(weak.color)[:, :, 0], 1.0, atol=0.05)
    quantiles = np.asarray(weak.quantiles)
    np.testing.assert_allclose(quantiles[:, len(quantiles[0]) // 2], 0.0, atol=0.1)
    np.testing.assert_allclose(quantiles[:, [0, -1]], [[-2.58, 2.58]] * len(quantiles), atol=0.35)


def test_too_few_people_are_an_error():
    with pytest.raises(InputError, match="give more"):
        detail_statistics(textures(2, 0.02), RESOLUTION)
