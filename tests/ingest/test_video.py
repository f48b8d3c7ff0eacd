"""Videos are decoded upright, frame by frame; other files are refused; the held-out split is even and disjoint."""

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fitme.errors import InputError
from fitme.ingest import video
from fitme.ingest.even_spacing import even_indices, split_holdout
from fitme.ingest.video import probe, read_frames

WIDTH, HEIGHT, RATE = 96, 64, 10


def shade_of(index: int) -> int:
    return 30 + 5 * index


def write_clip(path: Path, count: int, rotation: float = 0.0, options: dict[str, str] | None = None) -> None:
    """A clip whose frame i is uniformly grey at `shade_of(i)`, its top left quarter white."""
    with av.open(str(path), "w", options=options or {}) as container:
        stream = container.add_stream("mpeg4", rate=RATE)
        stream.width, stream.height, stream.pix_fmt, stream.gop_size = WIDTH, HEIGHT, "yuv420p", 5
        if rotation:
            stream.set_display_rotation(rotation)
        for index in range(count):
            image = np.full((HEIGHT, WIDTH, 3), shade_of(index), np.uint8)
            image[: HEIGHT // 2, : WIDTH // 2] = 255
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            frame.pts, frame.time_base = index, Fraction(1, RATE)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    write_clip(tmp_path / "clip.mp4", 30)
    return tmp_path / "clip.mp4"


def test_requested_frames_are_decoded_with_their_times(clip: Path):
    info = probe(clip)
    assert info.frame_count == 30
    assert info.duration_s == pytest.approx(3.0, abs=0.11)
    frames = list(read_frames(info, [0, 7, 8, 29]))
    assert [round(frame.timestamp_s * RATE) for frame in frames] == [0, 7, 8, 29]
    for frame, index in zip(frames, [0, 7, 8, 29], strict=True):
        assert frame.image.shape == (HEIGHT, WIDTH, 3)
        assert abs(int(frame.image[-5, -5, 1]) - shade_of(index)) <= 3


def test_display_rotation_is_applied(tmp_path: Path):
    """A phone held upright stores landscape frames and a rotation."""
    for rotation, corner in [(90.0, (-5, 5)), (-90.0, (5, -5)), (180.0, (-5, -5))]:
        write_clip(tmp_path / "turned.mp4", 2, rotation)
        image = next(read_frames(probe(tmp_path / "turned.mp4"), [0])).image
        assert image.shape == ((HEIGHT, WIDTH, 3) if rotation == 180.0 else (WIDTH, HEIGHT, 3))
        white = image[corner]
        assert (white > 240).all(), (rotation, white)


def test_only_requested_frames_are_converted(clip: Path, monkeypatch: pytest.MonkeyPatch):
    converted: list[int] = []
    upright = video._upright_rgb
    monkeypatch.setattr(video, "_upright_rgb", lambda frame: (converted.append(frame.pts), upright(frame))[1])
    frames = read_frames(probe(clip), [3, 20])
    next(frames)
    assert len(converted) == 1, "frames must be handed over one at a time"
    assert len([1, *frames]) == len(converted) == 2


def test_long_video_is_sought_at_key_frames(clip: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(video, "SEQUENTIAL_LIMIT", 10)
    frames = list(read_frames(probe(clip), even_indices(30, 5)))
    times = [frame.timestamp_s for frame in frames]
    assert len(frames) >= 3
    assert times == sorted(set(times))
    for frame in frames:
        assert abs(int(frame.image[-5, -5, 1]) - shade_of(round(frame.timestamp_s * RATE))) <= 3


def test_text_is_no_video(tmp_path: Path):
    path = tmp_path / "notes.mp4"
    path.write_text("this is not a video\n" * 100)
    with pytest.raises(InputError, match="not a video"):
        probe(path)


def test_empty_and_missing_files_are_no_videos(tmp_path: Path):
    (tmp_path / "empty.mp4").touch()
    with pytest.raises(InputError, match="not a video"):
        probe(tmp_path / "empty.mp4")
    with pytest.raises(InputError, match="no such file"):
        probe(tmp_path / "missing.mp4")


def test_video_truncated_before_its_index_is_refused(clip: Path):
    content = clip.read_bytes()
    clip.write_bytes(content[: len(content) // 2])
    with pytest.raises(InputError, match="truncated"):
        probe(clip)


def test_video_truncated_after_its_index_yields_its_beginning(tmp_path: Path):
    path = tmp_path / "streamed.mp4"
    write_clip(path, 30, options={"movflags": "faststart"})
    content = path.read_bytes()
    path.write_bytes(content[: len(content) * 3 // 4])
    frames = list(read_frames(probe(path), list(range(30))))
    assert 0 < len(frames) < 30


def test_video_of_zero_frames_is_refused(tmp_path: Path):
    path = tmp_path / "nothing.mkv"
    write_clip(path, 0)
    with pytest.raises(InputError):
        probe(path)


def test_sound_alone_is_refused(tmp_path: Path):
    path = tmp_path / "voice.wav"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=8000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 800), np.int16), format="s16", layout="mono")
        frame.rate = 8000
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    with pytest.raises(InputError, match="no images"):
        probe(path)


@given(count=st.integers(0, 400), fraction=st.floats(0.0, 0.9))
def test_split_is_a_partition_spread_evenly(count: int, fraction: float):
    fitted, held_out = split_holdout(count, fraction)
    assert sorted(fitted + held_out) == list(range(count))
    if fraction == 0.0 or count == 0:
        assert held_out == []
        return
    assert fitted
    if count >= 10:
        assert len(held_out) >= 5
    if len(held_out) >= 2:
        gaps = np.diff(held_out)
        assert gaps.max() - gaps.min() <= 1


@given(count=st.integers(0, 1000), wanted=st.integers(1, 200))
def test_even_indices_are_distinct_and_inside(count: int, wanted: int):
    indices = even_indices(count, wanted)
    assert len(indices) == min(count, wanted) == len(set(indices))
    assert all(0 <= index < count for index in indices)
