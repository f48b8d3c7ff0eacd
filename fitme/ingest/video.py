"""Video reader: only requested frames are converted and kept."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np

from fitme.arrays import UInt8Array
from fitme.errors import InputError
from fitme.ingest.frame import Frame, working_size

SEQUENTIAL_LIMIT = 2400
"""Number of frames above which a video is not decoded as a whole, but sought at key frames."""
_TEXT_FORMATS = {"tty", "concat", "hls", "dash", "sdp"}
"""Formats of FFmpeg that are no videos: plain text, drawn as in a terminal, and lists of other files."""


@dataclass(frozen=True)
class VideoInfo:
    """Metadata of a video file."""

    path: Path
    frame_count: int
    """Packets of the video stream; a truncated file may yield fewer frames."""
    duration_s: float
    """Seconds; 0 if the file does not contain it."""


def probe(path: Path) -> VideoInfo:
    """Count the frames of a video without decoding them.

    :raises InputError: if the file is missing, not a video, truncated beyond use or without video frames.
    """
    if not path.is_file():
        raise InputError(f"{path}: there is no such file")
    with _opened(path) as container:
        stream = _video_stream(path, container)
        count = stream.frames
        duration_s = float(stream.duration * stream.time_base) if stream.duration and stream.time_base else 0.0
        if count <= 0:
            try:
                count = sum(1 for packet in container.demux(stream) if packet.size > 0)
            except av.FFmpegError as error:
                raise InputError(f"{path}: the video is truncated or damaged ({error.strerror})") from error
    if count <= 0:
        raise InputError(f"{path}: the video holds no frames")
    return VideoInfo(path, count, duration_s)


def read_frames(info: VideoInfo, indices: Sequence[int]) -> Iterator[Frame]:
    """Decode the frames with the given ascending indices, upright and reduced to the working size, one at a time.

    Of a long video (`SEQUENTIAL_LIMIT`) the key frames nearest before the indices are decoded, each once. A
    truncated video yields the frames before its end.

    :raises InputError: if no frame could be decoded.
    """
    yielded = 0
    with _opened(info.path) as container:
        stream = _video_stream(info.path, container)
        stream.thread_type = "AUTO"
        found = _sequential if info.frame_count <= SEQUENTIAL_LIMIT else _sought
        for index, decoded in found(info, container, stream, indices):
            yielded += 1
            name = f"{info.path.name} frame {index}"
            yield Frame(_upright_rgb(decoded), float(decoded.time or 0.0), None, index, name)
    if yielded == 0:
        raise InputError(f"{info.path}: not one frame could be decoded; the video is truncated or damaged")


def _opened(path: Path) -> av.container.InputContainer:
    try:
        # Absolute: FFmpeg takes the part of a relative path before a colon for a protocol.
        container = av.open(str(path.absolute()))
    except (av.FFmpegError, OSError) as error:
        raise InputError(f"{path}: not a video that can be read, or truncated ({error.strerror})") from error
    if container.format.name in _TEXT_FORMATS:
        container.close()
        raise InputError(f"{path}: not a video, but text")
    return container


def _video_stream(path: Path, container: av.container.InputContainer) -> av.VideoStream:
    streams = [stream for stream in container.streams.video if stream.codec_context is not None]
    if not streams:
        raise InputError(f"{path}: the file has no images in it, only {len(container.streams.audio)} audio streams")
    return streams[0]


def _sequential(
    info: VideoInfo, container: av.container.InputContainer, stream: av.VideoStream, indices: Sequence[int]
) -> Iterator[tuple[int, av.VideoFrame]]:
    wanted = iter(indices)
    target = next(wanted, None)
    index = 0
    packets = container.demux(stream)
    while target is not None:
        try:
            decoded = next(packets).decode()
        except StopIteration:
            return
        except av.EOFError:
            return
        except av.FFmpegError:
            continue  # Only the frame of a damaged packet is lost.
        for frame in decoded:
            if index == target:
                yield index, frame
                target = next(wanted, None)
            index += 1


def _sought(
    info: VideoInfo, container: av.container.InputContainer, stream: av.VideoStream, indices: Sequence[int]
) -> Iterator[tuple[int, av.VideoFrame]]:
    if stream.duration is None or stream.duration <= 0:
        yield from _sequential(info, container, stream, indices)
        return
    yielded: set[int | None] = set()
    for index in indices:
        try:
            container.seek((stream.start_time or 0) + stream.duration * index // info.frame_count, stream=stream)
            frame = next(container.decode(stream), None)
        except av.FFmpegError:
            continue
        if isinstance(frame, av.VideoFrame) and frame.pts not in yielded:
            yielded.add(frame.pts)
            yield index, frame


def _upright_rgb(frame: av.VideoFrame) -> UInt8Array:
    """(H, W, 3) sRGB of a decoded frame with its display rotation applied."""
    width, height = working_size(frame.width, frame.height)
    image = frame.to_ndarray(format="rgb24", width=width, height=height)
    quarter_turns = round(frame.rotation / 90.0) % 4  # Counter-clockwise, as numpy's.
    return np.ascontiguousarray(np.rot90(image, quarter_turns))
