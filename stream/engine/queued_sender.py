"""Sending over a pipe without ever waiting for its reader."""

import logging
import os
import queue
import threading
from multiprocessing.connection import Connection

logger = logging.getLogger(__name__)


class QueuedSender:
    """Sends messages over one end of a pipe, in their order, from a thread of its own."""

    def __init__(self, connection: Connection, name: str) -> None:
        """
        :param connection: may be closed at any time, since messages go through a duplicate of it; for the reader the
            pipe ends once that is closed, too: after `close`.
        :param name: of the thread.
        """
        self._queue: queue.SimpleQueue[object] = queue.SimpleQueue()
        # Of its own: an end that another thread closes cannot be written to.
        duplicate = Connection(os.dup(connection.fileno()), readable=False)
        self._thread = threading.Thread(target=self._run, args=(duplicate,), name=name, daemon=True)
        self._thread.start()

    def send(self, message: object) -> None:
        """Queue a message; harmless once the pipe is closed."""
        self._queue.put(message)

    def close(self) -> None:
        """End the thread after what is queued."""
        self._queue.put(None)

    def join(self, timeout_s: float) -> bool:
        """Wait for the end of the thread; whether it has ended."""
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def _run(self, connection: Connection) -> None:
        with connection:
            try:
                while (message := self._queue.get()) is not None:
                    connection.send(message)
            except OSError:
                logger.info("nothing more can be sent: the other process has ended")
