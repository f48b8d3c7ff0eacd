"""Set of people: built from portraits without one, resumed, and split from those who are held out."""

from pathlib import Path

import pytest

from fitme.errors import InputError
from fitme.training.people.people_set import find_portraits, load_people_set, name_of
from fitme.training.people.split import HELD_OUT_LONDON, is_held_out


def test_fifteen_people_are_held_out_in_both_expressions():
    assert len(set(HELD_OUT_LONDON)) == 15
    assert is_held_out(Path("london/003_neutral.jpg"))
    assert is_held_out(Path("london/003_smiling.jpg"))
    assert not is_held_out(Path("canada/003f.jpg"))


def test_a_folder_without_portraits_is_an_error(tmp_path: Path):
    with pytest.raises(InputError, match="holds no portraits"):
        find_portraits(tmp_path)
    (tmp_path / "b.jpg").touch()
    (tmp_path / "a.png").touch()
    (tmp_path / "notes.txt").touch()
    assert [name_of(path) for path in find_portraits(tmp_path)] == [f"{tmp_path.name}_a", f"{tmp_path.name}_b"]


def test_an_unfinished_set_is_an_error(tmp_path: Path):
    with pytest.raises(InputError, match="no finished set"):
        load_people_set(tmp_path)
