"""Video reader: only requested frames are converted and kept."""

from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np
from av.stream import Disposition

from fitme.errors import InputError
from fitme.ingest.frame import Frame
from fitme.ingest.video_frame import upright_rgb
from fitme.ingest.video_plan import DECODED_LIMIT, PacketIndex, Run, plan_runs

SEQUENTIAL_LIMIT = 2400
"""Number of frames above which a video is not decoded as a whole."""
REORDER_FRAMES = 32
"""Frames beyond a run that may be decoded before one that is displayed earlier: twice what H.265 may buffer."""
DEFAULT_RATE_HZ = 30.0
"""Frame rate of a stream that names none."""
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
        if duration_s == 0.0 and container.duration:
            duration_s = container.duration / av.time_base
        if count <= 0:
            try:
                count = sum(1 for packet in container.demux(stream) if packet.size > 0)
            except av.FFmpegError as error:
                raise InputError(f"{path}: the video is truncated or damaged ({error.strerror})") from error
    if count <= 0:
        raise InputError(f"{path}: the video holds no frames")
    return VideoInfo(path, count, duration_s)


def read_frames(info: VideoInfo, indices: Sequence[int]) -> Iterator[Frame]:
    """Decode the frames with the given ascending indices, as a player shows them, at the working size, one at a time.

    Times begin at 0 and rise, whatever the file's clock does. Of a long video (`SEQUENTIAL_LIMIT`) at most
    `DECODED_LIMIT` frames are decoded, from its key frames on (`fitme.ingest.video_plan`). A truncated video yields the
    frames before its end.

    :raises InputError: if no frame could be decoded.
    """
    yielded = 0
    packets = None if info.frame_count <= SEQUENTIAL_LIMIT else _packet_index(info.path)
    with _opened(info.path) as container:
        stream = _video_stream(info.path, container)
        stream.thread_type = "AUTO"
        aspect, clock = stream.sample_aspect_ratio or stream.codec_context.sample_aspect_ratio, _Clock(stream)
        if packets is None:
            found = _sequential(container, stream, [index for index in indices if index < DECODED_LIMIT])
        else:
            found = _planned(container, stream, packets, indices)
        for index, decoded in found:
            yielded += 1
            name = f"{info.path.name} frame {index}"
            yield Frame(upright_rgb(decoded, aspect), clock.time_s(index, decoded), None, index, name)
    if yielded == 0:
        raise InputError(f"{info.path}: not one frame could be decoded; the video is truncated or damaged")


class _Clock:
    """Times of frames in seconds: the file's own where they rise, otherwise counted by the frame rate."""

    def __init__(self, stream: av.VideoStream) -> None:
        self._start_s = float((stream.start_time or 0) * stream.time_base) if stream.time_base else 0.0
        rate = stream.guessed_rate or stream.average_rate
        self._period_s = 1.0 / float(rate) if rate else 1.0 / DEFAULT_RATE_HZ
        self._shift_s = 0.0
        self._previous: tuple[int, float] | None = None

    def time_s(self, index: int, frame: av.VideoFrame) -> float:
        """Time of the frame with an index, which rises from call to call."""
        own = frame.time
        time_s = index * self._period_s if own is None else own - self._start_s + self._shift_s
        if self._previous is not None and time_s <= self._previous[1]:
            # The clock has jumped back: from here on it goes on where it was.
            continued_s = self._previous[1] + (index - self._previous[0]) * self._period_s
            self._shift_s += continued_s - time_s
            time_s = continued_s
        self._previous = (index, time_s)
        return max(time_s, 0.0)


def _opened(path: Path) -> av.container.InputContainer:
    try:
        # Absolute: FFmpeg takes the part of a relative path before a colon for a protocol.
        container = av.open(str(path.absolute()), metadata_errors="replace")
    except (av.FFmpegError, OSError) as error:
        raise InputError(f"{path}: not a video that can be read, or truncated ({error.strerror})") from error
    if container.format.name in _TEXT_FORMATS:
        container.close()
        raise InputError(f"{path}: not a video, but text")
    return container


def _video_stream(path: Path, container: av.container.InputContainer) -> av.VideoStream:
    streams = [
        stream
        for stream in container.streams.video
        if stream.codec_context is not None and not stream.disposition & Disposition.attached_pic
    ]
    if not streams:
        raise InputError(f"{path}: the file has no images in it, only {len(container.streams.audio)} audio streams")
    return streams[0]


def _sequential(
    container: av.container.InputContainer, stream: av.VideoStream, indices: Sequence[int]
) -> Iterator[tuple[int, av.VideoFrame]]:
    wanted = set(indices)
    for index, frame in enumerate(_decoded(container, stream) if wanted else ()):
        if index in wanted:
            yield index, frame
            wanted.remove(index)
            if not wanted:
                return  # Before another frame is decoded.


def _planned(
    container: av.container.InputContainer, stream: av.VideoStream, packets: PacketIndex, indices: Sequence[int]
) -> Iterator[tuple[int, av.VideoFrame]]:
    for run in plan_runs(packets, indices):
        yield from _run(container, stream, packets, run)


def _run(
    container: av.container.InputContainer, stream: av.VideoStream, index: PacketIndex, run: Run
) -> Iterator[tuple[int, av.VideoFrame]]:
    requested = dict(zip(run.positions, run.indices, strict=True))
    try:
        container.seek(int(index.timestamps[run.key]), stream=stream)
    except av.FFmpegError:
        return
    for count, frame in enumerate(_decoded(container, stream)):
        if frame.pts is None:
            continue
        position = int(np.searchsorted(index.timestamps, frame.pts))
        if position in requested:
            yield requested.pop(position), frame
        if not requested or count > run.positions[-1] - run.key + REORDER_FRAMES:
            return


def _packet_index(path: Path) -> PacketIndex | None:
    """Index of all packets, which are read and not decoded; None where they have no times, so that nothing can be
    sought."""
    timestamps: list[int] = []
    is_key: list[bool] = []
    with _opened(path) as container, suppress(av.FFmpegError):  # Truncated: what comes before is used.
        for packet in container.demux(_video_stream(path, container)):
            if packet.size > 0 and packet.pts is not None:
                timestamps.append(packet.pts)
                is_key.append(packet.is_keyframe)
    return PacketIndex.of_packets(timestamps, is_key) if timestamps else None


def _decoded(container: av.container.InputContainer, stream: av.VideoStream) -> Iterator[av.VideoFrame]:
    """Frames from where the container stands; only the frame of a damaged packet is lost."""
    packets = container.demux(stream)
    while True:
        try:
            frames = next(packets).decode()
        except (StopIteration, av.EOFError):
            return
        except av.FFmpegError:
            continue
        yield from (frame for frame in frames if isinstance(frame, av.VideoFrame))
