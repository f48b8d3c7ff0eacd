"""Renderer of the page in a headless Chromium: the module `client/renderer/renderer.js` driven from Python.

Needs Playwright's Python package and a Chromium of the system; nothing is served and nothing reached: the browser's
requests are answered from this process.
"""

import base64
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

import fitme
from fitme.arrays import Float32Array, UInt8Array
from fitme.avatar import Avatar
from fitme.bench.viewer.page_data import Tree, avatar_data, light_data, packed, reflections_data
from fitme.errors import InputError
from fitme.geometry import Camera, HeadPose, quaternion_from_axis_angle
from fitme.render.environment.surroundings import Surroundings
from fitme.render.light import Light
from fitme.shape.morphable_model import MorphableModel

if TYPE_CHECKING:
    from playwright.sync_api import Page, Route

CHROMIUM_NAMES = ("chromium", "chromium-browser", "google-chrome")
FLAGS = ("--no-sandbox", "--mute-audio", "--force-device-scale-factor=1", "--use-angle=swiftshader",
         "--enable-unsafe-swiftshader")  # fmt: skip
"""No window; WebGL2 by software."""
_ROOT = Path(fitme.__file__).parent.parent
CLIENT = next(folder for folder in (_ROOT / "stream" / "page", _ROOT / "client") if folder.is_dir())
"""Files of the page: in a wheel they lie in the package that serves them."""
ADDRESS = "http://viewer.invalid/"
_MEDIA_TYPES = {".js": "text/javascript", ".mjs": "text/javascript", ".html": "text/html"}
_HERE = Path(__file__).parent


class RendererPage:
    """One page with one `AvatarRenderer`."""

    def __init__(self, page: "Page") -> None:
        self.page = page
        self.complaints: list[str] = []
        """Errors and warnings of the page."""
        self._data: dict[str, bytes] = {}
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("console", lambda message: self._listen(message.type, message.text))
        page.route("**/*", self._answer)
        page.goto(ADDRESS)
        page.wait_for_function("() => window.harness !== undefined")

    def _listen(self, kind: str, text: str) -> None:
        if kind in ("error", "warning") and "GPU stall due to ReadPixels" not in text:
            self.complaints.append(text)

    def _answer(self, route: "Route") -> None:
        """Answer a request: data by name, the harness at the root, files of the client."""
        path = route.request.url.removeprefix(ADDRESS).partition("?")[0]
        if path in self._data:
            route.fulfill(body=self._data[path], content_type="application/octet-stream")
            return
        folder = _HERE if path in ("", "unpack.mjs") else CLIENT
        file = folder / (path or "harness.html")
        if file.is_file():
            route.fulfill(
                body=file.read_bytes(), content_type=_MEDIA_TYPES.get(file.suffix, "application/octet-stream")
            )
        else:
            route.fulfill(status=404)

    def serve(self, name: str, data: bytes) -> None:
        """Answer the page's requests for a name."""
        self._data[name] = data

    def load(self, tree: Tree) -> None:
        """Give the renderer what a tree has: `parts` and `correctives`, `light`, `camera`, `pose`, `expression`, ..."""
        self.serve("data.bin", packed(tree))
        self.page.evaluate("() => harness.load('data.bin')")

    def set_avatar(self, avatar: Avatar, model: MorphableModel) -> None:
        """Draw this avatar, with the exponents of its regions."""
        self.load(avatar_data(avatar, model))

    def set_view(
        self,
        camera: Camera,
        pose: HeadPose,
        light: Light | Surroundings,
        expression: Float32Array,
        background: Sequence[float] | None,
    ) -> None:
        """Set all that changes from render to render; the canvas has the camera's size.

        :param background: linear; transparent, or with surroundings those, if None.
        """
        import torch

        rotation = quaternion_from_axis_angle(torch.from_numpy(pose.rotation).double())
        self.load(
            {
                "size": [camera.width, camera.height],
                "camera": {
                    "focal": camera.focal_px, "centerX": camera.center_x_px, "centerY": camera.center_y_px,
                    "width": camera.width, "height": camera.height,
                },
                "pose": {"rotation": rotation.tolist(), "translation": pose.translation.tolist()},
                "light": light_data(light if isinstance(light, Light) else light.light),
                "reflections": None if isinstance(light, Light) else reflections_data(light),
                "expression": expression,
                "background": None if background is None else list(background),
            }
        )  # fmt: skip

    def draw(self) -> UInt8Array:
        """Render (H, W, 4) uint8: sRGB and alpha, premultiplied."""
        drawn: Mapping[str, Any] = self.page.evaluate("() => harness.draw()")
        data = np.frombuffer(base64.b64decode(drawn["data"]), np.uint8)
        return data.reshape(drawn["height"], drawn["width"], 4)


@contextmanager
def renderer_page(size_px: int) -> Iterator[RendererPage]:
    """A page in a Chromium of its own.

    :raises InputError: Playwright or Chromium is not installed.
    """
    chromium = next((found for name in CHROMIUM_NAMES if (found := shutil.which(name))), None)
    if chromium is None:
        raise InputError("Chromium is not installed: on Debian, apt-get install chromium")
    try:
        from playwright.sync_api import sync_playwright
    except ImportError as error:
        raise InputError("the Python package playwright is not installed: pip install playwright") from error
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=[*FLAGS])
        try:
            context = browser.new_context(viewport={"width": size_px, "height": size_px})
            yield RendererPage(context.new_page())
        finally:
            browser.close()
