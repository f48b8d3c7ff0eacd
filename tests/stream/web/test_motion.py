"""Motion of sessions to and from other programs, over real sockets."""

import asyncio
import socket
from collections.abc import AsyncIterator

import pytest

from fitme.errors import ConfigError
from fitme.motion.live_link import LiveLinkEncoder, unpacked_packet
from fitme.motion.motion import FRONTAL, Motion
from fitme.motion.rotations import rotation_of_angles
from fitme.shape.expressions import EXPRESSION_COUNT
from stream.protocol.parameters import Parameters
from stream.settings import SessionMotionSettings
from stream.web.motion import MotionExchange, MotionTakenError, UnknownMotionError, parameters_of_motion

MOTION = Motion(1.0, True, rotation_of_angles(0.4, 0.1, 0.0), (0.01, 0.02, -0.5), weights=(0.25,) * EXPRESSION_COUNT)


class Session:
    """What moves a session's avatar."""

    def __init__(self, name: str) -> None:
        self.id = name
        self.driven: list[Parameters | None] = []

    def drive(self, message: bytes | None) -> None:
        self.driven.append(None if message is None else Parameters.unpack(message))


@pytest.fixture
def receiver():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as opened:
        opened.bind(("127.0.0.1", 0))
        opened.settimeout(5.0)
        yield opened


@pytest.fixture
def source_port() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
async def exchange(receiver, source_port) -> AsyncIterator[MotionExchange]:
    output = f"livelink://127.0.0.1:{receiver.getsockname()[1]}/Alice"
    yield MotionExchange(SessionMotionSettings(outputs=(output,), sources=(f"livelink://127.0.0.1:{source_port}",)))


async def test_nothing_is_offered_by_default() -> None:
    exchange, session = MotionExchange(SessionMotionSettings()), Session("a")
    assert exchange.state(session) == {"outputs": [], "sources": [], "send": False, "source": None, "trouble": None}
    with pytest.raises(UnknownMotionError):
        await exchange.set_sending(session, True)
    with pytest.raises(UnknownMotionError):
        await exchange.set_source(session, "livelink://0.0.0.0:11111")
    exchange.send(session, parameters_of_motion(MOTION).pack())


async def test_motion_leaves_only_while_the_owner_wants_it(exchange, receiver) -> None:
    session, other = Session("a"), Session("b")
    message = parameters_of_motion(MOTION).pack()
    exchange.send(session, message)
    await exchange.set_sending(session, True)
    exchange.send(session, message)
    exchange.send(other, message)
    received = await asyncio.to_thread(receiver.recv, 4096)
    packet = unpacked_packet(received, 0.0)
    assert packet.subject == "Alice"
    assert packet.motion.weights == pytest.approx(MOTION.weights, abs=1.0 / 255.0)
    assert packet.motion.rotation == pytest.approx(MOTION.rotation, abs=1e-4)
    with pytest.raises(MotionTakenError, match="another session"):
        await exchange.set_sending(other, True)
    await exchange.release(session)
    assert not exchange.state(session)["send"]
    await exchange.set_sending(other, True)
    exchange.send(session, message)
    receiver.settimeout(0.05)
    with pytest.raises(TimeoutError):
        receiver.recv(4096)
    await exchange.release(other)


async def test_a_source_moves_one_sessions_avatar(exchange, source_port) -> None:
    session, other = Session("a"), Session("b")
    name = f"livelink://127.0.0.1:{source_port}"
    await exchange.set_source(session, name)
    assert exchange.state(session)["source"] == name
    with pytest.raises(MotionTakenError, match="another session"):
        await exchange.set_source(other, name)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as phone:
        phone.sendto(b"hello", ("127.0.0.1", source_port))
        encoder = LiveLinkEncoder("iPhone", 0.0)
        for frame in range(1000):
            phone.sendto(encoder.pack(MOTION.at(frame / 60.0)), ("127.0.0.1", source_port))
            await asyncio.sleep(0.005)
            if len(session.driven) > 3:
                break
    driven = session.driven[-1]
    assert driven.tracked
    assert driven.rotation == pytest.approx(MOTION.rotation, abs=1e-4)
    assert driven.weights == pytest.approx(MOTION.weights, abs=1.0 / 255.0)
    times = [parameters.capture_time_s for parameters in session.driven if parameters is not None]
    assert times == sorted(times)
    await exchange.set_source(session, None)
    assert session.driven[-1] is None
    assert exchange.state(session)["source"] is None
    await exchange.set_source(other, name)
    await exchange.release(other)
    assert other.driven[-1] is None


async def test_a_source_whose_port_another_program_has(exchange, source_port) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind(("127.0.0.1", source_port))
        with pytest.raises(MotionTakenError, match="another program listens"):
            await exchange.set_source(Session("a"), f"livelink://127.0.0.1:{source_port}")


async def test_a_lost_face_is_sent_as_a_head_at_rest(exchange, receiver) -> None:
    session = Session("a")
    await exchange.set_sending(session, True)
    exchange.send(session, parameters_of_motion(Motion(0.0, tracked=False)).pack())
    packet = unpacked_packet(await asyncio.to_thread(receiver.recv, 4096), 0.0)
    assert packet.motion.rotation == FRONTAL
    await exchange.release(session)


def test_addresses_that_cannot_be_read() -> None:
    with pytest.raises(ConfigError, match=r"motion.sources: osc://host: not an address of motion"):
        MotionExchange(SessionMotionSettings(sources=("osc://host",)))
