"""VMC against python-osc, an independent implementation of Open Sound Control."""

import asyncio
import contextlib
import math
import socket
import struct
import threading

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pythonosc.dispatcher import Dispatcher
from pythonosc.osc_bundle_builder import IMMEDIATELY, OscBundleBuilder
from pythonosc.osc_message_builder import OscMessageBuilder
from pythonosc.osc_packet import OscPacket
from pythonosc.osc_server import BlockingOSCUDPServer
from scipy.spatial.transform import Rotation

from fitme.motion.addresses import parse_address
from fitme.motion.motion import Motion
from fitme.motion.osc import OscError, OscMessage, packed_message, unpacked_messages
from fitme.motion.rotations import rotation_of_angles
from fitme.motion.settings import MotionSettings
from fitme.motion.udp import UdpOutput
from fitme.motion.vmc import VmcDecoder, VmcEncoder
from fitme.shape.expressions import EXPRESSION_NAMES

LIMIT = MotionSettings().vmc_bytes_per_second
IP_AND_UDP_BYTES = 28


class Receiver:
    """What a program holds that receives VMC by python-osc."""

    def __init__(self):
        self.weights, self.bones, self.state, self.applied = {}, {}, None, 0

    def take(self, address, *arguments):
        match address:
            case "/VMC/Ext/Blend/Val":
                self.weights[arguments[0]] = arguments[1]
            case "/VMC/Ext/Bone/Pos":
                self.bones[arguments[0]] = arguments[1:]
            case "/VMC/Ext/OK":
                self.state = arguments
            case "/VMC/Ext/Blend/Apply":
                self.applied += 1

    def read(self, datagram):
        for timed in OscPacket(datagram).messages:
            self.take(timed.message.address, *timed.message.params)

    @property
    def vector(self):
        return np.array([self.weights.get(name, np.nan) for name in EXPRESSION_NAMES])


def test_everything_comes_back_without_a_limit(moving):
    encoder, receiver = VmcEncoder(None), Receiver()
    for frame in range(3):
        motion = moving(frame / 60.0)
        receiver.read(encoder.pack(motion))
        np.testing.assert_allclose(receiver.vector, motion.weights, atol=1e-7)
    assert receiver.applied == 3
    assert receiver.state == (1, 3, 0, 1)
    assert set(receiver.bones) == {"Head", "LeftEye", "RightEye"}


def test_a_head_that_turns_left_does_so_in_unity():
    receiver = Receiver()
    receiver.read(
        VmcEncoder(None).pack(Motion(0.0, True, rotation_of_angles(0.4, 0.0, 0.0), gaze=(0.2, 0.1, 0.2, 0.1)))
    )
    # Unity: the avatar looks along +z, its left is -x. Quaternions turn left-handed there, by the same formula.
    head, eye = (Rotation.from_quat(receiver.bones[name][3:]).apply([0.0, 0.0, 1.0]) for name in ("Head", "LeftEye"))
    assert head == pytest.approx([-np.sin(0.4), 0.0, np.cos(0.4)], abs=1e-6)
    assert eye[0] < -0.1
    assert eye[1] == pytest.approx(-np.sin(0.1), abs=1e-6)


def talking_at(time_s):
    """A face that talks, smiles and blinks: some ten weights move."""
    weights = [0.0] * len(EXPRESSION_NAMES)
    syllables = 0.5 + 0.5 * math.sin(2.0 * math.pi * 4.0 * time_s)
    smile = 0.5 + 0.5 * math.sin(2.0 * math.pi * 0.3 * time_s)
    for names, value in (
        (("jawOpen", "mouthLowerDownLeft", "mouthLowerDownRight"), 0.6 * syllables),
        (("mouthFunnel", "mouthPucker"), 0.4 * (1.0 - syllables)),
        (("mouthSmileLeft", "mouthSmileRight", "cheekSquintLeft", "cheekSquintRight"), 0.7 * smile),
        (("eyeBlinkLeft", "eyeBlinkRight"), float(time_s % 3.0 < 0.15)),
    ):
        for name in names:
            weights[EXPRESSION_NAMES.index(name)] = value
    yaw = 0.3 * math.sin(time_s)
    return Motion(time_s, True, rotation_of_angles(yaw, 0.05, 0.0), gaze=(-yaw, 0.0, -yaw, 0.0), weights=tuple(weights))


def sent_for(motion_at, frames):
    """What a receiver has of motion at 60 Hz: errors of all weights and bytes a second, the network's included."""
    encoder, receiver, total, errors = VmcEncoder(LIMIT), Receiver(), 0, []
    for frame in range(frames):
        motion = motion_at(frame / 60.0)
        datagram = encoder.pack(motion)
        total += len(datagram) + IP_AND_UDP_BYTES
        receiver.read(datagram)
        if frame >= 60:
            errors.append(np.abs(receiver.vector - motion.weights))
    return np.array(errors), total / (frames / 60.0), encoder, receiver


def test_a_talking_face_at_60_hz_within_35_kilobytes_a_second():
    errors, rate, *_ = sent_for(talking_at, 600)
    assert rate <= 35_000.0
    assert np.mean(errors) < 0.02
    assert np.quantile(errors.max(1), 0.5) < 0.15, "no weight is far behind"


def test_a_face_that_cannot_be_holds_to_the_rate_and_arrives_once_it_is_still(moving):
    # All 52 weights swing from 0 to 1 at once.
    errors, rate, encoder, receiver = sent_for(moving, 600)
    assert rate <= 35_000.0
    assert np.mean(errors) < 0.12
    held = moving(10.0)
    for frame in range(600, 620):
        receiver.read(encoder.pack(held.at(frame / 60.0)))
    np.testing.assert_allclose(receiver.vector, held.weights, atol=1.0 / 512.0 + 1e-6)


def test_what_moves_most_is_sent_first():
    encoder, receiver = VmcEncoder(LIMIT), Receiver()
    jaw = EXPRESSION_NAMES.index("jawOpen")
    still = Motion(0.0, True)
    for frame in range(30):
        receiver.read(encoder.pack(still.at(frame / 60.0)))
    assert np.isfinite(receiver.vector).all()
    weights = [0.01] * len(EXPRESSION_NAMES)
    weights[jaw] = 0.8
    receiver.read(encoder.pack(Motion(0.5, True, weights=tuple(weights))))
    assert receiver.weights["jawOpen"] == pytest.approx(0.8)
    assert np.isclose(receiver.vector, 0.01).sum() < 10


def test_late_receivers_have_all_within_two_seconds(moving):
    encoder, late, held = VmcEncoder(LIMIT), Receiver(), moving(0.0)
    for frame in range(180):
        datagram = encoder.pack(held.at(frame / 30.0))
        if frame >= 120:
            late.read(datagram)
    np.testing.assert_allclose(late.vector, held.weights, atol=1e-6)
    assert late.state is not None
    assert set(late.bones) == {"Head", "LeftEye", "RightEye"}


async def test_over_a_socket_to_python_oscs_server(moving):
    receiver, dispatcher = Receiver(), Dispatcher()
    dispatcher.set_default_handler(receiver.take)
    with BlockingOSCUDPServer(("127.0.0.1", 0), dispatcher) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        address = parse_address(f"vmc://127.0.0.1:{server.server_address[1]}")
        reports: list[str] = []
        output = await UdpOutput.open(address, VmcEncoder(None), reports.append)
        motion = moving(1.0)
        for frame in range(1000):
            output.send(motion.at(frame / 60.0))
            if receiver.applied:
                break
            await asyncio.sleep(0.01)
        await output.close()
        server.shutdown()
        thread.join()
    np.testing.assert_allclose(receiver.vector, motion.weights, atol=1e-7)
    assert reports == []


def osc_of(address, *arguments):
    builder = OscMessageBuilder(address)
    for argument in arguments:
        builder.add_arg(argument, "f" if isinstance(argument, float) else None)
    return builder.build()


def bundle_of(*messages):
    builder = OscBundleBuilder(IMMEDIATELY)
    for message in messages:
        builder.add_content(message)
    return builder.build().dgram


def test_motion_of_other_senders_is_read():
    decoder = VmcDecoder()
    left = Rotation.from_euler("y", -0.3).as_quat()  # in Unity, the avatar's left
    datagram = bundle_of(
        osc_of("/VMC/Ext/Bone/Pos", "Neck", 0.0, 0.1, 0.0, *map(float, left)),
        osc_of("/VMC/Ext/Bone/Pos", "Head", 0.0, 0.1, 0.0, *map(float, left)),
        osc_of("/VMC/Ext/Bone/Pos", "LeftEye", 0.0, 0.0, 0.0, *map(float, left)),
        osc_of("/VMC/Ext/Blend/Val", "JawOpen", 0.6),
        osc_of("/VMC/Ext/Blend/Val", "mouthSmile_L", 0.4),
        osc_of("/VMC/Ext/Blend/Val", "Sorrow", 1.0),
        osc_of("/VMC/Ext/Blend/Apply"),
    )
    motion = decoder.unpack(datagram, 2.0)
    assert motion is not None
    assert motion.time_s == 2.0
    assert motion.rotation == pytest.approx(rotation_of_angles(0.6, 0.0, 0.0), abs=1e-6)
    assert motion.gaze[0] == pytest.approx(0.3, abs=1e-6)
    weights = dict(zip(EXPRESSION_NAMES, motion.weights, strict=True))
    assert weights["jawOpen"] == pytest.approx(0.6)
    assert weights["mouthSmileLeft"] == pytest.approx(0.4)
    assert weights["eyeLookOutLeft"] == pytest.approx(0.3 / np.radians(30.0), abs=1e-5)
    # Messages of their own: a frame ends with Apply, and weights stay.
    assert decoder.unpack(osc_of("/VMC/Ext/Blend/Val", "jawOpen", 2.0).dgram, 3.0) is None
    assert decoder.unpack(osc_of("/VMC/Ext/T", 3.0).dgram, 3.0) is None
    later = decoder.unpack(osc_of("/VMC/Ext/Blend/Apply").dgram, 3.0)
    assert later.weights[EXPRESSION_NAMES.index("jawOpen")] == 1.0
    assert later.rotation == motion.rotation


def test_what_is_sent_is_what_is_read(moving):
    sent = moving(0.7)
    read = VmcDecoder().unpack(VmcEncoder(None).pack(sent), 5.0)
    assert read.weights == pytest.approx(sent.weights, abs=1e-7)
    assert read.rotation == pytest.approx(sent.rotation, abs=1e-6)
    assert read.gaze == pytest.approx(sent.gaze, abs=1e-6)
    assert not VmcDecoder().unpack(VmcEncoder(None).pack(Motion(0.0, tracked=False)), 0.0).tracked


@pytest.mark.parametrize(
    "datagram",
    [
        b"",
        b"GET / HTTP/1.1\r\n\r\n",
        b"#bundle\0",
        b"#bundle\0" + bytes(8) + struct.pack(">i", 400) + b"/a",
        b"#bundle\0" + bytes(8) + struct.pack(">i", -4),
        b"/VMC/Ext/Blend/Val\0\0,sf\0jawOpen\0",
        b"/VMC/Ext/T\0\0f\0\0\0",
        b"/no/end",
        b"/b\0\0,b\0\0" + struct.pack(">i", 1 << 30),
        b"/x\0\0,q\0\0",
    ],
)
def test_packets_of_other_protocols_are_refused(datagram):
    with pytest.raises(OscError, match=r"Open Sound Control|type"):
        VmcDecoder().unpack(datagram, 0.0)


def test_bundles_within_bundles_end():
    packet = packed_message("/a")
    for _ in range(50):
        packet = b"#bundle\0" + bytes(8) + struct.pack(">i", len(packet)) + packet
    with pytest.raises(OscError, match="without end"):
        unpacked_messages(packet)


@given(st.binary(max_size=200))
def test_any_bytes_are_messages_or_refused(data):
    with contextlib.suppress(OscError):
        unpacked_messages(data)


def test_wrong_arguments_change_nothing():
    decoder = VmcDecoder()
    for message in (
        osc_of("/VMC/Ext/Blend/Val", "jawOpen"),
        osc_of("/VMC/Ext/Blend/Val", 3, 0.5),
        osc_of("/VMC/Ext/Bone/Pos", "Head", 0.0),
        osc_of("/VMC/Ext/Blend/Val", "jawOpen", float("nan")),
        osc_of("/VMC/Ext/Bone/Pos", "Head", *[float("nan")] * 7),
    ):
        decoder.unpack(message.dgram, 0.0)
    motion = decoder.unpack(osc_of("/VMC/Ext/Blend/Apply").dgram, 0.0)
    assert motion == Motion(0.0, True)


def test_messages_of_python_osc_are_read():
    message = osc_of("/a/b", "text", 3, 0.5, True, False, b"\1\2\3")
    assert unpacked_messages(message.dgram) == [OscMessage("/a/b", ("text", 3, 0.5, True, False, b"\1\2\3"))]


async def test_a_receiver_that_is_not_there_is_reported_once(moving):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    reports: list[str] = []
    output = await UdpOutput.open(parse_address(f"vmc://127.0.0.1:{port}"), VmcEncoder(LIMIT), reports.append)
    for frame in range(200):
        output.send(moving(frame / 60.0))
        await asyncio.sleep(0)
    await output.close()
    assert len(reports) == 1
    assert "nobody receives there yet" in reports[0]
