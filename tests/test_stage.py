"""Stages have an order of their own, not that of their names, and the values that files and the wire hold."""

import subprocess
import sys

from fitme.stage import Stage


def test_stages_are_ordered_by_the_fit() -> None:
    assert [stage.position for stage in Stage] == [0, 1, 2, 3, 4]
    assert Stage.TUNING.has_reached(Stage.SKIN)
    assert Stage.SKIN.has_reached(Stage.SKIN)
    assert not Stage.LANDMARKS.has_reached(Stage.INVERSION)


def test_values_are_those_of_files_and_the_wire() -> None:
    assert [stage.value for stage in Stage] == ["waiting", "landmarks", "skin", "inversion", "tuning"]


def test_the_module_needs_neither_numpy_nor_torch() -> None:
    code = "import sys, fitme.stage; sys.exit(bool({'numpy', 'torch'} & set(sys.modules)))"
    subprocess.run([sys.executable, "-c", code], check=True)
