"""Check of the output folder: no file of the user is replaced; folders that cannot be written are refused."""

import json
import os
from pathlib import Path

import pytest

from fitme.commands.fit.output_check import check_folder, check_inputs
from fitme.errors import InputError

NAMES = ("a:b", "two words", "-dash", "портрет", "[bold]", "100%d")
"""Names of valid folders."""


@pytest.mark.parametrize("name", NAMES)
def test_a_new_folder_is_accepted_and_not_created(tmp_path: Path, name: str):
    check_folder(tmp_path / name / "inner")
    assert not (tmp_path / name).exists()


@pytest.mark.parametrize("name", ["001.obj", "001_input.png", "diffuse.png", "report.json", "holdout/002_mask.png"])
def test_a_file_that_no_fit_wrote_is_not_replaced(tmp_path: Path, name: str):
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_bytes(b"the user's own")
    with pytest.raises(InputError, match="no earlier fit wrote it"):
        check_folder(tmp_path)
    if name != "report.json":
        (tmp_path / "report.json").write_text(json.dumps({"fitme": "0.1.0", "files": [name, "report.json"]}))
        check_folder(tmp_path)
    assert (tmp_path / name).read_bytes() == b"the user's own" or name == "report.json"


def test_other_files_are_allowed(tmp_path: Path):
    for name in ("notes.txt", "me.jpg", "holdout.txt"):
        (tmp_path / name).touch()
    check_folder(tmp_path)


def test_a_file_or_a_broken_link_is_refused(tmp_path: Path):
    (tmp_path / "file").touch()
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "holdout").touch()
    for place in (tmp_path / "file", tmp_path / "file" / "inner", tmp_path / "dangling", tmp_path / "out"):
        with pytest.raises(InputError, match="--out"):
            check_folder(place)


def test_a_folder_in_the_place_of_a_file_is_refused(tmp_path: Path):
    (tmp_path / "diffuse.png").mkdir()
    (tmp_path / "report.json").write_text(json.dumps({"fitme": "0.1.0", "files": ["diffuse.png", "report.json"]}))
    with pytest.raises(InputError, match="is a folder in the place"):
        check_folder(tmp_path)


@pytest.mark.skipif(os.getuid() == 0, reason="the superuser may write anywhere")
def test_a_folder_without_permission_is_refused(tmp_path: Path):
    tmp_path.chmod(0o500)
    with pytest.raises(InputError, match="cannot be written to"):
        check_folder(tmp_path / "out")


def test_inputs_in_the_folder_are_refused_also_by_link(tmp_path: Path):
    out, photos = tmp_path / "out", tmp_path / "photos"
    out.mkdir()
    photos.mkdir()
    (out / "mine.jpg").touch()
    (photos / "yours.jpg").touch()
    (photos / "link.jpg").symlink_to(out / "mine.jpg")
    (out / "link.jpg").symlink_to(photos / "yours.jpg")
    (tmp_path / "alias").symlink_to(out)
    check_inputs([photos, photos / "yours.jpg"], out)
    inside = [out, out / "mine.jpg", photos / "link.jpg", out / "link.jpg", tmp_path / "alias" / "link.jpg"]
    for path in [*inside, photos / ".." / "out" / "mine.jpg"]:
        with pytest.raises(InputError, match="lies in"):
            check_inputs([path], out)
        with pytest.raises(InputError, match="lies in"):
            check_inputs([path], tmp_path / "alias")
