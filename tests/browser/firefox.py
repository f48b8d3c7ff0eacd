"""Firefox without a window, driven by WebDriver BiDi: as much of that protocol as the tests need."""

import contextlib
import itertools
import json
import re
import shutil
import subprocess
import threading
import time
from pathlib import Path
from typing import Any

from websockets.sync.client import connect

NAMES = ("firefox-esr", "firefox")
START_S = 120.0
ANSWER_S = 60.0
POLL_S = 0.2
PREFERENCES = {
    "media.navigator.permission.disabled": True,  # the person allows camera and microphone
    "media.navigator.streams.fake": True,
    "media.peerconnection.ice.loopback": True,
    "media.peerconnection.ice.obfuscate_host_addresses": False,
    "remote.active-protocols": 1,
    "datareporting.policy.dataSubmissionEnabled": False,
    "app.update.enabled": False,
    "browser.shell.checkDefaultBrowser": False,
}


def find_firefox() -> str | None:
    """Firefox's program, if it is installed."""
    return next((found for name in NAMES if (found := shutil.which(name))), None)


class Firefox:
    """A running Firefox with one tab."""

    def __init__(self, program: str, profile: Path) -> None:
        """
        :param profile: empty folder.
        """
        lines = [f"user_pref({json.dumps(name)}, {json.dumps(value)});" for name, value in PREFERENCES.items()]
        (profile / "user.js").write_text("\n".join(lines))
        command = [program, "--headless", "--no-remote", "--profile", str(profile), "--remote-debugging-port", "0"]
        self._process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        self.errors: list[str] = []
        """What pages have complained about."""
        self._numbers = itertools.count(1)
        self._open = contextlib.ExitStack()
        try:
            connecting = connect(f"{self._address()}/session", max_size=None, open_timeout=START_S)
            self._socket = self._open.enter_context(connecting)
            self._call("session.new", {"capabilities": {}})
            self._call("session.subscribe", {"events": ["log.entryAdded"]})
            tree = self._call("browsingContext.getTree", {})
            self._tab = tree["contexts"][0]["context"]
        except BaseException:
            self._end()
            raise

    def goto(self, address: str) -> None:
        """Open a page in the tab."""
        self._call("browsingContext.navigate", {"context": self._tab, "url": address, "wait": "complete"})

    def evaluate(self, expression: str) -> Any:
        """Value of an expression in the page: text, number, truth value or None."""
        target = {"context": self._tab}
        params = {"expression": expression, "target": target, "awaitPromise": True, "userActivation": True}
        answer = self._call("script.evaluate", params)
        assert answer["type"] == "success", answer
        return answer["result"].get("value")

    def until(self, expression: str, timeout_s: float = ANSWER_S) -> None:
        """Wait until an expression is true in the page."""
        deadline_s = time.monotonic() + timeout_s
        while not self.evaluate(expression):
            assert time.monotonic() < deadline_s, expression
            time.sleep(POLL_S)

    def click(self, selector: str) -> None:
        """Click an element."""
        self.evaluate(f"document.querySelector({json.dumps(selector)}).click()")

    def close(self) -> None:
        """End the browser."""
        self._end()

    def _address(self) -> str:
        stream = self._process.stderr
        assert stream is not None
        deadline_s = time.monotonic() + START_S
        while time.monotonic() < deadline_s:
            line = stream.readline()
            if found := re.search(r"WebDriver BiDi listening on (ws://\S+)", line):
                threading.Thread(target=lambda: [None for _ in stream], daemon=True).start()  # nobody reads the rest
                return found[1]
            if not line and self._process.poll() is not None:
                break
        raise RuntimeError("Firefox did not start")

    def _call(self, method: str, params: dict[str, Any]) -> dict[str, Any]:
        number = next(self._numbers)
        self._socket.send(json.dumps({"id": number, "method": method, "params": params}))
        while True:
            message = json.loads(self._socket.recv(timeout=START_S))
            if message.get("method") == "log.entryAdded":
                entry = message["params"]
                if entry["level"] == "error":
                    self.errors.append(str(entry["text"]))
            elif message.get("id") == number:
                assert message["type"] == "success", message
                result: dict[str, Any] = message["result"]
                return result

    def _end(self) -> None:
        self._open.close()
        self._process.terminate()
        try:
            self._process.wait(20.0)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
