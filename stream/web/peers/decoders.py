"""Decoders of camera video that judge a frame before they decode it.

A key frame of 110 kB can claim 8192 x 8192 pixels, and a decoder then allocates gigabytes. So the size is read from the
bitstream first: for VP8 from the key frame's header (RFC 6386, section 9.1), for H.264 from the sequence parameter set
(ITU-T H.264, section 7.3.2.1). What is too large, or comes too fast, is dropped, and a `RefusedFrame` is passed on in
its place. aiortc has no setting for a decoder, so `install_decoders` replaces the function by which it makes them.
"""

import errno
import math
import time
from dataclasses import dataclass
from typing import Any

import aiortc.codecs
import aiortc.rtcrtpreceiver
import av
from aiortc import RTCRtpCodecParameters
from aiortc.codecs.base import Decoder
from aiortc.jitterbuffer import JitterFrame
from aiortc.mediastreams import VIDEO_TIME_BASE

from stream.settings import CameraSettings

VP8_KEY_HEADER_BYTES = 10
VP8_START_CODE = b"\x9d\x01\x2a"
VP8_SIZE_MASK = 0x3FFF
"""The two upper bits of VP8's width and height are a scale for display."""
NAL_START = b"\x00\x00\x01"
NAL_TYPE_MASK = 0x1F
SPS_TYPE = 7
SPS_LONGEST = 512
"""Bytes of a sequence parameter set that are read."""
HIGH_PROFILES = frozenset({100, 110, 122, 244, 44, 83, 86, 118, 128, 138, 139, 134, 135})
"""H.264 profiles whose sequence parameter set has the fields of high profiles."""
MACROBLOCK_PX = 16
VIDEO_CLOCK_HZ = 90_000
TIMESTAMP_MASK = 0xFFFFFFFF
LATE_S = 0.4
"""Delay against the promptest frame from which a frame is late."""
LATE_FOR_S = 1.0
"""Frames that are late for this long mean that decoding is slower than the camera; those of a burst after the network
or the machine stood still are decoded sooner."""
LEAST_PIXELS = 320 * 240
"""Smaller frames are never asked for."""
BURST_S = 10.0
"""Time for which a camera may send at its limits at once: what comes in a burst after the network or the machine stood
still was sent in good order."""


@dataclass(frozen=True)
class RefusedFrame:
    """In place of a frame that was dropped before decoding."""

    reason: str
    max_pixels: int | None = None
    """Size of frames that would be taken, if the size was the reason."""


class _Bits:
    """Bits of a NAL unit's payload, most significant first."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._position = 0

    def read(self, count: int) -> int:
        """The next `count` bits. Raises IndexError at the end."""
        value = 0
        for _ in range(count):
            byte = self._data[self._position >> 3]
            value = value << 1 | byte >> (7 - (self._position & 7)) & 1
            self._position += 1
        return value

    def unsigned(self) -> int:
        """An unsigned Exp-Golomb code, ue(v)."""
        zeros = 0
        while self.read(1) == 0:
            zeros += 1
            if zeros > 31:
                raise IndexError("an Exp-Golomb code of more than 32 bits")
        return (1 << zeros) - 1 + self.read(zeros)

    def signed(self) -> int:
        """A signed Exp-Golomb code, se(v)."""
        code = self.unsigned()
        return (code + 1) // 2 if code & 1 else -(code // 2)


def vp8_size(data: bytes) -> tuple[int, int] | None:
    """Width and height in a VP8 frame, pixels; None for what is no key frame: it has those of the key frame before.

    :raises ValueError: if it is a damaged key frame.
    """
    if not data:
        raise ValueError("an empty frame")
    if data[0] & 1:
        return None
    if len(data) < VP8_KEY_HEADER_BYTES or data[3:6] != VP8_START_CODE:
        raise ValueError("a damaged key frame")
    width, height = int.from_bytes(data[6:8], "little"), int.from_bytes(data[8:10], "little")
    return width & VP8_SIZE_MASK, height & VP8_SIZE_MASK


def h264_size(data: bytes) -> tuple[int, int] | None:
    """Largest coded width and height in the sequence parameter sets of an H.264 frame, pixels; None without any.

    :param data: NAL units with start codes.
    :raises ValueError: if a set is damaged.
    """
    sizes = []
    start = data.find(NAL_START)
    while start >= 0:
        unit = start + len(NAL_START)
        if unit < len(data) and data[unit] & NAL_TYPE_MASK == SPS_TYPE:
            end = data.find(NAL_START, unit)
            sizes.append(_sps_size(data[unit + 1 : end if end >= 0 else len(data)][:SPS_LONGEST]))
        start = data.find(NAL_START, unit)
    return max(sizes, key=lambda size: size[0] * size[1]) if sizes else None


def _sps_size(payload: bytes) -> tuple[int, int]:
    bits = _Bits(payload.replace(b"\x00\x00\x03", b"\x00\x00"))  # without emulation prevention bytes
    try:
        profile = bits.read(8)
        bits.read(16)  # constraint flags, level_idc
        bits.unsigned()  # seq_parameter_set_id
        if profile in HIGH_PROFILES:
            _skip_high_profile(bits)
        bits.unsigned()  # log2_max_frame_num_minus4
        order_type = bits.unsigned()
        if order_type == 0:
            bits.unsigned()  # log2_max_pic_order_cnt_lsb_minus4
        elif order_type == 1:
            bits.read(1)
            bits.signed()
            bits.signed()
            for _ in range(bits.unsigned()):
                bits.signed()
        bits.unsigned()  # max_num_ref_frames
        bits.read(1)  # gaps_in_frame_num_value_allowed_flag
        width, height = bits.unsigned() + 1, bits.unsigned() + 1
        frame_only = bits.read(1)
    except IndexError as error:
        raise ValueError("a damaged sequence parameter set") from error
    return width * MACROBLOCK_PX, height * MACROBLOCK_PX * (2 - frame_only)


def _skip_high_profile(bits: _Bits) -> None:
    chroma = bits.unsigned()
    if chroma == 3:
        bits.read(1)  # separate_colour_plane_flag
    bits.unsigned()  # bit_depth_luma_minus8
    bits.unsigned()  # bit_depth_chroma_minus8
    bits.read(1)  # qpprime_y_zero_transform_bypass_flag
    if not bits.read(1):  # seq_scaling_matrix_present_flag
        return
    for index in range(8 if chroma != 3 else 12):
        if bits.read(1):
            following = 8
            for _ in range(16 if index < 6 else 64):
                following = (following + bits.signed()) % 256
                if following == 0:
                    break


class _Allowance:
    """Token bucket: a rate, of which `BURST_S` may be spent at once."""

    def __init__(self, per_second: float) -> None:
        self._per_second = per_second
        self._left = per_second * BURST_S
        self._then_s = time.monotonic()

    def spend(self, amount: float) -> bool:
        """Whether there was enough left, which is then spent."""
        now_s = time.monotonic()
        gained = (now_s - self._then_s) * self._per_second
        self._left, self._then_s = min(self._left + gained, self._per_second * BURST_S), now_s
        if amount > self._left:
            return False
        self._left -= amount
        return True


class _Lateness:
    """How much later than at best the frames of one camera reach their decoder."""

    def __init__(self) -> None:
        self._timestamp: int | None = None
        self._media_s = 0.0
        self._least_s = math.inf
        """Smallest difference so far between the time of decoding and the media time."""
        self._late_since_s: float | None = None

    def is_lasting(self, timestamp: int) -> bool:
        """Whether frames have been late for `LATE_FOR_S`; what was measured is then dropped.

        :param timestamp: of the frame that is about to be decoded: RTP's, in units of 1 / `VIDEO_CLOCK_HZ` seconds.
        """
        now_s = time.monotonic()
        if self._timestamp is not None:
            step = (timestamp - self._timestamp) & TIMESTAMP_MASK
            self._media_s += (step - (step > TIMESTAMP_MASK // 2) * (TIMESTAMP_MASK + 1)) / VIDEO_CLOCK_HZ
        self._timestamp = timestamp
        self._least_s = min(self._least_s, now_s - self._media_s)
        if now_s - self._media_s - self._least_s < LATE_S:
            self._late_since_s = None
            return False
        if self._late_since_s is None:
            self._late_since_s = now_s
        if now_s - self._late_since_s < LATE_FOR_S:
            return False
        self._least_s, self._late_since_s = math.inf, None
        return True


class GuardedDecoder(Decoder):
    """Decoder of one camera's VP8 or H.264 with bounds on pixels, bytes and rate, and on the frames that wait for it.

    A decoder that is slower than its camera would lag behind without end, since aiortc's queue has no bound. So when
    frames have come late for some time, all up to the next key frame are dropped and smaller ones are asked for.
    """

    def __init__(self, name: str, settings: CameraSettings) -> None:
        """
        :param name: of the codec, ``VP8`` or ``H264``.
        """
        self._name = name.upper()
        self._settings = settings
        self._decoder: av.VideoCodecContext | None = None
        self._frames = _Allowance(settings.frames_per_second_limit)
        self._bytes = _Allowance(settings.bytes_per_second_limit)
        self._waits_for_key = True
        self._size = (0, 0)
        self._lateness = _Lateness()

    def decode(self, encoded_frame: JitterFrame) -> list[Any]:
        """Decode a frame of aiortc's jitter buffer; a list of frames, or of one `RefusedFrame`."""
        data: bytes = encoded_frame.data
        if problem := self._rate_problem(len(data)) or self._size_problem(data):
            self._waits_for_key = True  # later frames build on the dropped one
            return [problem]
        if self._waits_for_key or self._decoder is None:
            raise av.error.InvalidDataError(errno.EINVAL, "no key frame yet")  # aiortc then asks the sender for one
        if self._lateness.is_lasting(encoded_frame.timestamp):
            self._waits_for_key = True
            return [self._slowness()]
        packet = av.Packet(data)
        packet.pts = encoded_frame.timestamp
        packet.time_base = VIDEO_TIME_BASE
        return list(self._decoder.decode(packet))

    def _slowness(self) -> RefusedFrame:
        width, height = self._size
        smaller = max(width * height // 2, LEAST_PIXELS)
        return RefusedFrame(f"frames of {width} x {height} pixels faster than they can be decoded", smaller)

    def _rate_problem(self, size: int) -> RefusedFrame | None:
        limits = self._settings
        if not self._frames.spend(1):
            return RefusedFrame(f"more than {limits.frames_per_second_limit} frames a second")
        if not self._bytes.spend(size):
            return RefusedFrame(f"more than {limits.bytes_per_second_limit} bytes a second")
        return None

    def _size_problem(self, data: bytes) -> RefusedFrame | None:
        try:
            size = vp8_size(data) if self._name == "VP8" else h264_size(data)
        except ValueError as error:
            return RefusedFrame(str(error))
        if size is None:
            return None
        if size[0] * size[1] > self._settings.decoded_pixels_limit:
            most = self._settings.decoded_pixels_limit
            return RefusedFrame(f"frames of {size[0]} x {size[1]} pixels: at most {most} pixels are taken", most)
        self._size = size
        if self._waits_for_key:
            self._waits_for_key = False
            self._decoder = self._new_decoder()
        return None

    def _new_decoder(self) -> av.VideoCodecContext:
        decoder = av.VideoCodecContext.create("libvpx" if self._name == "VP8" else "h264", "r")
        # What FFmpeg finds to be larger all the same, it does not allocate.
        decoder.options = {"max_pixels": str(self._settings.decoded_pixels_limit)}
        return decoder


def install_decoders(settings: CameraSettings) -> None:
    """Let aiortc decode video of this process's peers with `GuardedDecoder`, under these bounds."""

    def get_decoder(codec: RTCRtpCodecParameters) -> Decoder:
        if codec.name.upper() in ("VP8", "H264"):
            return GuardedDecoder(codec.name, settings)
        return aiortc.codecs.get_decoder(codec)

    vars(aiortc.rtcrtpreceiver)["get_decoder"] = get_decoder
