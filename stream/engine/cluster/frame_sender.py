"""Camera frames of one session on their way to a worker: compressed, and the newest only."""

import contextlib
import logging
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

from fitme.arrays import UInt8Array
from stream.engine.cluster.engine_worker import CompressedFrame, compress

logger = logging.getLogger(__name__)


class FrameSender:
    """Sends the camera frames of one session: while one is under way, later ones replace each other."""

    def __init__(
        self,
        threads: ThreadPoolExecutor,
        is_open: Callable[[], bool],
        send: Callable[[CompressedFrame], "Future[None] | None"],
    ) -> None:
        """
        :param threads: in which frames are compressed and sent.
        :param is_open: whether the session has not been closed; called in any thread, as `send`.
        :param send: sends a frame; a future of its arrival, or None while there is no worker.
        """
        self._threads, self._is_open, self._send_frame = threads, is_open, send
        self._lock = threading.Lock()
        self._waiting: tuple[UInt8Array, float, float] | None = None
        self._busy = False

    def take(self, image: UInt8Array, capture_time_s: float, received_time_s: float) -> None:
        """See `stream.engine.frame_slots.FrameSink`."""
        if not self._is_open():
            return
        with self._lock:
            self._waiting = (image, capture_time_s, received_time_s)
            if self._busy:
                return
            self._busy = True
        self._threads.submit(self._send)

    def _send(self) -> None:
        """Send the newest frame, in a thread of its own."""
        with self._lock:
            frame, self._waiting = self._waiting, None
            if frame is None or not self._is_open():
                self._busy = False
                return
        sent = None
        try:
            sent = self._send_frame(compress(*frame))
        except Exception:  # Ray's own errors of a cluster that ends; the next frame is tried again
            logger.exception("a camera frame could not be sent")
        if sent is None:
            with self._lock:
                self._busy = False
        else:
            sent.add_done_callback(self._arrived)

    def _arrived(self, _sent: "Future[None]") -> None:
        with contextlib.suppress(RuntimeError):  # the threads have ended
            self._threads.submit(self._send)
