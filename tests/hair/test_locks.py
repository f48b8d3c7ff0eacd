"""Locks lie along the hair's flow, and hair ends in their tips."""

import numpy as np

from fitme.hair.flow import flow
from fitme.hair.locks import LockShape, at_roots, locks
from fitme.hair.texels import TEXTURE_COLUMNS, TEXTURE_ROWS

SHAPE = LockShape(length_m=0.03, width_m=0.006, spread_rad=0.1, bend=0.0)
NORMALS = np.random.default_rng(0).normal(size=(500, 3))
NORMALS /= np.linalg.norm(NORMALS, axis=1, keepdims=True)


def test_hair_flows_along_the_head_and_hanging_hair_down() -> None:
    for hanging in (0.0, 1.0):
        along = flow(NORMALS, hanging)
        np.testing.assert_allclose(np.linalg.norm(along, axis=1), 1.0, atol=1e-6)
        np.testing.assert_allclose((along * NORMALS).sum(1), 0.0, atol=1e-6)
    low = np.abs(NORMALS[:, 1]) < 0.4
    assert (flow(NORMALS, 1.0)[low, 1] < -0.3).all()
    assert flow(NORMALS, 0.0)[low, 1].std() > flow(NORMALS, 1.0)[low, 1].std()


def test_locks_cover_the_head_and_lie_below_their_roots() -> None:
    lay = locks(SHAPE, 1.0)
    rows, columns = np.indices((TEXTURE_ROWS, TEXTURE_COLUMNS))
    own = (lay.root[..., 0] == columns) & (lay.root[..., 1] == rows)
    assert own[100:300].mean() < 0.15, "few gaps"
    # At the back below the whorl hair goes down: roots lie above.
    back = np.s_[200:300, :60]
    assert (lay.root[..., 1][back] <= rows[back] + 2).mean() > 0.98
    away = np.hypot(lay.root[..., 1] - rows, (lay.root[..., 0] - columns + 384) % 768 - 384)[150:192]
    assert away.max() < 2.5 * SHAPE.length_m / 0.0008


def test_locks_are_present_or_not_as_a_whole() -> None:
    lay = locks(SHAPE, 0.0)
    density = np.zeros((TEXTURE_ROWS, TEXTURE_COLUMNS), np.float32)
    density[:200] = 1.0
    ended = at_roots(density, lay)
    # A line across the head becomes a row of tips: on each column hair ends elsewhere.
    ends = (ended[150:300] > 0.5).sum(0)
    assert ends.std() > 3.0
    assert ends.min() > 40
