"""Outputs of a fit: only files that its report lists."""

import json
from pathlib import Path

from fitme.ingest.fit_outputs import is_output_name, planned_files, written_files


def write_report(folder: Path, **content: object) -> None:
    (folder / "report.json").write_text(json.dumps({"version": 1, "fitme": "0.1.0", **content}))


def test_files_of_a_fit_are_those_that_its_report_lists(tmp_path: Path):
    assert written_files(tmp_path) == frozenset()
    write_report(tmp_path, files=["001.obj", "diffuse.png", "holdout/001_mask.png"])
    assert written_files(tmp_path) == {"001.obj", "diffuse.png", "holdout/001_mask.png", "report.json"}


def test_files_of_a_report_without_a_list_follow_from_its_frames(tmp_path: Path):
    write_report(tmp_path, keyframes=[{"name": "001"}, {"name": "002"}], holdout={"frames": [{"name": "001"}]})
    assert written_files(tmp_path) == set(planned_files(2, 1))
    assert {"002_render.png", "holdout/001_input.png", "turntable.mp4"} <= written_files(tmp_path)


def test_a_report_cannot_name_files_that_no_fit_writes(tmp_path: Path):
    photos = tmp_path / "photos"
    (out := tmp_path / "out").mkdir()
    photos.mkdir()
    (out / "holdout").symlink_to(photos)
    write_report(out, files=["../photos/001_input.png", "/etc/passwd", "me.jpg", "holdout/001_input.png", 3, "001.obj"])
    assert written_files(out) == {"001.obj", "report.json"}


def test_reports_of_others_list_nothing(tmp_path: Path):
    for text in ("", "[]", "{", '{"files": ["001.obj"]}', '{"fitme": "1", "files": 3, "keyframes": 4, "holdout": []}'):
        (tmp_path / "report.json").write_text(text)
        assert "001.obj" not in written_files(tmp_path)


def test_names_of_outputs():
    assert all(map(is_output_name, planned_files(1200, 3)))
    for name in (
        "me.jpg",
        "1.obj",
        "001_face.png",
        "holdout/diffuse.png",
        "holdout/001.obj",
        "001_input.png.bak",
        "٠٠١.obj",
    ):
        assert not is_output_name(name)
