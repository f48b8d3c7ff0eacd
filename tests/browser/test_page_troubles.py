"""What browsers and cameras refuse: the page has words for it, and a way back. No engine: the server only hands out the
page."""

import functools
import http.server
import json
import threading

import pytest

from stream.protocol.protocol import PROTOCOL_VERSION

from .conftest import CLIENT, OpenPage

pytestmark = [pytest.mark.browser, pytest.mark.timeout(120)]

SECOND = 1000.0
"""Playwright's milliseconds."""
ANSWER_S = 30.0
CONFIG = {
    "protocol": PROTOCOL_VERSION,
    "iceServers": [],
    "limits": {"sessions": 1, "message_bytes": 65_536, "render_size": 512, "grace_seconds": 60.0, "kept_days": 30},
    "sample": "assets/sample.webm",
    "key_needed": False,
}


class _Handler(http.server.SimpleHTTPRequestHandler):
    def do_GET(self) -> None:
        if self.path == "/config":
            self._answer(200, CONFIG)
        else:
            super().do_GET()

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self._answer(503, {"error": {"code": "engine_gone", "message": "in a moment"}})

    def _answer(self, status: int, content: dict) -> None:
        body = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Keep the tests' output short."""


@pytest.fixture(scope="module")
def address():
    with http.server.ThreadingHTTPServer(
        ("127.0.0.1", 0), functools.partial(_Handler, directory=str(CLIENT))
    ) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://localhost:{server.server_address[1]}/"
        server.shutdown()


@pytest.fixture
def page_with(browser, address, tmp_path):
    opened = []

    def open_one(script=""):
        opened.append(OpenPage(browser, "about:blank", draws=False))
        page = opened[-1].page
        page.add_init_script(script)
        page.goto(address)
        return page

    yield open_one
    for index, one in enumerate(opened):
        one.page.screenshot(path=tmp_path / f"page_{index}.png")
        one.context.close()


def _text(page, selector, words):
    page.wait_for_function(
        "([selector, words]) => document.querySelector(selector).textContent.includes(words)",
        arg=[selector, words],
        timeout=ANSWER_S * SECOND,
    )


def _start(page):
    page.check("#agree")
    page.click("#start-camera")


def test_renders_are_drawn_in_step_with_the_page(page_with):
    """Desynchronized canvases flicker, or stay black, on Windows."""
    attributes = "document.querySelector('#avatar').getContext('2d').getContextAttributes()"
    assert page_with().evaluate(attributes)["desynchronized"] is False


def test_without_webrtc_the_start_has_words(page_with):
    page = page_with("delete window.RTCPeerConnection;")
    _text(page, "#welcome-hint", "has no WebRTC")
    page.check("#agree")
    assert page.is_disabled("#start-camera")
    assert page.is_disabled("#start-sample")


BLOCKED_STORAGE = """for (const name of ["localStorage", "sessionStorage"]) {
    Object.defineProperty(window, name, { get() { throw new DOMException("denied", "SecurityError"); } });
}"""


def test_with_blocked_storage_the_page_starts(page_with):
    page = page_with(BLOCKED_STORAGE)
    _start(page)
    _text(page, "#notice-title", "The server is restarting")
    page.click("#notice-actions >> text=Leave")
    page.wait_for_selector("#welcome:visible")
    assert not page.is_visible("#resume-choice")


@pytest.mark.parametrize("start", ["camera", "sample"])
def test_an_unexpected_error_while_connecting_has_words_and_a_way_back(page_with, start):
    page = page_with("RTCPeerConnection.prototype.createOffer = () => { throw new TypeError('it broke'); };")
    page.check("#agree")
    page.click(f"#start-{start}")
    _text(page, "#notice-title", "Something went wrong")
    _text(page, "#notice-words", "it broke")
    page.click("#notice-actions >> text=Back")
    page.wait_for_selector("#welcome:visible")
    assert page.is_enabled("#start-camera")


CAMERAS = """() => {
    // Like many phones: one camera at a time, and the camera "broken" does not open.
    window.log = [];
    let held = null;
    navigator.mediaDevices.getUserMedia = async ({ video }) => {
        const id = video.deviceId?.exact ?? "front";
        if (held) { log.push(`busy ${id}`); throw new DOMException("busy", "NotReadableError"); }
        if (id === "broken" || window.refused) {
            log.push(`failed ${id}`);
            throw new DOMException("no", window.refused ? "NotAllowedError" : "NotReadableError");
        }
        log.push(`open ${id}`);
        const canvas = document.createElement("canvas");
        Object.assign(canvas, { width: 64, height: 48 });
        const context = canvas.getContext("2d");
        window.paint = (color) => { context.fillStyle = color; context.fillRect(0, 0, 64, 48); };
        const timer = setInterval(() => paint(window.color ?? "#888"), 50);
        const [track] = canvas.captureStream(20).getVideoTracks();
        held = track;
        const stop = track.stop.bind(track);
        track.stop = () => { log.push(`stop ${id}`); clearInterval(timer); if (held === track) held = null; stop(); };
        track.getSettings = () => ({ deviceId: id, width: 64, height: 48 });
        window.lose = () => { held = null; track.dispatchEvent(new Event("ended")); };
        window.track = track;
        return new MediaStream([track]);
    };
}"""
INPUT = """async () => {
    const { VideoInput } = await import("/camera/video_input.js");
    const { openCamera } = await import("/camera/capture.js");
    window.stopped = []; window.pictures = []; window.replaced = 0;
    window.input = new VideoInput({
        onReplaced: async () => { replaced += 1; },
        onStopped: (permitted) => stopped.push(permitted),
        onPicture: (text) => pictures.push(text),
    });
    input.adopt(await openCamera());
}"""


@pytest.fixture
def cameras(page_with):
    page = page_with()
    page.evaluate(CAMERAS)
    page.evaluate(INPUT)
    return page


def test_the_old_camera_is_closed_first_and_comes_back_if_the_new_one_fails(cameras):
    cameras.evaluate("input.exchange('back')")
    assert cameras.evaluate("log") == ["open front", "stop front", "open back"]
    assert cameras.evaluate("input.device") == "back"
    failed = cameras.evaluate("log.length = 0; input.exchange('broken').catch((error) => error.title)")
    assert failed == "The camera is in use"
    assert cameras.evaluate("log") == ["stop back", "failed broken", "open back"]
    assert cameras.evaluate("[replaced, stopped.length]") == [2, 0]


def test_a_camera_that_is_closed_while_another_opens_stays_closed(cameras):
    cameras.evaluate("{ const done = input.exchange('back'); input.close(); done; }")
    assert cameras.evaluate("log").count("stop back") == 1
    assert cameras.evaluate("[replaced, input.source]") == [0, None]


def test_a_camera_that_ends_comes_back_with_its_device(cameras):
    cameras.evaluate("lose()")
    cameras.wait_for_function("stopped.length === 1")
    assert cameras.evaluate("stopped") == [True]
    cameras.evaluate("input.recover(['back'])")
    assert cameras.evaluate("replaced") == 0
    cameras.evaluate("input.recover(['back', 'front'])")
    assert cameras.evaluate("replaced") == 1


def test_a_permission_that_is_taken_back_is_told_apart(cameras):
    cameras.evaluate("""navigator.permissions.query = async () => ({ state: "denied" });
        window.refused = true; lose();""")
    cameras.wait_for_function("stopped.length === 1")
    assert cameras.evaluate("stopped") == [False]
    assert cameras.evaluate("input.exchange('front').catch((error) => error.title)") == "The camera was refused"
    cameras.evaluate("window.refused = false; input.exchange('front')")
    assert cameras.evaluate("replaced") == 1


def test_shutters_and_switches_have_words(cameras):
    cameras.evaluate("window.color = '#050505'")
    cameras.wait_for_function("pictures.at(-1).includes('black')", timeout=ANSWER_S * SECOND)
    cameras.evaluate("window.color = '#888'")
    cameras.wait_for_function("pictures.at(-1) === ''", timeout=ANSWER_S * SECOND)
    cameras.evaluate("Object.defineProperty(track, 'muted', { value: true, configurable: true })")
    cameras.wait_for_function("pictures.at(-1).includes('sends no picture')", timeout=ANSWER_S * SECOND)
    cameras.evaluate("Object.defineProperty(track, 'muted', { value: false })")
    cameras.wait_for_function("pictures.at(-1) === ''", timeout=ANSWER_S * SECOND)


def test_a_camera_that_is_too_large_sends_smaller_pictures(cameras):
    sent = cameras.evaluate("""(async () => {
        const { Peer } = await import("/server/signalling.js");
        track.getSettings = () => ({ width: 1280, height: 960 });
        const peer = new Peer({ iceServers: [] }, new MediaStream([track]), null, () => undefined);
        const scale = () => peer.sender.getParameters().encodings[0].scaleResolutionDownBy;
        const scales = [];
        for (const pixels of [Infinity, 1280 * 960 / 2, 640 * 480]) {
            await peer.limit(pixels);
            scales.push(scale());
        }
        peer.close();
        return scales;
    })()""")
    assert sent == pytest.approx([1.0, 2.0**0.5, 2.0])


HIDE = """(hidden) => {
    Object.defineProperty(document, "hidden", { value: hidden, configurable: true });
    document.dispatchEvent(new Event("visibilitychange"));
}"""


def test_the_sample_clip_goes_on_when_its_page_is_seen_again(page_with):
    page = page_with()
    page.evaluate("""async () => {
        const play = HTMLMediaElement.prototype.play;
        HTMLMediaElement.prototype.play = function () { window.clip = this; return play.call(this); };
        const { openSample } = await import("/camera/capture.js");
        window.sample = await openSample("/assets/sample.webm");
    }""")
    page.evaluate(HIDE, True)
    page.evaluate("clip.pause()")  # as browsers do
    page.evaluate(HIDE, False)
    page.wait_for_function("!clip.paused", timeout=ANSWER_S * SECOND)
    page.evaluate("sample.close()")
    page.evaluate(HIDE, False)
    assert page.evaluate("clip.paused")


def test_the_connection_check_says_what_fails(page_with, tmp_path):
    page = page_with()
    page.click("#open-check")
    _text(page, "#check-camera", "works")
    _text(page, "#check-server", "works")
    _text(page, "#check-udp", "fails")
    assert "The server is restarting" in page.inner_text("#check-udp")
    _text(page, "#check-turn", "names none")
    page.screenshot(path=tmp_path / "check.png")
    # A TURN server that does not answer, and a server that is gone.
    servers = [{"urls": "turn:127.0.0.1:9", "username": "name", "credential": "secret"}]
    page.route("**/config", lambda route: route.fulfill(json={**CONFIG, "iceServers": servers}))
    page.click("#check-again")
    _text(page, "#check-turn", "does not relay")
    page.route("**/config", lambda route: route.abort())
    page.wait_for_selector("#check-again:enabled")
    page.click("#check-again")
    _text(page, "#check-server", "cannot be reached")
    _text(page, "#check-udp", "Not checked")
    page.wait_for_selector("#check-again:enabled")
    page.click("#close-check")
    assert page.is_visible("#start-sample")
