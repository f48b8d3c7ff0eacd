"""The page in Chromium against the real server: from consent to a GLB, and what goes wrong on the way."""

import io
import json
import struct
import time
import urllib.error
import urllib.request

import numpy as np
import pytest
from PIL import Image

from fitme.shape.expressions import EXPRESSION_NAMES

pytestmark = [pytest.mark.browser, pytest.mark.timeout(600)]

SECOND = 1000.0
"""Playwright's milliseconds."""
FIRST_RENDER_S = 60.0
ANSWER_S = 60.0
"""For what the page shows once the server has answered."""
FIT_S = 150.0
"""Generous: what is measured is reported by the benchmark, and CI's machines are slow."""
ERASED_S = 60.0
"""A round of the fit that is under way when its session is deleted has to end first."""

LOSE_CONTEXT = """
    window.lost = document.querySelector("#avatar-drawn").getContext("webgl2").getExtension("WEBGL_lose_context");
    lost.loseContext();
"""
RENDER_IS_SHOWN = "() => document.querySelector('#avatar').getContext('2d').getImageData(256, 256, 1, 1).data[0] > 0"
MARKS = "() => performance.getEntriesByType('mark').map((mark) => [mark.name, mark.startTime / 1000])"


def _text(page, selector, words, seconds):
    page.wait_for_function(
        "([selector, words]) => document.querySelector(selector).textContent.includes(words)",
        arg=[selector, words],
        timeout=seconds * SECOND,
    )


def _balance(page):
    """How much brighter the right half of the avatar is than its left, of both together."""
    box = page.locator("#avatar").bounding_box()
    image = Image.open(io.BytesIO(page.screenshot(clip=box))).convert("L")
    halves = np.array_split(np.asarray(image, float), 2, axis=1)
    left, right = (float(half.sum()) for half in halves)
    return (right - left) / (left + right)


def _start_camera(page):
    page.check("#agree")
    page.click("#start-camera")


def _renders_come(page):
    page.wait_for_selector("#stage.live", timeout=FIRST_RENDER_S * SECOND)


def _leave(page):
    page.click("#leave")
    page.wait_for_selector("#welcome:visible")


def _wait_until(condition, seconds=ERASED_S):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.1)


def _wait_for_no_session(server):
    _wait_until(lambda: server.sessions() == 0)


def _json_of_glb(data):
    magic, version, length = struct.unpack_from("<4sII", data)
    assert (magic, version, length) == (b"glTF", 2, len(data))
    size, kind = struct.unpack_from("<I4s", data, 12)
    assert kind == b"JSON"
    return json.loads(data[20 : 20 + size])


def test_consent_comes_first(browser, server, open_page):
    page = open_page(browser).page
    assert page.is_disabled("#start-camera")
    assert "erased when you leave" in page.inner_text(".consent")
    assert page.evaluate("document.documentElement.scrollHeight <= innerHeight"), "the start fits 1280x720"
    page.focus("#agree")
    page.keyboard.press("Space")
    assert page.is_enabled("#start-camera")
    # Whether all that a session needs is there can be tried before, and begins none.
    page.click("#open-check")
    _text(page, "#check-camera", "works", ANSWER_S)
    _text(page, "#check-udp", "gets through to the server", ANSWER_S)
    _text(page, "#check-turn", "names none", ANSWER_S)
    assert server.sessions() == 0


def test_from_consent_to_a_downloaded_head(browser, server, open_page, tmp_path):
    opened = open_page(browser, accept_downloads=True)
    page = opened.page
    _start_camera(page)
    _text(page, "#face-status", "face found", FIRST_RENDER_S)
    _renders_come(page)
    page.screenshot(path=tmp_path / "first_render.png")
    assert page.evaluate("document.documentElement.scrollHeight <= innerHeight"), "the session fits 1280x720"
    assert page.eval_on_selector(
        "#landmarks", "c => c.getContext('2d').getImageData(0, 0, c.width, c.height).data.some((v) => v)"
    )

    page.wait_for_function("() => document.querySelectorAll('#dial .cell.seen').length > 1", timeout=FIT_S * SECOND)
    _text(page, "#round", "round", FIT_S)
    page.wait_for_selector("#download:enabled", timeout=FIT_S * SECOND)
    page.wait_for_selector("#stages li[aria-current]")

    # Light by dragging: from one side, then the other, seen in the renders themselves.
    page.select_option("#light-preset", "dark")
    page.focus("#light-handle")
    box = page.locator("#light-ball").bounding_box()
    middle = box["y"] + box["height"] / 2
    balance = _balance(page)
    for share, sign in ((0.12, -1.0), (0.88, 1.0)):
        page.mouse.move(box["x"] + box["width"] / 2, middle)
        page.mouse.down()
        page.mouse.move(box["x"] + share * box["width"], middle, steps=4)
        page.mouse.up()
        before = balance
        _wait_until(lambda sign=sign, before=before: sign * (_balance(page) - before) > 0.05, ANSWER_S)
        balance = _balance(page)
    assert "right" in page.get_attribute("#light-handle", "aria-valuetext")

    # View by keys: the server takes it, and nothing is refused.
    page.focus("#avatar")
    for _ in range(4):
        page.keyboard.press("Shift+ArrowLeft")
    page.check("input[value='turntable']", force=True)
    page.wait_for_timeout(0.5 * SECOND)

    with page.expect_download(timeout=FIT_S * SECOND) as waiting:
        page.click("#download")
    path = tmp_path / "avatar.glb"
    waiting.value.save_as(path)
    content = _json_of_glb(path.read_bytes())
    names = [name for mesh in content["meshes"] for name in mesh.get("extras", {}).get("targetNames", [])]
    assert set(EXPRESSION_NAMES) <= set(names)
    page.screenshot(path=tmp_path / "session.png")
    marks = dict(page.evaluate(MARKS))
    print("seconds after consent:", {k: round(v - marks["fitme:consent"], 2) for k, v in marks.items()})
    print(page.inner_text("#figures"))

    page.click("#delete")
    page.click("#notice-actions >> text=Erase")
    _text(page, "#notice-title", "Everything is erased", ERASED_S)
    _wait_for_no_session(server)
    assert not server.session_files(), "nothing of the session is left on disk"
    assert opened.complaints == []


def _watch_sockets(page, sockets, on_message=lambda message: None):
    """Route the page's websockets through `sockets`, which the test may close."""

    def watch(socket):
        server_side = socket.connect_to_server()

        def forward(message):
            on_message(message)
            socket.send(message)

        server_side.on_message(forward)
        sockets.append(socket)

    page.route_web_socket(lambda url: "/view" in url, watch)


def test_the_page_draws_the_avatar_itself(browser, server, open_page, tmp_path):
    page = open_page(browser, draws=True).page
    sockets, renders = [], []

    def count(message):
        if isinstance(message, bytes) and message.startswith(b"FITM"):
            renders.append(message)

    _watch_sockets(page, sockets, count)
    page.click("#start-sample")
    _renders_come(page)
    _text(page, "#face-status", "face found", FIRST_RENDER_S)
    page.screenshot(path=tmp_path / "drawn.png")
    assert page.is_visible("#stage.drawn")
    assert not renders, "the server draws none for it"

    # The context is lost: the server draws, until it is restored.
    page.evaluate(LOSE_CONTEXT)
    page.wait_for_selector("#stage:not(.drawn)", timeout=ANSWER_S * SECOND)
    page.wait_for_function(RENDER_IS_SHOWN, timeout=FIRST_RENDER_S * SECOND)
    page.evaluate("lost.restoreContext()")
    page.wait_for_selector("#stage.drawn", timeout=ANSWER_S * SECOND)

    # The connection drops: what the page has of the avatar is not sent again.
    page.evaluate("document.querySelector('#stage').classList.remove('live')")
    sockets[-1].close(code=1012)
    _renders_come(page)
    assert "have=" in sockets[-1].url
    _leave(page)
    _wait_for_no_session(server)


KEEP_PEERS = """() => {
    window.peers = [];
    const Real = RTCPeerConnection;
    window.RTCPeerConnection = class extends Real {
        constructor(...options) {
            super(...options);
            peers.push(this);
        }
    };
}"""
LOSE_PEER = """() => {
    Object.defineProperty(peers[0], "connectionState", { value: "failed" });
    peers[0].dispatchEvent(new Event("connectionstatechange"));
}"""


def test_sample_clip_full_server_and_lost_connection(browser, server, open_page):
    sockets = []
    first = open_page(browser).page
    first.evaluate(KEEP_PEERS)
    _watch_sockets(first, sockets)
    first.click("#start-sample")
    _renders_come(first)
    _text(first, "#face-status", "face found", FIRST_RENDER_S)
    assert first.input_value("#camera-picker") == "sample"

    second = open_page(browser).page
    _start_camera(second)
    _text(second, "#notice-title", "The server is full", ANSWER_S)
    _text(second, "#notice-words", "Trying again in", ANSWER_S)

    # The connection drops: the page comes back to the same session by itself.
    first.evaluate("document.querySelector('#stage').classList.remove('live')")
    sockets[-1].close(code=1012)
    _renders_come(first)
    _text(first, "#connection", "Live", ANSWER_S)
    assert len(sockets) == 2
    assert sockets[0].url.split("?")[0] == sockets[1].url.split("?")[0]

    # The network changes: ICE fails, and a new connection for video joins the same session.
    first.evaluate(LOSE_PEER)
    first.wait_for_function("() => peers.length === 2", timeout=ANSWER_S * SECOND)
    first.wait_for_function("() => peers[1].connectionState === 'connected'", timeout=ANSWER_S * SECOND)
    _text(first, "#connection", "Live", ANSWER_S)
    assert server.sessions() == 1

    # A place is free once the first page leaves.
    _leave(first)
    _wait_for_no_session(server)
    second.click("#notice-actions >> text=Try now")
    _renders_come(second)
    _leave(second)
    _wait_for_no_session(server)


def test_a_page_without_webgl_shows_renders_and_goes_on_with_its_session_when_reloaded(browser, server, open_page):
    page = open_page(browser).page
    _start_camera(page)
    _text(page, "#toast", "no WebGL2", FIRST_RENDER_S)
    _renders_come(page)
    assert not page.is_visible("#stage.drawn")
    session = page.evaluate("sessionStorage.getItem('fitme.tab-session')")
    page.click("#keep")
    _text(page, "#kept", "kept on the server", FIT_S)
    page.reload()
    assert page.is_visible("#resume-choice")
    # Leaving before the server has answered keeps what was kept.
    page.route("**/offer", lambda route: None)
    _start_camera(page)
    _leave(page)
    page.unroute("**/offer")
    page.click("#start-camera")
    _renders_come(page)
    assert page.evaluate("sessionStorage.getItem('fitme.tab-session')") == session
    page.click("#delete")
    page.click("#notice-actions >> text=Erase")
    _text(page, "#notice-title", "Everything is erased", ERASED_S)
    _wait_for_no_session(server)
    with pytest.raises(urllib.error.HTTPError) as gone:
        urllib.request.urlopen(f"{server.address}session/{session}/avatar.glb", timeout=10)
    assert gone.value.code == 404


def test_refused_camera(refusing_browser, open_page):
    page = open_page(refusing_browser).page
    _start_camera(page)
    _text(page, "#notice-title", "The camera was refused", ANSWER_S)
    assert "allow it" in page.inner_text("#notice-words")


LATE_CAMERA = """() => {
    const devices = navigator.mediaDevices, open = devices.getUserMedia.bind(devices);
    devices.getUserMedia = async (constraints) => {
        await new Promise((resolve) => { window.allow = resolve; });
        window.given = await open(constraints);
        return window.given;
    };
}"""
"""The person answers the browser's question for the camera when `allow` is called."""


def test_a_camera_that_is_allowed_after_leaving_is_stopped(browser, server, open_page):
    page = open_page(browser).page
    offers = []
    page.on("request", lambda request: offers.append(request) if request.url.endswith("/offer") else None)
    page.evaluate(LATE_CAMERA)
    _start_camera(page)
    page.wait_for_function("() => window.allow !== undefined")
    _leave(page)
    page.evaluate("window.allow()")
    page.wait_for_function("() => window.given?.getTracks().every((track) => track.readyState === 'ended')")
    page.wait_for_timeout(1.0 * SECOND)
    assert page.is_visible("#welcome")
    assert offers == []
    assert server.sessions() == 0


def test_a_session_that_begins_after_leaving_is_erased(browser, server, open_page):
    page = open_page(browser).page
    held = []
    page.route("**/offer", lambda route: held.append(route))
    _start_camera(page)
    end = time.monotonic() + ANSWER_S
    while not held:
        assert time.monotonic() < end
        page.wait_for_timeout(0.1 * SECOND)
    _leave(page)
    with page.expect_response("**/offer", timeout=ANSWER_S * SECOND) as answer:
        held[0].continue_()
    session = answer.value.json()["session"]
    _wait_until(lambda: not (server.store / session).exists())
    _wait_for_no_session(server)


def test_no_camera(cameraless_browser, open_page):
    page = open_page(cameraless_browser).page
    _start_camera(page)
    _text(page, "#notice-title", "No camera found", ANSWER_S)
    page.click("#notice-actions >> text=Back")
    assert page.is_visible("#start-sample")


def test_narrow_windows_do_not_scroll_sideways(browser, open_page):
    page = open_page(browser).page
    for width in (360, 820):
        page.set_viewport_size({"width": width, "height": 800})
        for phase in ("welcome", "session"):
            page.evaluate(
                "phase => { for (const name of ['welcome', 'session'])"
                " document.getElementById(name).hidden = name !== phase; }",
                phase,
            )
            assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), (width, phase)
