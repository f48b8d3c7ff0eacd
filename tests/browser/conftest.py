"""A real server, Debian's Chromium without a window, and a fake webcam that plays the sample clip."""

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import av
import pytest

CLIENT = Path(__file__).resolve().parent.parent.parent / "client"
SAMPLE = CLIENT / "assets" / "sample.webm"
CHROMIUM_NAMES = ("chromium", "chromium-browser", "google-chrome")
CHROMIUM = next((found for name in CHROMIUM_NAMES if (found := shutil.which(name))), None)
SERVER_START_S = 300.0
"""The first start on a machine compiles the renderer's kernels."""
ERASE_S = 30.0
SETTINGS = """
session:
  limit: 1
  grace_s: 900.0  # longer than any test: what is erased is erased because the page asked for it
fit: {niceness: 0, warm_up: false}
motion:
  outputs: ["vmc://127.0.0.1:9"]  # nobody receives there
  sources: ["livelink://127.0.0.1:47111"]
"""
HEADLESS = ("--no-sandbox", "--disable-gpu", "--mute-audio", "--force-device-scale-factor=1")
FAKE_CAMERA = ("--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream")


@pytest.fixture(scope="module")
def playwright():
    """Playwright, without its own browsers. Its event loop runs until it stops: no other module may see it."""
    if CHROMIUM is None:
        pytest.skip("Chromium is not installed (Debian: apt-get install chromium)")
    sync_api = pytest.importorskip("playwright.sync_api", reason="the Python package playwright is not installed")
    with sync_api.sync_playwright() as running:
        yield running


@pytest.fixture(scope="module")
def webcam_file(tmp_path_factory):
    """The sample clip in the form that Chromium plays as a webcam."""
    path = tmp_path_factory.mktemp("webcam") / "clip.mjpeg"
    with av.open(str(SAMPLE)) as source, av.open(str(path), "w", format="mjpeg") as target:
        stream = target.add_stream("mjpeg", rate=30, options={"qscale": "3"})
        stream.pix_fmt = "yuvj420p"
        stream.width, stream.height = source.streams.video[0].width, source.streams.video[0].height
        for frame in source.decode(video=0):
            target.mux(stream.encode(frame.reformat(format="yuvj420p")))
        target.mux(stream.encode(None))
    return path


def _launch(playwright, *flags):
    return playwright.chromium.launch(executable_path=CHROMIUM, args=[*HEADLESS, *flags])


@pytest.fixture(scope="module")
def browser(playwright, webcam_file):
    """Chromium with a camera that shows the sample clip and is allowed."""
    running = _launch(playwright, *FAKE_CAMERA, f"--use-file-for-fake-video-capture={webcam_file}")
    yield running
    running.close()


@pytest.fixture
def refusing_browser(playwright):
    """Chromium with a camera that may not be used."""
    running = _launch(playwright, FAKE_CAMERA[0], "--deny-permission-prompts")
    yield running
    running.close()


@pytest.fixture
def cameraless_browser(playwright):
    """Chromium on a machine without a camera."""
    running = _launch(playwright, FAKE_CAMERA[1])
    yield running
    running.close()


class Server:
    """`fitme serve` in a process of its own, with room for one session."""

    def __init__(self, folder):
        settings = folder / "settings.yaml"
        settings.write_text(SETTINGS)
        self.store = folder / "sessions"
        self.log = folder / "server.log"
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        self.address = f"http://localhost:{port}/"
        self._command = [sys.executable, "-m", "stream", "--port", str(port), "--store", str(self.store)]
        self._command += ["--config", str(settings)]
        self.start()

    def start(self):
        """Start it, or once more at the same address after `stop`."""
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(self._command, stdout=log, stderr=log, start_new_session=True)

    def wait(self):
        """Until it is healthy."""
        end = time.monotonic() + SERVER_START_S
        while time.monotonic() < end:
            if self.process.poll() is not None:
                break
            with contextlib.suppress(urllib.error.URLError, ConnectionError):
                urllib.request.urlopen(self.address + "healthz", timeout=5).close()
                return
            time.sleep(0.25)
        raise RuntimeError(f"the server did not start:\n{self.log.read_text()}")

    def sessions(self):
        """Number of sessions that hold a place."""
        with urllib.request.urlopen(self.address + "healthz", timeout=10) as answer:
            return json.load(answer)["sessions"]

    def session_files(self):
        """Files of all sessions, those that nobody uses included."""
        # Unlike rglob, os.walk passes over folders that are being erased.
        found = (Path(folder) / name for folder, _, names in os.walk(self.store) for name in names)
        return [path for path in found if path.parent != self.store]

    def is_empty(self):
        """Whether nobody's session is there, once what is being erased has been: a round of the fit may end first."""
        end = time.monotonic() + ERASE_S
        while not self.sessions() and self.session_files() and time.monotonic() < end:
            time.sleep(0.1)
        return not self.sessions() and not self.session_files()

    def stop(self):
        """End it with all of its processes."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGTERM)
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()


@pytest.fixture(scope="session")
def servers():
    """The servers of all tests, of which the last one runs."""
    running = []
    yield running
    for one in running:
        one.stop()


@pytest.fixture
def server(servers, tmp_path_factory):
    """A server without any session: the last test's, or a new one if that test failed and left something there."""
    if servers and not servers[-1].is_empty():
        servers.pop().stop()
    if not servers:
        servers.append(Server(tmp_path_factory.mktemp("server")))
        servers[-1].wait()
    return servers[-1]


WITHOUT_WEBGL2 = """
    const getContext = HTMLCanvasElement.prototype.getContext;
    HTMLCanvasElement.prototype.getContext = function (kind, ...rest) {
        return kind === "webgl2" ? null : getContext.call(this, kind, ...rest);
    };
"""


class OpenPage:
    """A page with what it complained about."""

    def __init__(self, browser, address, draws, **context):
        self.context = browser.new_context(viewport={"width": 1280, "height": 720}, **context)
        if not draws:
            self.context.add_init_script(WITHOUT_WEBGL2)
        self.page = self.context.new_page()
        self.complaints = []
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("console", self._listen)
        self.page.goto(address)

    def _listen(self, message):
        # The browser logs statuses that the page puts into words, and advice on the tests' own reading of pixels.
        advice = message.text.startswith(("Failed to load resource", "Canvas2D:", "[.WebGL-"))
        if message.type in ("error", "warning") and not advice:
            self.complaints.append(message.text)


@pytest.fixture
def open_page(server, tmp_path):
    """Opens pages in fresh contexts; takes a screenshot of each at the end.

    Without a graphics processor, a page that draws leaves nothing of two cores to the server: only tests of drawing do.
    """
    opened = []

    def open_one(browser, *, draws=False, **context):
        opened.append(OpenPage(browser, server.address, draws, **context))
        return opened[-1]

    yield open_one
    for index, one in enumerate(opened):
        one.page.screenshot(path=tmp_path / f"page_{index}.png")
        one.context.close()
