"""Sending over a pipe from a thread of its own."""

import multiprocessing
from multiprocessing.connection import Connection

import pytest

from stream.engine.queued_sender import QueuedSender

MESSAGE_BYTES = 4 * 1024 * 1024
"""More than a pipe holds: sending one waits for the reader."""
TIMEOUT_S = 20.0


def pipe() -> tuple[Connection, Connection]:
    return multiprocessing.Pipe()


def test_messages_arrive_in_order() -> None:
    near, far = pipe()
    sender = QueuedSender(near, "sender")
    for index in range(100):
        sender.send(index)
    assert [far.recv() for _ in range(100)] == list(range(100))
    sender.close()
    assert sender.join(TIMEOUT_S)
    near.close()
    with pytest.raises(EOFError):
        far.recv()


@pytest.mark.filterwarnings("error::pytest.PytestUnhandledThreadExceptionWarning")
def test_ends_that_close_while_it_sends() -> None:
    near, far = pipe()
    sender = QueuedSender(near, "sender")
    sender.send(bytes(MESSAGE_BYTES))
    sender.send("never read")
    assert far.poll(TIMEOUT_S), "it sends"
    near.close()
    far.close()
    assert sender.join(TIMEOUT_S)
