"""Motion of the avatar as a binary message: pose, gaze and expression of one camera frame.

`PARAMETERS` (44 bytes, little-endian), then one byte for each weight: 96 bytes for ARKit's 52.

====== ======== ===================================================================
offset type     field
====== ======== ===================================================================
0      4 bytes  magic ``FITP``
4      uint16   version of the protocol, 3
6      uint8    flags: 1 `TRACKED`, there is a face; without it the rest is neutral
7      uint8    number of weights
8      uint32   sequence, growing by at least 1; gaps are messages that were skipped
12     uint32   media time of the camera frame, milliseconds since the peer's first
16     uint32   server time when that frame had been decoded, milliseconds
20     uint16   time from then until this message was made, 0.1 ms
22     4 int16  rotation of the head, model to view: quaternion x, y, z, w by 1 / 32767
30     3 int16  position of the head in the view frame, 0.1 mm
36     4 int16  gaze, 0.1 mrad: yaw and pitch of the left, then of the right eye
44     uint8... weights by 1 / 255, in the order of `fitme.shape.expressions`
====== ======== ===================================================================

Angles of the gaze are those of the eyeballs against the head: yaw > 0 turns to the person's left, pitch > 0 down. The
weights contain them too, as ``eyeLook...``. Server times count from one arbitrary moment and wrap.
"""

import struct
from dataclasses import dataclass

from stream.protocol.protocol import PROTOCOL_VERSION, ProtocolError

PARAMETERS = struct.Struct("<4sHBBIIIH4h3h4h")
PARAMETERS_MAGIC = b"FITP"
TRACKED = 1
SEQUENCE_OFFSET, DELAY_OFFSET = 8, 20

QUATERNION_STEPS = 32767.0
POSITION_STEP_M = 1e-4
ANGLE_STEP_RAD = 1e-4
DELAY_STEP_S = 1e-4
WEIGHT_STEPS = 255.0
_UINT32 = 0xFFFFFFFF

Quaternion = tuple[float, float, float, float]
Position = tuple[float, float, float]
Gaze = tuple[float, float, float, float]


@dataclass(frozen=True)
class Parameters:
    """Motion of the avatar at one camera frame; see the table in the module's docstring."""

    sequence: int
    tracked: bool
    capture_time_s: float
    received_time_s: float
    delay_s: float
    rotation: Quaternion
    """Unit quaternion (x, y, z, w), model to view."""
    position: Position
    """Metres, view frame."""
    gaze: Gaze
    """Radians: yaw and pitch of the left eye, then of the right eye."""
    weights: tuple[float, ...]
    """[0, 1]."""

    def pack(self) -> bytes:
        """Pack into the binary message; values are rounded, and clamped to what the fields can hold."""
        header = PARAMETERS.pack(
            PARAMETERS_MAGIC,
            PROTOCOL_VERSION,
            TRACKED * self.tracked,
            len(self.weights),
            self.sequence & _UINT32,
            round(1e3 * self.capture_time_s) & _UINT32,
            round(1e3 * self.received_time_s) & _UINT32,
            min(max(round(self.delay_s / DELAY_STEP_S), 0), 0xFFFF),
            *(_int16(value * QUATERNION_STEPS) for value in self.rotation),
            *(_int16(value / POSITION_STEP_M) for value in self.position),
            *(_int16(value / ANGLE_STEP_RAD) for value in self.gaze),
        )
        return header + bytes(min(max(round(value * WEIGHT_STEPS), 0), 255) for value in self.weights)

    @staticmethod
    def unpack(message: bytes) -> "Parameters":
        """Unpack a binary message.

        :raises ProtocolError: if these are no parameters of this version, or if they are truncated.
        """
        if len(message) < PARAMETERS.size:
            raise ProtocolError("bad_parameters", f"a header has {PARAMETERS.size} bytes, the message {len(message)}")
        magic, version, flags, count, sequence, captured, received, delay, *rest = PARAMETERS.unpack_from(message)
        if magic != PARAMETERS_MAGIC or version != PROTOCOL_VERSION:
            raise ProtocolError("bad_parameters", f"not parameters of protocol {PROTOCOL_VERSION}: {magic!r} {version}")
        if len(message) != PARAMETERS.size + count:
            raise ProtocolError("bad_parameters", f"{count} weights need {count} bytes, not {len(message)} in all")
        qx, qy, qz, qw, x, y, z, left_yaw, left_pitch, right_yaw, right_pitch = rest
        return Parameters(
            sequence=sequence,
            tracked=bool(flags & TRACKED),
            capture_time_s=1e-3 * captured,
            received_time_s=1e-3 * received,
            delay_s=delay * DELAY_STEP_S,
            rotation=(qx / QUATERNION_STEPS, qy / QUATERNION_STEPS, qz / QUATERNION_STEPS, qw / QUATERNION_STEPS),
            position=(x * POSITION_STEP_M, y * POSITION_STEP_M, z * POSITION_STEP_M),
            gaze=(
                left_yaw * ANGLE_STEP_RAD,
                left_pitch * ANGLE_STEP_RAD,
                right_yaw * ANGLE_STEP_RAD,
                right_pitch * ANGLE_STEP_RAD,
            ),
            weights=tuple(code / WEIGHT_STEPS for code in message[PARAMETERS.size :]),
        )


def numbered(message: bytes, sequence: int) -> bytes:
    """Packed parameters with another sequence number."""
    changed = bytearray(message)
    struct.pack_into("<I", changed, SEQUENCE_OFFSET, sequence & _UINT32)
    return bytes(changed)


def _int16(value: float) -> int:
    return min(max(round(value), -32768), 32767)
