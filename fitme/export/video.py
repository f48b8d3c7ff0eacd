"""Writer of MP4 videos for browsers and players."""

from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from fitme.arrays import UInt8Array

_CODECS = ("libx264", "h264", "libopenh264", "mpeg4")
"""Encoders in order of preference; every build of FFmpeg has the last one."""
_OPTIONS = {"libx264": {"crf": "20", "preset": "veryfast"}, "mpeg4": {"qscale": "3"}}


def write_mp4(frames: Iterable[UInt8Array], rate_hz: int, path: Path) -> None:
    """Encode images (H, W, 3), sRGB, of one even size, as H.264 where there is an encoder, else as MPEG-4 Part 2.

    The iterable is consumed one image at a time.
    """
    name = _encoder()
    # Absolute, so that a colon in a name does not name a protocol of FFmpeg.
    with av.open(str(path.absolute()), "w", format="mp4", options={"movflags": "faststart"}) as container:
        stream = container.add_stream(name, rate=rate_hz, options=_OPTIONS.get(name, {}))
        assert isinstance(stream, av.VideoStream)
        stream.pix_fmt = "yuv420p"
        for index, image in enumerate(frames):
            if index == 0:
                stream.height, stream.width = image.shape[:2]
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format="rgb24")
            frame.pts, frame.time_base = index, Fraction(1, rate_hz)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def _encoder() -> str:
    """Name of the first of `_CODECS` that this FFmpeg can encode with."""
    for name in _CODECS[:-1]:
        try:
            av.codec.Codec(name, "w")
        except av.codec.codec.UnknownCodecError:
            continue
        return name
    return _CODECS[-1]
