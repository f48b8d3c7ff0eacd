"""Sending over a pipe without ever waiting for its reader."""

import logging
import queue
import threading
from multiprocessing.connection import Connection

logger = logging.getLogger(__name__)


class QueuedSender:
    """Sends messages over one end of a pipe, in their order, from a thread of its own."""

    def __init__(self, connection: Connection, name: str) -> None:
        """
        :param name: of the thread.
        """
        self._connection = connection
        self._queue: queue.SimpleQueue[object] = queue.SimpleQueue()
        threading.Thread(target=self._run, name=name, daemon=True).start()

    def send(self, message: object) -> None:
        """Queue a message; harmless once the pipe is closed."""
        self._queue.put(message)

    def close(self) -> None:
        """End the thread after what is queued."""
        self._queue.put(None)

    def _run(self) -> None:
        try:
            while (message := self._queue.get()) is not None:
                self._connection.send(message)
        except OSError:
            logger.info("nothing more can be sent: the other process has ended")
