"""Benchmark `viewer`: the page's renderer beside the forward renderer, and its speed in a headless browser.

With the environment variable `FITME_VIEWER_PAIRS` set to a folder, each scene's pair of renders is kept there: the
forward renderer's, the page's, and their difference times `DIFFERENCE_GAIN`.
"""

import os
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from fitme.arrays import UInt8Array
from fitme.bench.rows import BenchmarkRow
from fitme.bench.viewer.page import RendererPage, renderer_page
from fitme.bench.viewer.scenes import (
    BACKGROUND,
    SIZE_PX,
    ViewerScene,
    all_scenes,
    forward_renders,
    scene_avatar,
    scene_camera,
    scene_expression,
    scene_light,
    scene_pose,
)
from fitme.metrics.similarity import image_psnr
from fitme.shape.model_file import load_default_model

PAIRS_VARIABLE = "FITME_VIEWER_PAIRS"
DIFFERENCE_GAIN = 4
MEDIAN_TARGET, WORST_TARGET, COMPUTE_TARGET = ">= 36", ">= 32", "<= 4"
FRAMES = 60
"""Frames of the speed measurement: the head turns, and its expression changes in each."""

_MEASURE = """async (frames) => {
    const { renderer, tree } = harness;
    const gl = renderer.gl;
    const computed = [];
    const frame = (index) => {
        const phase = (2 * Math.PI * index) / frames;
        const [x, y, z, w] = [0, Math.sin(0.25 * Math.sin(phase)), 0, Math.cos(0.25 * Math.sin(phase))];
        renderer.setPose({ rotation: [x, y, z, w], translation: tree.pose.translation });
        renderer.setExpression(tree.expression.map((value) => value * (0.5 + 0.5 * Math.sin(phase))));
        renderer.draw();
        // Reading one pixel waits until the frame is drawn.
        gl.readPixels(0, 0, 1, 1, gl.RGBA, gl.UNSIGNED_BYTE, new Uint8Array(4));
        computed.push(renderer.computeMs);
    };
    for (let index = 0; index < 5; index++) frame(index);
    computed.length = 0;
    const start = performance.now();
    for (let index = 0; index < frames; index++) {
        frame(index);
        await new Promise((resolve) => setTimeout(resolve));
    }
    return { seconds: (performance.now() - start) / 1000, computed };
}"""


def viewer() -> list[BenchmarkRow]:
    """Rows: similarity over all scenes, frames a second and the time of JavaScript a frame.

    :raises InputError: Playwright or Chromium is not installed.
    """
    scenes = all_scenes()
    with renderer_page(SIZE_PX) as page:
        similarities = _similarities(page, scenes)
        # Scenes with one light and its shadow.
        speed = _speed(page, ViewerScene(0, "front", "smile", "key"))
    frames_per_second = FRAMES / float(speed["seconds"])
    return [
        BenchmarkRow(f"page beside forward renderer, median of {len(scenes)}", statistics.median(similarities), "dB",
                     MEDIAN_TARGET),
        BenchmarkRow("page beside forward renderer, worst", min(similarities), "dB", WORST_TARGET),
        BenchmarkRow(f"page, software WebGL, {SIZE_PX}x{SIZE_PX}, one light, shadow", frames_per_second, "frames/s"),
        BenchmarkRow("page, JavaScript of a frame without WebGL, median", statistics.median(speed["computed"]), "ms",
                     COMPUTE_TARGET),
    ]  # fmt: skip


def show_scene(page: RendererPage, scene: ViewerScene, background: tuple[float, float, float] | None) -> UInt8Array:
    """Render (H, W, 4) of a scene whose head the page has already."""
    expression = scene_expression(scene).numpy()
    page.set_view(scene_camera(), scene_pose(scene), scene_light(scene), expression, background)
    return page.draw()


def _similarities(page: RendererPage, scenes: Sequence[ViewerScene]) -> list[float]:
    """PSNR in dB of each scene over the union of both masks."""
    model, shown = load_default_model(), -1
    found = []
    for scene, (image, mask) in zip(scenes, forward_renders(scenes), strict=True):
        if scene.head != shown:
            page.set_avatar(scene_avatar(scene.head), model)
            shown = scene.head
        drawn = show_scene(page, scene, BACKGROUND)[..., :3]
        covered = (mask > 0) | (show_scene(page, scene, None)[..., 3] > 0)
        found.append(image_psnr(drawn, image, covered))
        _keep_pair(scene, image, drawn)
    return found


def _keep_pair(scene: ViewerScene, image: UInt8Array, drawn: UInt8Array) -> None:
    if not (folder := os.environ.get(PAIRS_VARIABLE)):
        return
    Path(folder).mkdir(parents=True, exist_ok=True)
    difference = np.abs(image.astype(int) - drawn) * DIFFERENCE_GAIN
    sheet = np.concatenate([image, drawn, difference.clip(0, 255).astype(np.uint8)], 1)
    cv2.imwrite(str(Path(folder) / f"{scene.name}.png"), cv2.cvtColor(sheet, cv2.COLOR_RGB2BGR))


def _speed(page: RendererPage, scene: ViewerScene) -> Mapping[str, Any]:
    page.set_avatar(scene_avatar(scene.head), load_default_model())
    show_scene(page, scene, BACKGROUND)
    measured: Mapping[str, Any] = page.page.evaluate(_MEASURE, FRAMES)
    return measured
