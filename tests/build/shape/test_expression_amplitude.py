import numpy as np
import pytest

from fitme.build.shape.expression_amplitude import AMPLITUDE, LIP, measured_amplitude, with_amplitudes
from fitme.shape.expressions import EXPRESSION_COUNT, EXPRESSION_NAMES, expression_index
from fitme.shape.model_file import load_default_model

UNITS_PER_M = 100.0
IBUG_COUNT = 68


def test_both_sides_of_named_expressions_are_multiplied_alone():
    before = np.random.default_rng(0).normal(size=(EXPRESSION_COUNT, 5, 3))
    after = with_amplitudes(before, {"mouthUpperUp": 2.0})
    changed = [expression_index("mouthUpperUpLeft"), expression_index("mouthUpperUpRight")]
    np.testing.assert_allclose(after[changed], 2.0 * before[changed])
    np.testing.assert_array_equal(np.delete(after, changed, 0), np.delete(before, changed, 0))
    assert AMPLITUDE.keys() == LIP.keys()


def test_a_factor_is_what_the_lips_of_scans_move_farther(tmp_path):
    # "Scans" whose landmarks move 1.5 times as far as those of the shipped model.
    model = load_default_model()
    moved = 1.5 * UNITS_PER_M * model.ibug_landmarks(model.expression_basis).numpy()
    names = [n.removesuffix("Left") + "_L" if n.endswith("Left") else n.removesuffix("Right") + "_R"
             for n in EXPRESSION_NAMES]  # fmt: skip
    path = tmp_path / "people.npz"
    np.savez(path, expression=moved, expression_names=names, landmark_vertices=np.arange(IBUG_COUNT))
    found = measured_amplitude(model, path)
    assert found == {name: pytest.approx(1.5, rel=1e-3) for name in LIP}
