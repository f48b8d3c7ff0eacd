"""An S3 server in a process of its own, for measurements: moto's, which keeps its objects in memory."""

import contextlib
import os
import subprocess
import sys
import time
import urllib.error
import urllib.request

from fitme.errors import BackendError, FitmeError
from stream.bench.server_process import free_port

BUCKET = "people"
CREDENTIALS = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test"}
START_TIMEOUT_S = 60.0
POLL_PERIOD_S = 0.1


class ObjectServer:
    """Use as a context manager: the server has an empty bucket `BUCKET` inside, and this process and those that it
    starts have the credentials for it."""

    def __init__(self) -> None:
        self.port = free_port()

    @property
    def address(self) -> str:
        """``http://127.0.0.1:PORT``"""
        return f"http://127.0.0.1:{self.port}"

    def __enter__(self) -> "ObjectServer":
        """
        :raises BackendError: if moto is not installed.
        :raises FitmeError: if the server does not start.
        """
        command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(self.port)]
        self._popen = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self._before = {name: value for name, value in os.environ.items() if name.startswith("AWS_")}
        for name in self._before:
            del os.environ[name]
        os.environ.update(CREDENTIALS)
        try:
            self._make_bucket()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        for name in CREDENTIALS:
            os.environ.pop(name, None)
        os.environ.update(self._before)
        self._popen.kill()
        self._popen.wait()

    def _make_bucket(self) -> None:
        deadline_s = time.monotonic() + START_TIMEOUT_S
        while True:
            with contextlib.suppress(urllib.error.URLError, OSError):
                urllib.request.urlopen(urllib.request.Request(f"{self.address}/{BUCKET}", method="PUT")).close()
                return
            if self._popen.poll() is not None:
                raise BackendError("this benchmark needs an S3 server: pip install 'moto[server]'")
            if time.monotonic() > deadline_s:
                raise FitmeError(f"the S3 server did not start within {START_TIMEOUT_S:.0f} s")
            time.sleep(POLL_PERIOD_S)
