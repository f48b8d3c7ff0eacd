"""The page of a view link inside another program: the avatar alone before nothing, back by itself after a restart."""

import asyncio
import io
import json
import threading
from contextlib import contextmanager

import numpy as np
import pytest
from PIL import Image

from stream.bench.native_peer import ClipTrack, NativePeer, read_clip

from .conftest import SAMPLE, Server

pytestmark = [pytest.mark.browser, pytest.mark.timeout(300)]

SECOND = 1000.0
ANSWER_S = 60.0
CHECK_PX = 32
SHOWN = """() => [...document.querySelectorAll("button, a, input, select, p, h1, h2, .spinner, .pill, .hint, .notice")]
    .filter((element) => element.checkVisibility({ opacityProperty: true, visibilityProperty: true }))
    .map((element) => element.outerHTML.slice(0, 80))"""


class Owner:
    """A session's owner in a thread of its own: a camera, a session that is kept, a view link."""

    def __init__(self, clip):
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._clip = clip
        self._peer = None

    def _do(self, work):
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(ANSWER_S)

    def begin(self, server):
        self._peer = NativePeer(server.address.rstrip("/"))
        self._do(self._peer.send_camera(ClipTrack(self._clip)))
        self._do(self._peer.request("POST", "/keep", {"keep": True}))
        return json.loads(self._do(self._peer.request("POST", "/links", {})))["path"]

    def until_stored(self):
        """Wait until the server has stored a round: without one, a session ends with its server."""
        self._do(self._peer.watch())
        self._do(self._peer.until(lambda: self._peer.events.get("stored", {}).get("stored", False), ANSWER_S))

    def resume(self):
        """Send the camera to the same session of another server at the same address."""
        before = self._peer
        self._do(before.close())
        self._peer = NativePeer(before.server, before.token)
        self._do(self._peer.send_camera(ClipTrack(self._clip), before.session))

    def end(self):
        self._do(self._peer.delete())
        self._do(self._peer.close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()


@contextmanager
def owner_of(clip):
    owner = Owner(clip)
    yield owner
    owner.end()


def screenshot(page):
    return np.asarray(Image.open(io.BytesIO(page.screenshot(omit_background=True))).convert("RGBA")).astype(np.float32)


def over_checkerboard(rgba):
    """What a program shows that lays the page over a checkerboard."""
    rows, columns = np.indices(rgba.shape[:2]) // CHECK_PX
    board = np.where((rows + columns)[..., None] % 2, 255.0, 150.0).astype(np.float32)
    alpha = rgba[..., 3:] / 255.0
    return board, board * (1.0 - alpha) + rgba[..., :3] * alpha


def live(page):
    page.wait_for_selector("#stage.live", timeout=ANSWER_S * SECOND)


def test_the_avatar_alone_and_back_after_a_restart(playwright, browser, tmp_path_factory, tmp_path):
    folder = tmp_path_factory.mktemp("obs")
    server = Server(folder)
    try:
        server.wait()
        with owner_of(read_clip(SAMPLE)) as owner:
            path = owner.begin(server)
            context = browser.new_context(viewport={"width": 640, "height": 360})
            page = context.new_page()
            page.goto(f"{server.address}{path}?background=transparent")
            live(page)
            page.wait_for_timeout(SECOND)  # the avatar fades in
            rgba = screenshot(page)
            board, seen = over_checkerboard(rgba)
            Image.fromarray(seen.astype(np.uint8)).save(tmp_path / "obs.png")
            # Beside the head the board is seen as it is, inside of it not at all.
            assert rgba[:40, :120, 3].max() == 0.0
            assert np.abs(seen - board)[:40, :120].max() == 0.0
            assert rgba[150:210, 300:340, 3].min() == 255.0
            share = (rgba[..., 3] > 128).mean()
            assert 0.1 < share < 0.6
            assert page.evaluate(SHOWN) == []

            page.goto(f"{server.address}{path}?background=%2300b140")
            live(page)
            page.wait_for_timeout(SECOND)
            assert screenshot(page)[5, 5].tolist() == [0.0, 177.0, 64.0, 255.0]
            assert page.evaluate(SHOWN) == []

            # Another server at the same address: the page waits for the session and shows it again.
            owner.until_stored()
            server.stop()
            page.wait_for_selector("#stage:not(.live)", state="attached", timeout=ANSWER_S * SECOND)
            assert page.evaluate(SHOWN) == []
            server.start()
            server.wait()
            owner.resume()
            live(page)
            assert page.evaluate(SHOWN) == []
            context.close()
    finally:
        server.stop()
