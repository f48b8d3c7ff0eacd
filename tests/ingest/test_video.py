"""Videos are decoded upright, frame by frame; other files are refused; the held-out split is even and disjoint."""

import io
import struct
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from fitme.color import bytes_to_linear
from fitme.errors import InputError
from fitme.ingest import video
from fitme.ingest.candidates import gather
from fitme.ingest.even_spacing import even_indices, split_holdout
from fitme.ingest.video import probe, read_frames
from fitme.ingest.video_frame import upright_rgb
from fitme.ingest.video_plan import PacketIndex, plan_runs

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
    upright = video.upright_rgb
    monkeypatch.setattr(
        video, "upright_rgb", lambda frame, aspect: (converted.append(frame.pts), upright(frame, aspect))[1]
    )
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
        assert abs(int(frame.image[-5, -5, 1]) - shade_of(round(frame.timestamp_s * RATE))) <= 4


def test_every_frame_of_a_long_video_is_the_requested_one(clip: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(video, "SEQUENTIAL_LIMIT", 10)
    for frame in read_frames(probe(clip), [1, 3, 9, 14, 15, 28]):
        assert round(frame.timestamp_s * RATE) == frame.index
        assert abs(int(frame.image[-5, -5, 1]) - shade_of(frame.index)) <= 4


@given(
    count=st.integers(1, 3000),
    spacing=st.integers(1, 3000),
    wanted=st.integers(1, 60),
    limit=st.integers(60, 4000),
)
def test_plan_is_bounded_and_spread(count: int, spacing: int, wanted: int, limit: int):
    index = PacketIndex.of_packets(range(count), [position % spacing == 0 for position in range(count)])
    indices = even_indices(count, wanted)
    runs = plan_runs(index, indices, limit)
    positions = [position for run in runs for position in run.positions]
    assert positions == sorted(set(positions))
    assert {requested for run in runs for requested in run.indices} <= set(indices)
    assert all(index.is_key[run.key] and run.key <= run.positions[0] for run in runs)
    assert sum(run.positions[-1] - run.key + 1 for run in runs) <= max(limit, len(runs))
    if sum(max(position - position // spacing * spacing, 0) + 1 for position in indices) <= limit:
        assert positions == indices
    assert len({run.key for run in runs}) == len({index // spacing for index in indices})


def write_frames(path: Path, images: list[np.ndarray], **stream_options: object) -> None:
    with av.open(str(path), "w") as container:
        stream = container.add_stream(stream_options.pop("codec", "mpeg4"), rate=RATE)
        stream.height, stream.width = images[0].shape[:2]
        stream.pix_fmt = "yuv420p"
        for name, value in stream_options.items():
            setattr(stream, name, value)
        for index, image in enumerate(images):
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            frame.pts, frame.time_base = index, Fraction(1, RATE)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def quartered() -> np.ndarray:
    """White top left, red top right, blue bottom left, black bottom right."""
    image = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    image[: HEIGHT // 2, : WIDTH // 2] = 255
    image[: HEIGHT // 2, WIDTH // 2 :, 0] = 255
    image[HEIGHT // 2 :, : WIDTH // 2, 2] = 255
    return image


@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize("mirrored_x", [False, True])
@pytest.mark.parametrize("mirrored_y", [False, True])
def test_display_matrix_of_any_symmetry(tmp_path: Path, transposed: bool, mirrored_x: bool, mirrored_y: bool):
    """The file is as a camera that is turned or mirrored writes it; read, it is upright again."""
    upright = quartered()
    stored = upright[::-1] if mirrored_y else upright
    stored = stored[:, ::-1] if mirrored_x else stored
    stored = np.ascontiguousarray(stored.swapaxes(0, 1)) if transposed else np.ascontiguousarray(stored)
    path = tmp_path / "turned.mov"
    write_frames(path, [stored] * 2)
    x, y = -1 if mirrored_x else 1, -1 if mirrored_y else 1
    rows = (0, y, x, 0) if transposed else (x, 0, 0, y)
    content = bytearray(path.read_bytes())
    matrix = content.find(b"tkhd") + 4 + 40
    a, b, c, d = (value * 65536 for value in rows)
    content[matrix : matrix + 36] = struct.pack(">9i", a, b, 0, c, d, 0, 0, 0, 1 << 30)
    path.write_bytes(content)
    image = next(read_frames(probe(path), [0])).image
    assert image.shape == upright.shape
    assert np.abs(image.astype(int) - upright)[4:-4:8, 4:-4:8].mean() < 25


def test_pixels_that_are_not_square(tmp_path: Path):
    write_frames(tmp_path / "wide.mov", [quartered()] * 2, sample_aspect_ratio=Fraction(2, 1))
    assert next(read_frames(probe(tmp_path / "wide.mov"), [0])).image.shape == (HEIGHT, 2 * WIDTH, 3)


@pytest.mark.parametrize("pixels", ["yuv420p", "yuv444p"])
def test_odd_sizes(tmp_path: Path, pixels: str):
    odd = np.ascontiguousarray(quartered()[:-1, :-1])
    write_frames(tmp_path / "odd.mkv", [odd] * 2, codec="ffv1", pix_fmt=pixels)
    image = next(read_frames(probe(tmp_path / "odd.mkv"), [0])).image
    assert image.shape == odd.shape
    assert np.abs(image.astype(int) - odd)[4:-4:8, 4:-4:8].mean() < 5


def test_an_edit_list_decides_where_a_movie_begins(tmp_path: Path):
    """As phones write it when the beginning of a recording is cut off."""
    path, cut = tmp_path / "cut.mp4", 3
    images = [np.full((HEIGHT, WIDTH, 3), shade_of(index), np.uint8) for index in range(12)]
    write_frames(path, images, codec="libx264")
    content = bytearray(path.read_bytes())
    (timescale,) = struct.unpack_from(">I", content, content.find(b"mdhd") + 16)
    media_time = content.find(b"elst") + 16
    (begin,) = struct.unpack_from(">i", content, media_time)
    struct.pack_into(">i", content, media_time, begin + cut * timescale // RATE)
    path.write_bytes(content)
    info = probe(path)
    frames = list(read_frames(info, range(info.frame_count)))
    assert [frame.timestamp_s for frame in frames] == pytest.approx([index / RATE for index in range(12 - cut)])
    shades = [int(frame.image[5, 5, 1]) for frame in frames]
    assert shades == pytest.approx([shade_of(index) for index in range(cut, 12)], abs=2)


def test_stream_without_times(tmp_path: Path):
    images = [np.full((HEIGHT, WIDTH, 3), shade_of(index), np.uint8) for index in range(12)]
    write_frames(tmp_path / "raw.h264", images, codec="libx264")
    frames = list(read_frames(probe(tmp_path / "raw.h264"), [0, 5, 11]))
    times = [frame.timestamp_s for frame in frames]
    assert times[0] == 0.0
    assert times[1] / times[2] == pytest.approx(5 / 11)
    assert abs(int(frames[1].image[5, 5, 1]) - shade_of(5)) <= 3


def test_long_stream_without_times_yields_its_beginning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(video, "SEQUENTIAL_LIMIT", 5)
    monkeypatch.setattr(video, "DECODED_LIMIT", 8)
    images = [np.full((HEIGHT, WIDTH, 3), shade_of(index), np.uint8) for index in range(12)]
    write_frames(tmp_path / "raw.h264", images, codec="libx264")
    assert [frame.index for frame in read_frames(probe(tmp_path / "raw.h264"), [0, 5, 11])] == [0, 5]


def test_clock_that_jumps_back_or_starts_late_rises_from_zero(tmp_path: Path):
    """Two recordings of a broadcast stream, one after the other in a file."""
    write_frames(tmp_path / "part.ts", [quartered()] * 5, codec="mpeg2video")
    content = (tmp_path / "part.ts").read_bytes()
    (tmp_path / "whole.ts").write_bytes(content * 2)
    info = probe(tmp_path / "whole.ts")
    with av.open(str(info.path)) as container:
        own = [frame.time for frame in container.decode(video=0)]
    assert own[0] > 0.0, "it starts late"
    assert min(np.diff(own)) <= 0.0, "it jumps back"
    times = [frame.timestamp_s for frame in read_frames(info, range(info.frame_count))]
    np.testing.assert_allclose(times, np.arange(len(own)) / RATE, atol=0.011)


def hdr_frame(rgb: np.ndarray, transfer: int) -> av.VideoFrame:
    """A frame (H, W, 3) of 16-bit codes with BT.2020's primaries."""
    frame = av.VideoFrame.from_ndarray(rgb, format="rgb48le")
    frame.color_primaries, frame.color_trc = 9, transfer
    return frame


@pytest.mark.parametrize("transfer", [16, 18])
def test_hdr_becomes_sdr_with_its_white_at_203(transfer: int):
    """Greys and a skin tone, encoded by the inverse formulas of BT.2100."""
    expected = np.array([[255, 255, 255], [128, 128, 128], [196, 150, 128], [60, 40, 30]], np.uint8)
    bt2020_of_bt709 = np.array([[0.6274, 0.3293, 0.0433], [0.0691, 0.9195, 0.0114], [0.0164, 0.0880, 0.8956]])
    light = bytes_to_linear(expected) @ bt2020_of_bt709.T * 203.0
    if transfer == 16:
        power = (light / 10_000.0) ** 0.1593017578125
        encoded = ((0.8359375 + 18.8515625 * power) / (1.0 + 18.6875 * power)) ** 78.84375
    else:
        light = light / 1000.0
        scene = light * (light @ [0.2627, 0.6780, 0.0593])[:, None] ** (1.0 / 1.2 - 1.0)
        logarithm = np.log(np.maximum(12 * scene, 1.0) - 0.28466892)
        encoded = np.where(scene <= 1 / 12, np.sqrt(3 * scene), 0.17883277 * logarithm + 0.55991073)
    codes = np.repeat(np.rint(encoded * 65535).astype(np.uint16)[:, None], 64, 1)
    image = upright_rgb(hdr_frame(np.repeat(codes, 16, 0), transfer), None)
    np.testing.assert_allclose(image[8::16, 32].astype(int), expected, atol=2)


def test_video_without_metadata_has_the_colours_of_its_size():
    def green(height: int) -> int:
        frame = av.VideoFrame(128, height, "yuv420p")
        for plane, code in zip(frame.planes, (120, 90, 170), strict=True):
            plane.update(bytes([code]) * plane.buffer_size)
        return int(upright_rgb(frame, None)[height // 2, 64, 1])

    assert green(720) - green(480) == pytest.approx(120 - 120 + 12, abs=6)


def test_one_field_of_an_interlaced_frame(tmp_path: Path):
    combed = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    combed[::2] = 200
    write_frames(tmp_path / "combed.mkv", [combed] * 2, codec="mpeg2video", bit_rate=8_000_000)
    assert next(read_frames(probe(tmp_path / "combed.mkv"), [0])).image.astype(int).std() > 50
    fields = {"flags": "+ilme+ildct"}
    write_frames(tmp_path / "fields.mkv", [combed] * 2, codec="mpeg2video", bit_rate=8_000_000, options=fields)
    image = next(read_frames(probe(tmp_path / "fields.mkv"), [0])).image.astype(int)
    assert image.shape == (HEIGHT, WIDTH, 3)
    assert image.std() < 25


def test_sound_with_a_cover_is_no_video(tmp_path: Path):
    path = tmp_path / "song.mp3"
    with av.open(str(path), "w", format="mp3") as container:
        sound = container.add_stream("mp3", rate=44100)
        silence = av.AudioFrame.from_ndarray(np.zeros((2, 44100), np.float32), format="fltp", layout="stereo")
        silence.rate = 44100
        container.mux([*sound.encode(silence), *sound.encode(None)])
    cover = io.BytesIO()
    Image.fromarray(quartered()).save(cover, "PNG")
    content = b"\0image/png\0\x03\0" + cover.getvalue()
    frame = b"APIC" + struct.pack(">IH", len(content), 0) + content
    size = bytes(len(frame) >> shift & 0x7F for shift in (21, 14, 7, 0))
    path.write_bytes(b"ID3\x03\0\0" + size + frame + path.read_bytes())
    with av.open(str(path)) as written:
        assert len(written.streams.video) == 1
    with pytest.raises(InputError, match="no images in it, only 1 audio"):
        probe(path)


def test_tags_of_another_encoding_are_no_obstacle(tmp_path: Path):
    path = tmp_path / "clip.mkv"
    with av.open(str(path), "w") as container:
        container.metadata["title"] = "a film at the cafe!"
        stream = container.add_stream("mpeg4", rate=RATE)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        container.mux(stream.encode(av.VideoFrame.from_ndarray(np.full((HEIGHT, WIDTH, 3), 99, np.uint8))))
        container.mux(stream.encode(None))
    path.write_bytes(path.read_bytes().replace(b"cafe!", "café!".encode("latin-1")))
    assert len(list(read_frames(probe(path), [0]))) == 1


def test_mpeg_program_streams_are_videos(tmp_path: Path):
    path = tmp_path / "disc.mpg"
    with av.open(str(path), "w", format="mpeg") as container:
        stream = container.add_stream("mpeg2video", rate=25)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        for _ in range(5):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(np.full((HEIGHT, WIDTH, 3), 99, np.uint8))))
        container.mux(stream.encode(None))
    assert {candidate.video is None for candidate in gather([path])} == {False}


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
