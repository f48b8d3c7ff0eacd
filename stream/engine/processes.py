"""The live process and the fit process of a local engine: started, watched, replaced and ended.

Both are forked from a server process that has imported what they need (`multiprocessing`'s fork server): that saves the
three seconds of imports each time one is replaced, and they share the memory of what was imported.
"""

import contextlib
import multiprocessing
import os
import signal
import socket
import threading
import time
from collections.abc import Callable
from multiprocessing.connection import Connection, wait
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any

from fitme.quiet import quiet_libraries
from stream.engine.messages import AttachFit
from stream.engine.queued_sender import QueuedSender
from stream.logs import configure_logs
from stream.settings import ServeSettings

LIVE_NAME, FIT_NAME = "fitme-live", "fitme-fit"
"""Names of the processes, as `ps` and `top` show them."""
STOP_TIMEOUT_S = 1.5
"""How long processes may take to end by themselves: they have nothing to store any more."""
JOIN_TIMEOUT_S = 10.0
"""How long the threads of a process that has ended may take."""
FIT_KERNEL_THREADS = 1
"""Threads of numba kernels in the fit process; the live process uses all cores."""
CHILD_ENVIRONMENT = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "MALLOC_ARENA_MAX": "1"}
"""Matrices here are small: more threads would only take cores from each other. One arena for all threads: glibc would
give each thread its own, and freed memory in one of them is of no use to the others."""
PRELOADED = ["stream.engine.live_process", "stream.engine.fit_process"]

_context = multiprocessing.get_context("forkserver")


class EngineProcesses:
    """A live process, the fit process that belongs to it, and the threads that serve them here."""

    def __init__(self, settings: ServeSettings, receive: Callable[[Any], None], ended: Callable[[], None]) -> None:
        """Start both; blocks.

        :param receive: called with each message, in a thread.
        :param ended: called whenever one of the processes or the connection to the live one has ended, in a thread.
        """
        os.environ.update(CHILD_ENVIRONMENT)
        _context.set_forkserver_preload(PRELOADED)
        self._settings = settings
        self._ended = ended
        self._connection, live_end = _context.Pipe()
        self._threads: list[threading.Thread] = []
        self._socket = socket.socket(fileno=os.dup(self._connection.fileno()))
        live_to_fit, fit_end = _context.Pipe()
        self._live = _context.Process(
            target=_run_live, args=(live_end, live_to_fit, settings), name=LIVE_NAME, daemon=True
        )
        self._live.start()
        self._fit = self._start_fit(fit_end)
        for end in (live_end, live_to_fit):
            end.close()
        self._sender = QueuedSender(self._connection, "engine-sender")
        self._start_thread(lambda: self._receive_all(receive), "engine-receiver")
        self._watch(self._live)

    @property
    def live_alive(self) -> bool:
        """Whether the live process runs."""
        return self._live.is_alive()

    @property
    def fit_alive(self) -> bool:
        """Whether the fit process runs."""
        return self._fit.is_alive()

    def send(self, message: object) -> None:
        """Queue a message for the live process; never blocks."""
        self._sender.send(message)

    def replace_fit(self) -> None:
        """Kill the fit process and give the live process another; blocks."""
        self._fit.kill()
        self._fit.join()
        live_to_fit, fit_end = _context.Pipe()
        self._fit = self._start_fit(fit_end)
        self.send(AttachFit(live_to_fit))

    def stop(self) -> None:
        """End both processes; blocks."""
        self._sender.close()
        self._end_connection()
        deadline_s = time.monotonic() + STOP_TIMEOUT_S
        for process in (self._live, self._fit):
            process.join(max(0.0, deadline_s - time.monotonic()))
            if process.is_alive():
                process.kill()
                process.join()
        self._join_threads()

    def kill(self) -> None:
        """End both processes at once; blocks."""
        self._sender.close()
        for process in (self._live, self._fit):
            process.kill()
        for process in (self._live, self._fit):
            process.join()
        self._end_connection()
        self._join_threads()

    def _join_threads(self) -> None:
        """Wait for the threads, which call back into the event loop, before that may be closed."""
        self._sender.join(JOIN_TIMEOUT_S)
        for thread in self._threads:
            thread.join(JOIN_TIMEOUT_S)

    def _end_connection(self) -> None:
        """End the connection for both sides: closing it would not, while a thread reads from it."""
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()

    def _start_fit(self, connection: Connection) -> ForkServerProcess:
        fit = _context.Process(target=_run_fit, args=(connection, self._settings), name=FIT_NAME, daemon=True)
        fit.start()
        connection.close()
        self._watch(fit)
        return fit

    def _watch(self, process: ForkServerProcess) -> None:
        def until_ended() -> None:
            wait([process.sentinel])
            self._ended()

        self._start_thread(until_ended, f"watch-{process.name}")

    def _start_thread(self, target: Callable[[], None], name: str) -> None:
        thread = threading.Thread(target=target, name=name, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _receive_all(self, receive: Callable[[Any], None]) -> None:
        try:
            while True:
                receive(self._connection.recv())
        except (EOFError, OSError):
            self._ended()
        finally:
            self._connection.close()


def _run_live(web: Connection, fit: Connection, settings: ServeSettings) -> None:
    # Imported here: the web process, which imports this module, needs neither torch nor MediaPipe.
    from stream.engine.live_process import run_live_process

    with quiet_libraries():
        _prepare(LIVE_NAME, settings)
        run_live_process(web, fit, settings)


def _run_fit(connection: Connection, settings: ServeSettings) -> None:
    import numba

    from stream.engine.fit_process import run_fit_process

    os.environ["NUMBA_NUM_THREADS"] = str(FIT_KERNEL_THREADS)
    numba.config.reload_config()  # type: ignore[no-untyped-call] # numba was imported by the fork server
    with quiet_libraries():
        _prepare(FIT_NAME, settings)
        run_fit_process(connection, settings.fit)


def _prepare(name: str, settings: ServeSettings) -> None:
    # Among quiet libraries: their standard error leads nowhere, and what was opened before that with it.
    configure_logs(settings.log_format)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the web process, which ends this one
    with contextlib.suppress(OSError):
        Path("/proc/self/comm").write_text(name)
