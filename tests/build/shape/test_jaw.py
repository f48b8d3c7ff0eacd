import numpy as np

from fitme.build.shape.source_mesh import Part
from fitme.build.shape.teeth import JAW_TURN, with_jaw_turned
from fitme.shape.expressions import EXPRESSION_COUNT, expression_index


def test_lower_teeth_and_tongue_move_farther_with_the_jaw_alone():
    quads = np.array([[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 10, 11]])
    part = np.array([Part.HEAD, Part.LOWER_TEETH, Part.TONGUE])
    before = np.random.default_rng(0).normal(size=(EXPRESSION_COUNT, 12, 3))
    after = with_jaw_turned(before, quads, part)
    jaw = expression_index("jawOpen")
    np.testing.assert_allclose(after[jaw, 4:], JAW_TURN * before[jaw, 4:])
    np.testing.assert_array_equal(after[jaw, :4], before[jaw, :4])
    np.testing.assert_array_equal(np.delete(after, jaw, 0), np.delete(before, jaw, 0))
