"""Irises in the head's map, found where they were painted."""

import numpy as np
import pytest

from fitme.arrays import Float32Array
from fitme.parts.eye_map import eye_map
from fitme.parts.iris_place import COMMON, IRIS_RADIUS, POLES_UV, iris_place, turned

SIDE_PX = 512
BROWN, WHITE, SKIN = (0.05, 0.03, 0.02), (0.5, 0.46, 0.44), (0.4, 0.25, 0.2)


def painted(side: int, across: float, down: float, radius: float) -> Float32Array:
    """Map with an eye between lids: an iris whose upper part is hidden, in the sclera."""
    y, x = (np.mgrid[:SIDE_PX, :SIDE_PX] + 0.5) / SIDE_PX
    x, y = (x - POLES_UV[side][0]) / IRIS_RADIUS - turned(side), (y - POLES_UV[side][1]) / IRIS_RADIUS
    diffuse = np.full((SIDE_PX, SIDE_PX, 3), SKIN, np.float32)
    between = (y > -0.45) & (y < 0.9)
    diffuse[between & (np.abs(x) < 1.9)] = WHITE
    diffuse[between & (np.hypot(x - across, y - down) < radius)] = BROWN
    return diffuse


@pytest.mark.parametrize("side", [0, 1])
@pytest.mark.parametrize(("across", "down", "radius"), [(0.0, 0.08, 0.96), (-0.16, 0.24, 0.84), (0.16, 0.0, 1.0)])
def test_an_iris_is_found_where_it_is(side: int, across: float, down: float, radius: float) -> None:
    found = iris_place(painted(side, across, down, radius), side)
    assert found.across == pytest.approx(across, abs=0.09)
    assert found.down == pytest.approx(down, abs=0.17)
    assert found.radius == pytest.approx(radius, abs=0.05)


def test_a_map_without_eyes_has_the_common_iris() -> None:
    assert iris_place(np.full((64, 64, 3), SKIN, np.float32), 0) == COMMON


def test_the_drawn_iris_lies_there_in_the_persons_colour() -> None:
    drawn = eye_map(painted(0, 0.16, 0.0, 0.84), 0)
    dark = np.flatnonzero(drawn[len(drawn) // 2].mean(-1) < 0.15)
    middle = (dark.min() + dark.max()) / 2.0 - (drawn.shape[1] - 1) / 2.0
    assert middle > 1.0
    ratio = drawn[len(drawn) // 2, dark].mean(0)
    assert ratio[0] > 1.2 * ratio[2]
