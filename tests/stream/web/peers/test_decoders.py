"""Sizes in bitstreams of real encoders, and bounds on what is decoded."""

import fractions
from dataclasses import dataclass, replace

import av
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream.settings import CameraSettings
from stream.web.peers import decoders
from stream.web.peers.decoders import GuardedDecoder, RefusedFrame, h264_size, vp8_size

SIZES = {"VP8": vp8_size, "H264": h264_size}


@dataclass
class EncodedFrame:
    data: bytes
    timestamp: int


def encoded(codec: str, width: int, height: int, count: int = 3, **options: str) -> list[EncodedFrame]:
    """Frames of noise, so that they are not tiny."""
    encoder = av.CodecContext.create("libvpx" if codec == "VP8" else "libx264", "w")
    encoder.width, encoder.height, encoder.pix_fmt = width, height, "yuv420p"
    encoder.time_base = fractions.Fraction(1, 30)
    encoder.options = options or ({"deadline": "realtime"} if codec == "VP8" else {"tune": "zerolatency"})
    generator = np.random.default_rng(0)
    packets = []
    for index in range(count):
        frame = av.VideoFrame.from_ndarray(generator.integers(0, 255, (height, width, 3), np.uint8), format="rgb24")
        frame.pts = index
        packets += encoder.encode(frame.reformat(format="yuv420p"))
    packets += encoder.encode(None)
    return [EncodedFrame(bytes(packet), 3000 * index) for index, packet in enumerate(packets)]


@pytest.mark.parametrize(("width", "height"), [(64, 48), (640, 480), (320, 176)])
@pytest.mark.parametrize("codec", SIZES)
def test_sizes_are_those_of_the_encoder(codec: str, width: int, height: int) -> None:
    first, second, _ = encoded(codec, width, height)
    assert SIZES[codec](first.data) == (width, height)
    assert SIZES[codec](second.data) is None


@pytest.mark.parametrize("profile", ["baseline", "main", "high", "high444"])
def test_sizes_of_all_h264_profiles(profile: str) -> None:
    options = {"profile": profile, "tune": "zerolatency"}
    assert h264_size(encoded("H264", 352, 288, 1, **options)[0].data) == (352, 288)


def test_forged_sizes_are_refused() -> None:
    """The header of a small frame that claims 8192 x 8192 pixels."""
    (frame, *_) = encoded("VP8", 64, 48, 1)
    forged = frame.data[:6] + (8192).to_bytes(2, "little") * 2 + frame.data[10:]
    decoder = GuardedDecoder("VP8", CameraSettings())
    (refused,) = decoder.decode(EncodedFrame(forged, 0))
    assert isinstance(refused, RefusedFrame)
    assert "8192 x 8192" in refused.reason


@pytest.mark.parametrize("codec", SIZES)
def test_large_frames_are_refused_and_later_small_ones_decoded(codec: str) -> None:
    decoder = GuardedDecoder(codec, CameraSettings(decoded_pixels_limit=320 * 240))
    for frame in encoded(codec, 640, 480)[:1]:
        (refused,) = decoder.decode(frame)
        assert isinstance(refused, RefusedFrame)
    with pytest.raises(av.error.FFmpegError):  # a frame that builds on the refused one
        decoder.decode(encoded(codec, 640, 480)[1])
    shown = [image for frame in encoded(codec, 320, 240) for image in decoder.decode(frame)]
    assert {(image.width, image.height) for image in shown} == {(320, 240)}


@pytest.mark.parametrize("codec", SIZES)
def test_what_comes_too_fast_is_refused(codec: str, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()
    monkeypatch.setattr(decoders, "time", clock)
    settings = CameraSettings(frames_per_second_limit=2)
    frames = encoded(codec, 64, 48, 22)
    decoder = GuardedDecoder(codec, settings)
    outcomes = [decoder.decode(frame) for frame in frames]
    assert not any(isinstance(outcome, RefusedFrame) for decoded in outcomes[:20] for outcome in decoded), "a burst"
    assert isinstance(outcomes[20][0], RefusedFrame)
    assert "2 frames a second" in outcomes[20][0].reason
    clock.now_s += 0.5
    assert not any(isinstance(outcome, RefusedFrame) for outcome in decoder.decode(frames[0]))
    large = encoded(codec, 640, 480, 1)[0]
    limits = replace(settings, frames_per_second_limit=60, bytes_per_second_limit=len(large.data) // 5 + 1)
    decoder = GuardedDecoder(codec, limits)
    for _ in range(2):
        assert not any(isinstance(outcome, RefusedFrame) for outcome in decoder.decode(large))
    (refused,) = decoder.decode(large)
    assert "bytes a second" in refused.reason


@pytest.mark.parametrize("codec", SIZES)
def test_a_decoder_that_falls_behind_drops_to_the_next_key_frame_and_asks_for_less(
    codec: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock()
    monkeypatch.setattr(decoders, "time", clock)
    monkeypatch.setattr(decoders, "LEAST_PIXELS", 100)
    frames = encoded(
        codec, 96, 64, 80, **({} if codec == "VP8" else {"tune": "zerolatency", "x264-params": "scenecut=0"})
    )
    decoder = GuardedDecoder(codec, CameraSettings(bytes_per_second_limit=1_000_000_000))
    refused, shown = [], 0
    for frame in frames:
        clock.now_s += 2.0 / 30.0  # it takes twice as long as the camera
        try:
            outcome = decoder.decode(frame)
        except av.error.FFmpegError:
            continue  # waits for a key frame, and aiortc asks for one
        refused += [each for each in outcome if isinstance(each, RefusedFrame)]
        shown += not refused
    assert 10 < shown < 60
    assert set(refused) == {
        RefusedFrame("frames of 96 x 64 pixels faster than they can be decoded", max_pixels=48 * 64)
    }
    # The key frame comes, and with it the delay is gone.
    clock.now_s += 1.0
    (key, *_) = encoded(codec, 64, 48, 1)
    assert not isinstance(next(iter(decoder.decode(replace(key, timestamp=3000 * 80))), None), RefusedFrame)


def test_a_burst_after_a_stall_is_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()
    monkeypatch.setattr(decoders, "time", clock)
    decoder = GuardedDecoder("VP8", CameraSettings(bytes_per_second_limit=1_000_000_000))
    frames = encoded("VP8", 64, 48, 90)
    for index, frame in enumerate(frames):
        clock.now_s += 1.0 if index == 30 else 0.005 if index < 65 else 1.0 / 30.0
        assert not any(isinstance(outcome, RefusedFrame) for outcome in decoder.decode(frame)), index


class Clock:
    """Stands in for the module `time`."""

    now_s = 100.0

    def monotonic(self) -> float:
        return self.now_s


@given(st.binary(max_size=200))
def test_any_bytes_have_a_size_or_are_damaged(data: bytes) -> None:
    for read, prefix in ((vp8_size, b""), (h264_size, b"\x00\x00\x01\x67")):
        try:
            size = read(prefix + data)
        except ValueError:
            continue
        assert size is None or len(size) == 2
