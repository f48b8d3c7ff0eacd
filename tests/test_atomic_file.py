"""Files appear under their names only when they are complete."""

from pathlib import Path

import pytest

from fitme.atomic_file import atomic_file, partial_path


def test_a_file_appears_at_the_end_of_the_block(tmp_path: Path):
    path = tmp_path / "a.bin"
    with atomic_file(path) as partial:
        assert partial == partial_path(path)
        partial.write_bytes(b"whole")
        assert not path.exists()
    assert path.read_bytes() == b"whole" and list(tmp_path.iterdir()) == [path]


def test_a_failed_block_keeps_the_old_file_and_leaves_no_partial_one(tmp_path: Path):
    path = tmp_path / "a.bin"
    path.write_bytes(b"old")
    with pytest.raises(RuntimeError), atomic_file(path) as partial:
        partial.write_bytes(b"ha")
        raise RuntimeError
    assert path.read_bytes() == b"old" and list(tmp_path.iterdir()) == [path]


def test_a_folder_in_the_place_of_the_partial_file_is_reported_and_stays(tmp_path: Path):
    path = tmp_path / "a.bin"
    partial_path(path).mkdir()
    with pytest.raises(IsADirectoryError), atomic_file(path) as partial:
        partial.write_bytes(b"whole")
    assert partial_path(path).is_dir() and not path.exists()


def test_a_block_that_writes_nothing_is_an_error(tmp_path: Path):
    with pytest.raises(FileNotFoundError), atomic_file(tmp_path / "a.bin"):
        pass
