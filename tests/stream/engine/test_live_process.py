"""A live process in a thread, with the test at the other ends of its pipes: what it makes of fit processes that end."""

import contextlib
import multiprocessing
import os
import queue
import socket
import threading
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TypeVar

from stream.engine.frame_slots import FrameSlots
from stream.engine.live_process import LARGEST_FAILED_OPENINGS, LiveProcess
from stream.engine.messages import (
    AttachFit,
    AvatarPieces,
    CloseSession,
    FitOpened,
    FitOpening,
    LiveAlive,
    OpenFit,
    OpenSession,
    Ping,
    SessionEvent,
)
from stream.protocol.events import ErrorEvent
from stream.protocol.scene import Scene
from stream.settings import RenderSettings, ServeSettings

TIMEOUT_S = 60.0
MAX_PIXELS = 64 * 48
Message = TypeVar("Message")


class Mailbox:
    """Messages that have come over a pipe, which is always emptied: the head alone fills it."""

    def __init__(self, connection: Connection) -> None:
        self._messages: queue.Queue[object] = queue.Queue()
        threading.Thread(target=self._read, args=(connection,), daemon=True).start()

    def _read(self, connection: Connection) -> None:
        with contextlib.suppress(EOFError, OSError):
            while True:
                self._messages.put(connection.recv())

    def receive(self, kind: type[Message]) -> Message:
        """The next message of a kind; those before it are passed over. queue.Empty if none comes."""
        while not isinstance(message := self._messages.get(timeout=TIMEOUT_S), kind):
            pass
        return message


def receive(connection: Connection, kind: type[Message]) -> Message:
    """The next message of a kind; those before it are passed over."""
    while connection.poll(TIMEOUT_S):
        message = connection.recv()
        if isinstance(message, kind):
            return message
    raise TimeoutError(f"no {kind.__name__} came")


def sessions_with_pieces(to_web: Mailbox, number: int) -> list[str]:
    """Sessions of which pieces come before the answer to a `Ping`."""
    sessions = []
    while message := to_web.receive(object):
        if isinstance(message, AvatarPieces):
            sessions.append(message.session)
        elif message == LiveAlive(number):
            break
    return sessions


def opened_sessions(fit: Connection) -> list[str]:
    """Sessions that a fit process is asked to open before it is asked for a sign of life."""
    sessions = []
    while not isinstance(message := fit.recv(), Ping):
        if isinstance(message, OpenFit):
            sessions.append(message.session)
    return sessions


def test_session_whose_opening_ends_the_fit_process_fails_alone(tmp_path: Path) -> None:
    web, web_end = multiprocessing.Pipe()
    to_web = Mailbox(web)
    fit, fit_end = multiprocessing.Pipe()
    live = LiveProcess(web_end, fit_end, ServeSettings(render=RenderSettings(size_px=64)))
    thread = threading.Thread(target=live.run)
    thread.start()
    slots = {name: FrameSlots.create(MAX_PIXELS) for name in ("good", "bad", "drawn")}
    for name, memory in slots.items():
        has_avatar = name == "drawn"
        web.send(OpenSession(name, tmp_path / name, Scene(), memory.name, MAX_PIXELS, has_avatar=has_avatar))
    web.send(Ping(0))
    # Pages that draw an avatar already keep it.
    assert sessions_with_pieces(to_web, 0) == ["good", "bad"]
    for attempt in range(LARGEST_FAILED_OPENINGS):
        assert opened_sessions(fit) == ["good", "bad", "drawn"]
        for message in (FitOpening("good"), FitOpened("good", (), ()), FitOpening("bad")):
            fit.send(message)
        fit.close()
        fit, fit_end = multiprocessing.Pipe()
        web.send(AttachFit(fit_end))
        web.send(Ping(attempt + 1))
    assert opened_sessions(fit) == ["good", "drawn"]
    failure = to_web.receive(SessionEvent)
    while not isinstance(failure.event, ErrorEvent):
        failure = to_web.receive(SessionEvent)
    assert (failure.session, failure.event.code) == ("bad", "session_unreadable")
    # A new session under this name gets its chance.
    web.send(CloseSession("bad"))
    web.send(OpenSession("bad", tmp_path / "bad", Scene(), slots["bad"].name, MAX_PIXELS))
    assert receive(fit, OpenFit).session == "bad"
    with socket.socket(fileno=os.dup(web.fileno())) as both_ends:
        both_ends.shutdown(socket.SHUT_RDWR)  # closing would not end a pipe that the mailbox reads
    thread.join(TIMEOUT_S)
    assert not thread.is_alive()
    for memory in slots.values():
        memory.close()
