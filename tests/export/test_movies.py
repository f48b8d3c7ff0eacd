"""MP4 videos: encoded images, and the turntable's rotation."""

from pathlib import Path

import numpy as np
import pytest

from fitme.avatar import Avatar
from fitme.export import turntable
from fitme.export.video import write_mp4
from fitme.ingest.video import probe, read_frames
from fitme.shape.morphable_model import MorphableModel


def test_images_survive_encoding(tmp_path: Path):
    images = [np.full((64, 96, 3), (40 + 20 * i, 120, 200 - 20 * i), np.uint8) for i in range(6)]
    write_mp4(iter(images), 10, tmp_path / "a.mp4")
    info = probe(tmp_path / "a.mp4")
    assert info.frame_count == 6
    assert info.duration_s == pytest.approx(0.6, abs=0.11)
    for frame, image in zip(read_frames(info, range(6)), images, strict=True):
        assert np.abs(frame.image[32, 48].astype(int) - image[32, 48]).max() <= 6


@pytest.mark.parametrize("name", ["a:b.mp4", "-dash.mp4", "портрет.mp4", "100%d.mp4"])
def test_names_are_no_protocols_and_no_patterns(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    write_mp4([np.full((64, 96, 3), 90, np.uint8)], 10, Path(name))
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_turntable_turns(avatar: Avatar, model: MorphableModel, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(turntable, "SECONDS", 4 / turntable.RATE_HZ)
    monkeypatch.setattr(turntable, "RESOLUTION_PX", 128)
    frames = list(turntable.turntable_frames(avatar, model))
    assert len(frames) == 4
    front, right, back_again, left = frames
    assert front.shape == (128, 128, 3)
    drawn = [np.abs(frame.astype(int) - frame[0, 0]).max(-1) > 4 for frame in frames]
    assert all(0.2 < mask.mean() < 0.9 for mask in drawn)
    columns = np.arange(128)
    center = [(mask * columns).sum() / mask.sum() for mask in drawn]
    assert np.abs(right.astype(int) - left).mean() > 5
    assert abs(center[0] - center[2]) < 1.0
    assert np.abs(front.astype(int) - back_again).mean() < np.abs(front.astype(int) - right).mean()
