"""Live Link Face against a parser of the published layout, written apart from the encoder."""

import contextlib
import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fitme.motion.live_link import LiveLinkEncoder, LiveLinkError, unpacked_packet
from fitme.motion.motion import Motion
from fitme.motion.rotations import rotation_of_angles
from fitme.shape.expressions import EXPRESSION_NAMES

UNREAL_ORDER = """
EyeBlinkLeft EyeLookDownLeft EyeLookInLeft EyeLookOutLeft EyeLookUpLeft EyeSquintLeft EyeWideLeft EyeBlinkRight
EyeLookDownRight EyeLookInRight EyeLookOutRight EyeLookUpRight EyeSquintRight EyeWideRight JawForward JawLeft JawRight
JawOpen MouthClose MouthFunnel MouthPucker MouthLeft MouthRight MouthSmileLeft MouthSmileRight MouthFrownLeft
MouthFrownRight MouthDimpleLeft MouthDimpleRight MouthStretchLeft MouthStretchRight MouthRollLower MouthRollUpper
MouthShrugLower MouthShrugUpper MouthPressLeft MouthPressRight MouthLowerDownLeft MouthLowerDownRight MouthUpperUpLeft
MouthUpperUpRight BrowDownLeft BrowDownRight BrowInnerUp BrowOuterUpLeft BrowOuterUpRight CheekPuff CheekSquintLeft
CheekSquintRight NoseSneerLeft NoseSneerRight TongueOut HeadYaw HeadPitch HeadRoll LeftEyeYaw LeftEyePitch LeftEyeRoll
RightEyeYaw RightEyePitch RightEyeRoll
"""
UNREAL = tuple(UNREAL_ORDER.split())
"""EARFaceBlendShape, as the headers that Unreal generates list it."""
IP_AND_UDP_BYTES = 28


def parsed(packet):
    """version u8, two strings, frame i32, part f32, rate i32 and i32, count u8, values f32; big-endian."""
    version, rest = packet[0], packet[1:]
    strings = []
    for _ in range(2):
        length = int.from_bytes(rest[:4], "big", signed=True)
        strings.append(rest[4 : 4 + length].decode())
        rest = rest[4 + length :]
    frame, rest = int.from_bytes(rest[:4], "big", signed=True), rest[4:]
    sub, rest = np.frombuffer(rest[:4], ">f4")[0], rest[4:]
    rate = np.frombuffer(rest[:8], ">i4")
    count, values = rest[8], np.frombuffer(rest[9:], ">f4")
    assert len(values) == count
    return version, strings, (frame + float(sub)) * rate[1] / rate[0], dict(zip(UNREAL, values, strict=True))


def test_an_independent_parser_has_the_weights_that_were_sent(moving):
    encoder = LiveLinkEncoder("Alice", 3600.0)
    total, worst = 0, 0.0
    for frame in range(60):
        motion = moving(frame / 60.0)
        packet = encoder.pack(motion)
        total += len(packet) + IP_AND_UDP_BYTES
        version, (device, subject), time_s, values = parsed(packet)
        assert (version, subject, len(device)) == (6, "Alice", 36)
        assert time_s == pytest.approx(3600.0 + frame / 60.0, abs=1e-3)
        for name, weight in zip(EXPRESSION_NAMES, motion.weights, strict=True):
            worst = max(worst, abs(values[name[0].upper() + name[1:]] - weight))
    assert worst < 1e-6
    assert total <= 35_000


def test_angles_of_head_and_eyes():
    motion = Motion(0.0, True, rotation_of_angles(0.4, 0.2, 0.1), gaze=(0.3, -0.1, 0.25, -0.1))
    *_, values = parsed(LiveLinkEncoder("A", 0.0).pack(motion))
    assert [values[name] for name in ("HeadYaw", "HeadPitch", "HeadRoll")] == pytest.approx([0.4, 0.2, -0.1], abs=1e-6)
    eyes = [values[f"{side}Eye{angle}"] for side in ("Left", "Right") for angle in ("Yaw", "Pitch", "Roll")]
    assert eyes == pytest.approx([0.3, -0.1, 0.0, 0.25, -0.1, 0.0], abs=1e-6)


def packet_of(values, *, version=6, device="0" * 36, subject="iPhone", count=61):
    names = b"".join(struct.pack(">i", len(name)) + name.encode() for name in (device, subject))
    frame = struct.pack(">ifiiB", 1000, 0.5, 60, 1, count)
    return bytes([version]) + names + frame + np.asarray(values, ">f4").tobytes()


def test_a_phones_packet_is_read():
    values = dict.fromkeys(UNREAL, 0.0) | {"JawOpen": 0.7, "MouthLeft": 0.3, "HeadYaw": 0.3, "HeadRoll": 0.2}
    packet = unpacked_packet(packet_of(list(values.values())), 4.0)
    assert packet.subject == "iPhone"
    motion = packet.motion
    assert (motion.time_s, motion.tracked) == (4.0, True)
    weights = {name: round(value, 6) for name, value in zip(EXPRESSION_NAMES, motion.weights, strict=True) if value}
    assert weights == {"jawOpen": 0.7, "mouthLeft": 0.3}
    assert motion.rotation == pytest.approx(rotation_of_angles(0.3, 0.0, -0.2), abs=1e-6)


def test_what_is_sent_is_what_is_read(moving):
    sent = moving(0.3)
    read = unpacked_packet(LiveLinkEncoder("A", 0.0).pack(sent), 1.0).motion
    assert read.weights == pytest.approx(sent.weights, abs=1e-6)
    assert read.rotation == pytest.approx(sent.rotation, abs=1e-6)
    assert read.gaze == pytest.approx(sent.gaze, abs=1e-6)


def test_a_phone_that_sees_no_face():
    names_only = packet_of([0.0] * 61)[: 1 + 4 + 36 + 4 + 6 + 16]
    assert not unpacked_packet(names_only, 0.0).motion.tracked


@pytest.mark.parametrize(
    ("packet", "words"),
    [
        (b"", "nothing"),
        (b"/VMC/Ext/OK\0,i\0\0\0\0\0\1", "version 47"),
        (packet_of([0.0] * 61, version=7), "version 7"),
        (packet_of([0.0] * 61, count=52), "52 values"),
        (packet_of([0.0] * 30), "not Live Link Face"),
        (packet_of([float("nan")] * 61), "no numbers"),
        (b"\6" + struct.pack(">i", 1 << 30), "a name of 1073741824 bytes"),
        (b"\6" + struct.pack(">i", 2) + b"\xff\xff" + struct.pack(">i", 0) + bytes(300), "decode"),
    ],
)
def test_other_packets_are_refused(packet, words):
    with pytest.raises(LiveLinkError, match=words):
        unpacked_packet(packet, 0.0)


@given(st.binary(max_size=400))
def test_any_bytes_are_a_packet_or_refused(data):
    with contextlib.suppress(LiveLinkError):
        unpacked_packet(b"\6" + data, 0.0)
