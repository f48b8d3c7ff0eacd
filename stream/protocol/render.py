"""Render of the avatar as a binary message.

`RENDER_HEADER` (80 bytes, little-endian), then the encoded render:

====== ======= ====================================================================
offset type    field
====== ======= ====================================================================
0      4 bytes magic ``FITM``
4      uint16  version, 3
6      uint8   codec: 1 JPEG, 2 WebP
7      uint8   stage: `fitme.stage.Stage.position`
8      uint32  sequence, growing by at least 1; gaps are renders that were skipped
12     uint16  width, pixels
14     uint16  height, pixels
16     float64 media time of the camera frame, seconds since the peer's first frame
24     float64 server time when that frame had been decoded, seconds
32     float64 server time when it had been rendered, seconds
40     float64 server time when the render was handed to this page, seconds
48     float32 head yaw, radians (> 0 looks to the viewer's right)
52     float32 head pitch, radians (> 0 looks up)
56     float32 head roll, radians (> 0 counter-clockwise on the render)
60     float32 head position x, metres, +X right
64     float32 head position y, metres, +Y up
68     float32 head position z, metres, negative in front of the camera
72     uint32  rounds of fitting that the avatar has behind it
76     uint32  bytes of the encoded render that follow
====== ======= ====================================================================

Server times count from one arbitrary moment. Renders are as a camera sees the head, not flipped.
"""

import struct
from dataclasses import dataclass
from enum import IntEnum

from fitme.stage import Stage
from stream.protocol.protocol import PROTOCOL_VERSION, ProtocolError

RENDER_HEADER = struct.Struct("<4sHBBIHHdddd6fII")
RENDER_MAGIC = b"FITM"


class Codec(IntEnum):
    """Encoding of a render."""

    JPEG = 1
    WEBP = 2


@dataclass(frozen=True)
class Render:
    """Encoded render of the avatar and the fields of its header; see the table in the module's docstring."""

    sequence: int
    codec: Codec
    stage: int
    """`fitme.stage.Stage.position` of what the render shows."""
    width: int
    height: int
    capture_time_s: float
    received_time_s: float
    rendered_time_s: float
    sent_time_s: float
    pose: tuple[float, float, float, float, float, float]
    """yaw, pitch, roll in radians; x, y, z in metres (view frame)."""
    rounds: int
    payload: bytes

    def pack(self) -> bytes:
        """Pack into the binary message."""
        header = RENDER_HEADER.pack(
            RENDER_MAGIC,
            PROTOCOL_VERSION,
            self.codec,
            self.stage,
            self.sequence & 0xFFFFFFFF,
            self.width,
            self.height,
            self.capture_time_s,
            self.received_time_s,
            self.rendered_time_s,
            self.sent_time_s,
            *self.pose,
            self.rounds,
            len(self.payload),
        )
        return header + self.payload

    @staticmethod
    def unpack(message: bytes) -> "Render":
        """Unpack a binary message.

        :raises ProtocolError: if it is not a render of this version, or truncated.
        """
        if len(message) < RENDER_HEADER.size:
            raise ProtocolError("bad_render", f"a header has {RENDER_HEADER.size} bytes, the message {len(message)}")
        magic, version, codec, stage, sequence, width, height, *rest = RENDER_HEADER.unpack_from(message)
        if magic != RENDER_MAGIC or version != PROTOCOL_VERSION:
            raise ProtocolError("bad_render", f"not a render of protocol {PROTOCOL_VERSION}: {magic!r} {version}")
        captured, received, rendered, sent, yaw, pitch, roll, x, y, z, rounds, size = rest
        payload = message[RENDER_HEADER.size :]
        if len(payload) != size or stage >= len(Stage) or codec not in tuple(Codec):
            raise ProtocolError("bad_render", f"inconsistent header: codec {codec}, stage {stage}, {size} bytes")
        return Render(
            sequence=sequence,
            codec=Codec(codec),
            stage=stage,
            width=width,
            height=height,
            capture_time_s=captured,
            received_time_s=received,
            rendered_time_s=rendered,
            sent_time_s=sent,
            pose=(yaw, pitch, roll, x, y, z),
            rounds=rounds,
            payload=payload,
        )
