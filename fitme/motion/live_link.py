"""Live Link Face: datagrams of Epic Games' app, version 6, which Unreal's plug-in "Apple ARKit Face Support" receives.

============ ======================================================================
type         field
============ ======================================================================
uint8        version, 6
string       device: int32 length, then UTF-8; a UUID of 36 characters
string       subject: the name under which Unreal lists it
int32        frame number since midnight, of the frame rate below
float32      part of a frame beyond it
int32, int32 frame rate: numerator and denominator
uint8        number of values, 61
float32 (61) ARKit's 52 weights in the order of `NAMES`, then the nine angles of `ANGLES`
============ ======================================================================

All of it big-endian. Angles are radians, as programs that receive the app take them: yaw > 0 turns to the person's
left, pitch > 0 down, roll > 0 tilts to the person's left. The head's place is not sent.
"""

import math
import struct
import uuid
from dataclasses import dataclass
from typing import Final

from fitme.errors import InputError
from fitme.motion.gaze import completed_gaze
from fitme.motion.motion import Motion
from fitme.motion.rotations import angles_of_rotation, rotation_of_angles
from fitme.shape.expressions import EXPRESSION_NAMES

PORT: Final = 11111
VERSION: Final = 6
FRAMES_PER_SECOND: Final = 60
DEFAULT_SUBJECT: Final = "FitMe"
LONGEST_NAME: Final = 256
SECONDS_A_DAY: Final = 86_400.0

NAMES: Final[tuple[str, ...]] = (
    "eyeBlinkLeft", "eyeLookDownLeft", "eyeLookInLeft", "eyeLookOutLeft", "eyeLookUpLeft", "eyeSquintLeft",
    "eyeWideLeft",
    "eyeBlinkRight", "eyeLookDownRight", "eyeLookInRight", "eyeLookOutRight", "eyeLookUpRight", "eyeSquintRight",
    "eyeWideRight",
    "jawForward", "jawLeft", "jawRight", "jawOpen",
    "mouthClose", "mouthFunnel", "mouthPucker", "mouthLeft", "mouthRight", "mouthSmileLeft", "mouthSmileRight",
    "mouthFrownLeft", "mouthFrownRight", "mouthDimpleLeft", "mouthDimpleRight", "mouthStretchLeft", "mouthStretchRight",
    "mouthRollLower", "mouthRollUpper", "mouthShrugLower", "mouthShrugUpper", "mouthPressLeft", "mouthPressRight",
    "mouthLowerDownLeft", "mouthLowerDownRight", "mouthUpperUpLeft", "mouthUpperUpRight",
    "browDownLeft", "browDownRight", "browInnerUp", "browOuterUpLeft", "browOuterUpRight",
    "cheekPuff", "cheekSquintLeft", "cheekSquintRight", "noseSneerLeft", "noseSneerRight", "tongueOut",
)  # fmt: skip
"""Order of Unreal's enumeration EARFaceBlendShape."""
ANGLES: Final = (
    "headYaw", "headPitch", "headRoll", "leftEyeYaw", "leftEyePitch", "leftEyeRoll", "rightEyeYaw", "rightEyePitch",
    "rightEyeRoll",
)  # fmt: skip
VALUE_COUNT: Final = len(NAMES) + len(ANGLES)

_ORDER = tuple(EXPRESSION_NAMES.index(name) for name in NAMES)
_FRAME_TIME = struct.Struct(">ifii")
_VALUES = struct.Struct(f">{VALUE_COUNT}f")


class LiveLinkError(InputError):
    """A datagram is not Live Link Face's."""


@dataclass(frozen=True)
class LiveLinkPacket:
    """A datagram's content."""

    device: str
    subject: str
    motion: Motion


class LiveLinkEncoder:
    """Packs motion into datagrams of one subject."""

    def __init__(self, subject: str, midnight_offset_s: float, device: str | None = None) -> None:
        """
        :param subject: name in Unreal's list.
        :param midnight_offset_s: time since midnight at a motion's time 0, seconds.
        :param device: UUID of the sender; a new one if None.
        """
        self._names = b"".join(_packed_name(name) for name in (device or str(uuid.uuid4()).upper(), subject))
        self._offset_s = midnight_offset_s

    def pack(self, motion: Motion) -> bytes:
        """One frame as a datagram."""
        frames = (motion.time_s + self._offset_s) % SECONDS_A_DAY * FRAMES_PER_SECOND
        number = math.floor(frames)
        yaw, pitch, roll = angles_of_rotation(motion.rotation)
        left_yaw, left_pitch, right_yaw, right_pitch = motion.gaze
        return b"".join(
            (
                bytes([VERSION]),
                self._names,
                _FRAME_TIME.pack(number, frames - number, FRAMES_PER_SECOND, 1),
                bytes([VALUE_COUNT]),
                _VALUES.pack(
                    *(motion.weights[index] for index in _ORDER),
                    *(yaw, pitch, -roll, left_yaw, left_pitch, 0.0, right_yaw, right_pitch, 0.0),
                ),
            )
        )


def unpacked_packet(datagram: bytes, time_s: float) -> LiveLinkPacket:
    """Content of a datagram.

    The app sends no values, only names, while it sees no face: such a motion is not tracked.

    :param time_s: when it came; the time of its motion.
    :raises LiveLinkError: if it is none of this version.
    """
    if not datagram or datagram[0] != VERSION:
        begin = "nothing" if not datagram else f"version {datagram[0]}"
        raise LiveLinkError(f"not Live Link Face of version {VERSION}: {begin}")
    try:
        device, offset = _name(datagram, 1)
        subject, offset = _name(datagram, offset)
        if offset + _FRAME_TIME.size >= len(datagram):
            return LiveLinkPacket(device, subject, Motion(time_s, tracked=False))
        offset += _FRAME_TIME.size
        if datagram[offset] != VALUE_COUNT:
            raise LiveLinkError(
                f"not Live Link Face of version {VERSION}: {datagram[offset]} values, not {VALUE_COUNT}"
            )
        values = _VALUES.unpack_from(datagram, offset + 1)
    except (struct.error, UnicodeDecodeError) as error:
        raise LiveLinkError(f"not Live Link Face of version {VERSION}: {error}") from error
    if not all(math.isfinite(value) for value in values):
        raise LiveLinkError("not Live Link Face: some values are no numbers")
    weights = [0.0] * len(NAMES)
    for index, value in zip(_ORDER, values, strict=False):
        weights[index] = min(max(value, 0.0), 1.0)
    yaw, pitch, roll, left_yaw, left_pitch, _, right_yaw, right_pitch, _ = values[len(NAMES) :]
    gaze, completed = completed_gaze((left_yaw, left_pitch, right_yaw, right_pitch), tuple(weights))
    rotation = rotation_of_angles(yaw, pitch, -roll)
    return LiveLinkPacket(device, subject, Motion(time_s, True, rotation, gaze=gaze, weights=completed))


def _packed_name(text: str) -> bytes:
    data = text.encode()
    return struct.pack(">i", len(data)) + data


def _name(datagram: bytes, offset: int) -> tuple[str, int]:
    """A string, and the offset behind it."""
    (length,) = struct.unpack_from(">i", datagram, offset)
    if not 0 <= length <= LONGEST_NAME or offset + 4 + length > len(datagram):
        raise LiveLinkError(f"not Live Link Face of version {VERSION}: a name of {length} bytes")
    return datagram[offset + 4 : offset + 4 + length].decode(), offset + 4 + length
