"""A server in a process of its own, as `fitme serve` starts it; for measurements and tests."""

import contextlib
import socket
import ssl
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import psutil

from fitme.errors import FitmeError
from stream.engine.processes import FIT_NAME, LIVE_NAME

START_TIMEOUT_S = 300.0
"""Kernels are compiled on the very first start."""
STOP_TIMEOUT_S = 20.0
POLL_PERIOD_S = 0.1
LOG_NAME = "server.log"
_ROLES = {LIVE_NAME: "live", FIT_NAME: "fit"}


def free_port() -> int:
    """A port of this machine that nothing listens at."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class ServerProcess:
    """Use as a context manager: the server answers inside, and has ended after."""

    def __init__(self, store: Path, *options: str, scheme: str = "http", module: str = "stream") -> None:
        """
        :param store: folder of its sessions; its log goes there, too.
        :param options: of `fitme serve`; a `--store` among them takes the place of `store`, but for the log.
        :param module: what is run: `fitme serve`, or a module that takes the same options.
        """
        self.store = store
        self._options = options
        self._module = module
        self._scheme = scheme
        self._port = free_port()

    @property
    def address(self) -> str:
        """``http://127.0.0.1:PORT``"""
        return f"{self._scheme}://127.0.0.1:{self._port}"

    def __enter__(self) -> "ServerProcess":
        command = [sys.executable, "-m", self._module, "--port", str(self._port), "--store", str(self.store)]
        with (self.store / LOG_NAME).open("ab") as log:
            self._popen = subprocess.Popen([*command, *self._options], stdout=log, stderr=log)
        self.process = psutil.Process(self._popen.pid)
        try:
            self._wait_until_healthy()
        except BaseException:
            self._popen.kill()
            self._popen.wait()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._popen.terminate()
        try:
            self._popen.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self._popen.kill()
            self._popen.wait()

    def kill(self) -> None:
        """SIGKILL to the server alone; returns once its engine has noticed and ended, too."""
        engine = self.engine()
        self._popen.kill()
        self._popen.wait()
        psutil.wait_procs(engine, STOP_TIMEOUT_S)

    def engine(self) -> list[psutil.Process]:
        """Its live process and its fit process."""
        return [process for name, process in self.processes().items() if name in ("live", "fit")]

    def processes(self) -> dict[str, psutil.Process]:
        """Its processes by what they do: ``web``, ``live`` and ``fit``, as far as they run, and the ``fork server``."""
        found = {"web": self.process}
        for child in self.process.children(recursive=True):
            with contextlib.suppress(psutil.NoSuchProcess):
                if child.name() in _ROLES:
                    found[_ROLES[child.name()]] = child
                elif "forkserver" in " ".join(child.cmdline()):
                    found["fork server"] = child
        return {name: found[name] for name in ("web", "fork server", "live", "fit") if name in found}

    def processor_s(self) -> float:
        """Processor time of the server and its engine together, so far; without workers on a Ray cluster."""
        times = [item.cpu_times() for item in [self.process, *self.process.children(recursive=True)]]
        return sum(each.user + each.system for each in times)

    def resident_bytes(self) -> int:
        """Memory of the server and its engine together."""
        return sum(item.memory_info().rss for item in [self.process, *self.process.children(recursive=True)])

    def wait_for_workers(self, count: int) -> None:
        """Wait until as many workers of the engine serve: the first ones that are warm start the server.

        :raises FitmeError: they take too long.
        """
        deadline_s = time.monotonic() + START_TIMEOUT_S
        while f"fitme_engine_workers {count:.1f}" not in self._metrics():
            if time.monotonic() > deadline_s:
                raise FitmeError(f"{count} workers were not ready in {START_TIMEOUT_S:.0f} s")
            time.sleep(POLL_PERIOD_S)

    def _metrics(self) -> str:
        with urllib.request.urlopen(f"{self.address}/metrics") as answer:
            return str(answer.read(), "utf-8")

    def log(self) -> str:
        """Text that it has printed."""
        return (self.store / LOG_NAME).read_text()

    def _wait_until_healthy(self) -> None:
        # Certificates of tests are self-signed.
        context = ssl._create_unverified_context() if self._scheme == "https" else None
        deadline_s = time.monotonic() + START_TIMEOUT_S
        while True:
            try:
                with urllib.request.urlopen(f"{self.address}/healthz", timeout=POLL_PERIOD_S * 10, context=context):
                    return
            except (urllib.error.URLError, OSError):
                if self._popen.poll() is not None or time.monotonic() > deadline_s:
                    raise FitmeError(f"the server did not start: {self.log()[-2000:]}") from None
                time.sleep(POLL_PERIOD_S)
