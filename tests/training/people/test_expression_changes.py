"""Mean change by a smile: found under other light, mirror symmetric."""

import numpy as np
import pytest

from fitme.errors import InputError
from fitme.shape.expressions import EXPRESSION_COUNT, expression_index
from fitme.skin.texel_geometry import TexelGeometry, default_texel_geometry
from fitme.training.people.expression_changes import SHRINKAGE, SmilePair, smile_prior
from fitme.training.people.portrait_fit import PortraitTexture

RESOLUTION = 128
FOLD = -0.3


@pytest.fixture(scope="module")
def geometry() -> TexelGeometry:
    return default_texel_geometry(RESOLUTION)


def pair(geometry: TexelGeometry, light: float, seen: float = 0.9) -> SmilePair:
    """A person whose skin is darker in a fold of the right side of the image when smiling, under other light."""
    covered = geometry.covered.astype(np.float32)
    neutral = np.full((RESOLUTION, RESOLUTION, 3), 0.3, np.float32)
    smiling = (
        light * np.where(fold(geometry)[..., None], np.exp(FOLD), 1.0).astype(np.float32) * (neutral + 0.01) - 0.01
    )
    expression = np.zeros(EXPRESSION_COUNT, np.float32)
    expression[expression_index("mouthSmileLeft")] = 0.8
    return SmilePair(
        PortraitTexture(neutral, seen * covered, covered), PortraitTexture(smiling, seen * covered, covered), expression
    )


def fold(geometry: TexelGeometry) -> np.ndarray:
    u = (np.arange(RESOLUTION) + 0.5)[None] / RESOLUTION
    return (u > 0.58) & (u < 0.66) & (geometry.v > 0.42) & (geometry.v < 0.5)


def test_fold_is_found_on_both_sides_whatever_the_light(geometry: TexelGeometry) -> None:
    prior = smile_prior((pair(geometry, light) for light in np.linspace(0.7, 1.4, 12)), geometry)
    change = prior.changes[0].numpy()
    inner = fold(geometry) & np.roll(fold(geometry), 2, 1) & np.roll(fold(geometry), 2, 0)
    np.testing.assert_allclose(change[inner], SHRINKAGE * 0.5 * FOLD, atol=0.01)
    np.testing.assert_allclose(change, change[:, ::-1], atol=1e-6)
    assert np.abs(change[~(fold(geometry) | fold(geometry)[:, ::-1])]).max() < 0.01
    for side in ("Left", "Right"):
        assert prior.expressions[0, expression_index(f"mouthSmile{side}")] == pytest.approx(0.4)


def test_unseen_faces_are_an_error(geometry: TexelGeometry) -> None:
    with pytest.raises(InputError, match="no pair"):
        smile_prior([pair(geometry, 1.0, seen=0.1)], geometry)
