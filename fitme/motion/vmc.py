"""VMC protocol (protocol.vmc.info): motion as Open Sound Control over UDP, from and to VSeeFace, Warudo, VNyan, Unity
(EVMC4U), Unreal (VMC4UE), Blender and others.

A frame is one bundle: bones ``Head``, ``LeftEye`` and ``RightEye`` of Unity's humanoid, local to their parents, blend
shapes under ARKit's names ("perfect sync"), ``/VMC/Ext/Blend/Apply``, and the sender's time. Unity's frame is
left-handed, with y up and z forward: x is negated (`mirrored_in_x`).

A blend shape's message has 48 bytes: all 52 in each of 60 frames a second would be 170 kB/s. Receivers keep what they
were sent, so a frame has those blend shapes that have changed most, as many as the allowed rate has room for, and the
others when their turn comes.
"""

import struct
from collections.abc import Sequence
from typing import Final

from fitme.motion.gaze import completed_gaze
from fitme.motion.motion import FRONTAL, NEUTRAL_WEIGHTS, Gaze, Motion, Quaternion
from fitme.motion.names import index_of
from fitme.motion.osc import (
    Argument,
    OscMessage,
    packed_bundle,
    packed_message,
    packed_string,
    unpacked_messages,
)
from fitme.motion.rotations import angles_of_rotation, mirrored_in_x, multiplied, rotation_of_angles, unit
from fitme.shape.expressions import EXPRESSION_NAMES

PORT: Final = 39539
"""Where receivers that draw ("marionettes") listen."""

STATE, TIME, BONE = "/VMC/Ext/OK", "/VMC/Ext/T", "/VMC/Ext/Bone/Pos"
BLEND, APPLY = "/VMC/Ext/Blend/Val", "/VMC/Ext/Blend/Apply"
HEAD, NECK, LEFT_EYE, RIGHT_EYE = "Head", "Neck", "LeftEye", "RightEye"
LOADED, CALIBRATED, NORMAL_MODE = 1, 3, 0

BUNDLE_HEADER_BYTES, ELEMENT_HEADER_BYTES = 16, 4
STATE_PERIOD_S: Final = 1.0
REFRESH_PERIOD_S: Final = 1.0
"""A blend shape is sent again after this time, for receivers that came late and for packets that were lost."""
LEAST_CHANGE: Final = 1.0 / 512.0
"""Of a weight: half a step of the live service's parameters."""
LEAST_TURN: Final = 9e-4
"""Of a component of an eye's quaternion: 0.1 degrees."""
SHORTEST_FRAME_S, LONGEST_FRAME_S = 1.0 / 240.0, 0.1
"""Bounds of the time between two frames for which bytes are allotted."""

_BLEND_PREFIXES = tuple(packed_string(BLEND) + packed_string(",sf") + packed_string(name) for name in EXPRESSION_NAMES)
_APPLY = packed_message(APPLY)
_FLOAT = struct.Struct(">f")


class VmcEncoder:
    """Packs motion into one datagram a frame, within a rate of bytes."""

    def __init__(self, bytes_per_second: float | None) -> None:
        """
        :param bytes_per_second: upper limit of the payload; None sends all weights with each frame.
        """
        self._limit = bytes_per_second
        self._sent = [float("nan")] * len(EXPRESSION_NAMES)
        """Weights as the receiver has them."""
        self._sent_time_s = [-REFRESH_PERIOD_S] * len(EXPRESSION_NAMES)
        self._eyes: dict[str, tuple[Quaternion, float]] = {}
        """Rotations as the receiver has them, and when they were sent."""
        self._state_due_s = 0.0
        self._tracked: bool | None = None
        self._time_s: float | None = None
        self._start_s = 0.0

    def pack(self, motion: Motion) -> bytes:
        """One frame as a datagram."""
        if self._time_s is None:
            self._start_s = motion.time_s
        now_s = motion.time_s - self._start_s
        elapsed_s = LONGEST_FRAME_S if self._time_s is None else motion.time_s - self._time_s
        self._time_s = motion.time_s
        messages = [packed_message(TIME, float(now_s))]
        if motion.tracked != self._tracked or now_s >= self._state_due_s:
            self._tracked, self._state_due_s = motion.tracked, now_s + STATE_PERIOD_S
            messages.append(packed_message(STATE, LOADED, CALIBRATED, NORMAL_MODE, int(motion.tracked)))
        messages += self._bones(motion, now_s)
        used = BUNDLE_HEADER_BYTES + sum(len(message) + ELEMENT_HEADER_BYTES for message in (*messages, _APPLY))
        for index in self._chosen(motion.weights, now_s, self._room(elapsed_s, used)):
            self._sent[index], self._sent_time_s[index] = motion.weights[index], now_s
            messages.append(_BLEND_PREFIXES[index] + _FLOAT.pack(motion.weights[index]))
        return packed_bundle([*messages, _APPLY])

    def _room(self, elapsed_s: float, used: int) -> float:
        """Bytes that blend shapes may have in this frame."""
        if self._limit is None:
            return float("inf")
        return self._limit * min(max(elapsed_s, SHORTEST_FRAME_S), LONGEST_FRAME_S) - used

    def _bones(self, motion: Motion, now_s: float) -> list[bytes]:
        """The head, and the eyes if they have moved. Receivers keep the lengths of their own bones."""
        bones = [_packed_bone(HEAD, motion.rotation)]
        left_yaw, left_pitch, right_yaw, right_pitch = motion.gaze
        for name, yaw, pitch in ((LEFT_EYE, left_yaw, left_pitch), (RIGHT_EYE, right_yaw, right_pitch)):
            rotation = rotation_of_angles(yaw, pitch, 0.0)
            known, time_s = self._eyes.get(name, (FRONTAL, -REFRESH_PERIOD_S))
            moved = max(abs(one - other) for one, other in zip(rotation, known, strict=True)) > LEAST_TURN
            if moved or now_s - time_s >= REFRESH_PERIOD_S:
                self._eyes[name] = rotation, now_s
                bones.append(_packed_bone(name, rotation))
        return bones

    def _chosen(self, weights: Sequence[float], now_s: float, room: float) -> list[int]:
        """Indices of the weights to send: largest differences from what the receiver has first, then those that were
        sent long ago."""
        if self._limit is None:
            return list(range(len(weights)))
        urgency = []
        for index, weight in enumerate(weights):
            change, age_s = abs(weight - self._sent[index]), now_s - self._sent_time_s[index]
            if not change <= LEAST_CHANGE:  # or never sent
                urgency.append((1.0 + (change if change == change else 1.0), index))
            elif age_s >= REFRESH_PERIOD_S:
                urgency.append((-1.0 / age_s, index))
        chosen = []
        for _, index in sorted(urgency, reverse=True):
            room -= len(_BLEND_PREFIXES[index]) + _FLOAT.size + ELEMENT_HEADER_BYTES
            if room < 0.0:
                break
            chosen.append(index)
        return chosen


def _packed_bone(name: str, rotation: Quaternion) -> bytes:
    return packed_message(BONE, name, 0.0, 0.0, 0.0, *mirrored_in_x(rotation))


class VmcDecoder:
    """Collects messages of a sender into motion; a frame ends with ``Apply``, or for senders without blend shapes with
    ``T``."""

    def __init__(self) -> None:
        self._weights = list(NEUTRAL_WEIGHTS)
        self._bones: dict[str, Quaternion] = {}
        self._tracked = True
        self._applies = False

    def unpack(self, datagram: bytes, time_s: float) -> Motion | None:
        """Take in a datagram; the motion if a frame has ended.

        :param time_s: when it came.
        :raises OscError: if it is not Open Sound Control.
        """
        ended = False
        for message in unpacked_messages(datagram):
            ended = self._take(message) or ended
        if not ended:
            return None
        rotation = unit(multiplied(self._bones.get(NECK, FRONTAL), self._bones.get(HEAD, FRONTAL)))
        gaze, weights = completed_gaze(self._gaze(), tuple(self._weights))
        return Motion(time_s, self._tracked, rotation, gaze=gaze, weights=weights)

    def _take(self, message: OscMessage) -> bool:
        """Take in a message; whether it ends a frame."""
        arguments = message.arguments
        match message.address:
            case "/VMC/Ext/Blend/Val" if len(arguments) >= 2 and isinstance(arguments[0], str):
                index = index_of(arguments[0])
                if index is not None:
                    self._weights[index] = min(max(_number(arguments[1]), 0.0), 1.0)
            case "/VMC/Ext/Bone/Pos" if len(arguments) >= 8 and isinstance(arguments[0], str):
                x, y, z, w = (_number(argument) for argument in arguments[4:8])
                self._bones[arguments[0]] = mirrored_in_x(unit((x, y, z, w)))
            case "/VMC/Ext/OK" if len(arguments) >= 4:
                self._tracked = _number(arguments[3]) != 0.0
            case "/VMC/Ext/Blend/Apply":
                self._applies = True
                return True
            case "/VMC/Ext/T":
                return not self._applies
        return False

    def _gaze(self) -> Gaze:
        left, right = (angles_of_rotation(self._bones.get(name, FRONTAL)) for name in (LEFT_EYE, RIGHT_EYE))
        return left[0], left[1], right[0], right[1]


def _number(argument: Argument) -> float:
    """A finite number of an argument; 0 of anything else."""
    if isinstance(argument, bool) or not isinstance(argument, int | float):
        return 0.0
    return float(argument) if abs(argument) < 1e6 else 0.0
