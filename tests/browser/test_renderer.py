"""The page's renderer in Chromium, with WebGL2 by software, beside the forward renderer."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from fitme.arrays import UInt8Array
from fitme.bench.viewer.page import RendererPage, renderer_page
from fitme.bench.viewer.scenes import (
    BACKGROUND,
    SIZE_PX,
    ViewerScene,
    forward_renders,
    scene_avatar,
    scene_camera,
    scene_expression,
    scene_light,
    scene_pose,
)
from fitme.color import linear_to_bytes
from fitme.export.portrait import avatar_vertices, linear_portrait, portrait_renderer
from fitme.glasses.glasses import Glasses
from fitme.metrics.similarity import image_psnr
from fitme.render.environment.presets import preset_environment
from fitme.render.environment.surroundings import surroundings_of
from fitme.shape.expressions import EXPRESSION_COUNT
from fitme.shape.model_file import load_default_model
from stream.engine.avatar_pieces import AvatarEncoder
from stream.engine.shared_pieces import model_piece, packed_shared, strands_piece
from tests.browser.conftest import CHROMIUM
from tests.glasses.made import made_glasses

pytestmark = [
    pytest.mark.browser,
    pytest.mark.timeout(600),
    pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed (Debian: apt-get install chromium)"),
]
LEAST_PSNR_DB = 32.0
SCENES = (
    ViewerScene(0, "front", "smile", "key"),
    ViewerScene(0, "right", "frown", "rim"),
    ViewerScene(1, "left", "smile", "rim"),
    ViewerScene(1, "front", "frown", "key"),
)


@pytest.fixture(scope="module")
def page() -> Iterator[RendererPage]:
    pytest.importorskip("playwright.sync_api", reason="the Python package playwright is not installed")
    with renderer_page(SIZE_PX) as opened:
        yield opened
        assert opened.complaints == []


def _draw(page: RendererPage, scene: ViewerScene, background=BACKGROUND) -> UInt8Array:
    page.set_avatar(scene_avatar(scene.head), load_default_model())
    page.set_view(scene_camera(), scene_pose(scene), scene_light(scene), scene_expression(scene).numpy(), background)
    return page.draw()


def test_renders_are_the_forward_renderer_s(page: RendererPage) -> None:
    for scene, (image, mask) in zip(SCENES, forward_renders(SCENES), strict=True):
        drawn, alone = _draw(page, scene), _draw(page, scene, None)
        covered = (mask > 0) | (alone[..., 3] > 0)
        assert image_psnr(drawn[..., :3], image, covered) >= LEAST_PSNR_DB, scene.name
        assert (drawn[..., 3] == 255).all()
        # The same coverage, apart from samples along the outline.
        assert np.abs(alone[..., 3].astype(int) - mask).mean() < 1.0, scene.name


_FOLLOW = """async () => {
    const { AvatarStream } = await import("./avatar/avatar_stream.js");
    const { renderer } = harness;
    const bytes = async (name) => (await fetch(name)).arrayBuffer();
    for (const known of renderer.partNames) renderer.removePart(known);
    const errors = [];
    const stream = new AvatarStream(renderer, bytes, () => undefined, (error) => errors.push(String(error)));
    stream.begin({ avatar: "a", model: "model.bin" });
    const all = await bytes("pieces.bin");
    const lengths = new Uint32Array(await bytes("lengths.bin"));
    let at = 0;
    for (const length of lengths) stream.push(all.slice(at, (at += length)));
    await new Promise((resolve) => setTimeout(resolve, 1500));
    await stream.settled;
    return errors;
}"""


@pytest.mark.parametrize("glasses", [None, made_glasses(lens_opacity=0.6)], ids=["bare", "glasses"])
def test_an_avatar_that_has_come_in_pieces_is_drawn(page: RendererPage, glasses: Glasses | None) -> None:
    model, scene = load_default_model(), SCENES[2]
    avatar = replace(scene_avatar(scene.head), glasses=glasses)
    messages = [piece.pack() for piece in AvatarEncoder(model).update(avatar, None).pieces]
    strands = strands_piece()
    page.serve("model.bin", packed_shared(model_piece(model)).message)
    page.serve(strands.digest, strands.message)
    page.serve("pieces.bin", b"".join(messages))
    page.serve("lengths.bin", np.array([len(message) for message in messages], np.uint32).tobytes())
    page.set_avatar(avatar, model)
    page.set_view(scene_camera(), scene_pose(scene), scene_light(scene), scene_expression(scene).numpy(), BACKGROUND)
    assert page.page.evaluate(_FOLLOW) == []
    names = ["head", "leftLashes", "rightLashes", "hair", *(["glasses", "lenses"] if glasses else [])]
    assert page.page.evaluate("() => harness.renderer.partNames") == names
    renderer = portrait_renderer(avatar, model, SIZE_PX)
    expression = scene_expression(scene)
    renderer.set_maps(avatar.maps_with(expression))
    with torch.no_grad():
        vertices = model.vertices(avatar.identity[None], expression[None])[0].numpy()
    lit = scene_light(scene)
    image, mask = renderer.render_with_mask(vertices, scene_pose(scene), scene_camera(), lit, BACKGROUND)
    renderer.close()
    assert image_psnr(page.draw()[..., :3], image, mask > 0) >= LEAST_PSNR_DB


def test_surroundings_are_mirrored_as_by_the_forward_renderer(page: RendererPage) -> None:
    model, avatar = load_default_model(), scene_avatar(1)
    surroundings, pose = surroundings_of(preset_environment("sunset"), 0.6), scene_pose(SCENES[3])
    page.set_avatar(avatar, model)
    page.set_view(scene_camera(), pose, surroundings, np.zeros(EXPRESSION_COUNT, np.float32), None)
    drawn = page.draw()[..., :3]
    renderer = portrait_renderer(avatar, model, SIZE_PX)
    renderer.set_maps(avatar.maps_with(torch.zeros(EXPRESSION_COUNT)))
    image = linear_portrait(renderer, avatar_vertices(avatar, model, {}), pose, scene_camera(), surroundings)
    renderer.set_reflections(None)
    everywhere = np.ones((SIZE_PX, SIZE_PX), bool)
    assert image_psnr(drawn, linear_to_bytes(image), everywhere) >= LEAST_PSNR_DB
    # What is mirrored matters: the harmonics alone give another image.
    page.page.evaluate("() => harness.renderer.setEnvironment(null)")
    assert np.abs(page.draw()[..., :3].astype(int) - drawn).max() > 10


def test_a_shadow_falls_where_a_light_is_blocked(page: RendererPage) -> None:
    scene = ViewerScene(0, "front", "smile", "key")
    lit = _draw(page, scene)
    page.page.evaluate("() => harness.renderer.setPart({ ...harness.tree.parts[0], castsShadow: false })")
    page.page.evaluate("() => harness.renderer.setCorrectives('head', harness.tree.correctives)")
    unblocked = page.draw()
    darker = unblocked[..., :3].astype(int).sum(-1) - lit[..., :3].astype(int).sum(-1)
    assert darker.min() >= -6, "nothing is brighter in the shadow"
    assert (darker > 60).sum() > 1000, "nose and chin cast shadows"


def test_correctives_follow_the_expression(page: RendererPage) -> None:
    scene = ViewerScene(0, "front", "smile", "key")
    creased = _draw(page, scene)
    page.page.evaluate("() => harness.renderer.setCorrectives('head', null)")
    smooth = page.draw()
    assert (np.abs(creased.astype(int) - smooth).sum(-1) > 6).sum() > 1000


def test_nothing_is_drawn_twice(page: RendererPage) -> None:
    _draw(page, SCENES[0])
    assert page.page.evaluate("() => harness.renderer.draw()") is False
    assert page.page.evaluate("() => { harness.renderer.setPose(harness.tree.pose); return harness.renderer.draw(); }")


def test_a_lost_context_is_made_up_for(page: RendererPage) -> None:
    before = _draw(page, SCENES[3])
    told = page.page.evaluate("""async () => {
        const { renderer } = harness;
        const extension = renderer.gl.getExtension("WEBGL_lose_context");
        const told = [];
        const until = (event, word) =>
            new Promise((resolve) => { renderer[event] = () => { told.push(word); resolve(); }; });
        const lost = until("onLost", "lost");
        const restored = until("onRestored", "restored");
        extension.loseContext();
        await lost;
        told.push(renderer.draw());
        await new Promise((resolve) => setTimeout(resolve));
        extension.restoreContext();
        await restored;
        return told;
    }""")
    assert told == ["lost", False, "restored"]
    np.testing.assert_array_equal(page.draw(), before)


def test_textures_come_in_regions_and_as_decoded_images(page: RendererPage) -> None:
    whole = _draw(page, SCENES[0])
    page.page.evaluate("""async () => {
        const { width, height, data } = harness.tree.parts[0].textures.diffuse;
        const { renderer } = harness;
        renderer.setTexture("head", "diffuse", { width, height, data: new Uint8Array(data.length) });
        renderer.draw();
        const half = height / 2;
        for (const y of [0, half]) {
            const image = new ImageData(width, half);
            for (let texel = 0; texel < width * half; texel++) {
                image.data.set(data.subarray(3 * (texel + y * width), 3 * (texel + y * width) + 3), 4 * texel);
                image.data[4 * texel + 3] = 255;
            }
            const bitmap = await createImageBitmap(image, { premultiplyAlpha: "none", colorSpaceConversion: "none" });
            renderer.setTextureRegion("head", "diffuse", 0, y, bitmap);
        }
    }""")
    np.testing.assert_array_equal(page.draw(), whole)


def test_the_canvas_may_have_another_size(page: RendererPage) -> None:
    square = _draw(page, SCENES[0])
    page.page.evaluate("() => { canvas.width = 700; }")
    wide = page.draw()
    assert wide.shape == (SIZE_PX, 700, 4)
    np.testing.assert_allclose(wide[:, 94 : 94 + SIZE_PX].astype(int), square, atol=2)


@dataclass(frozen=True)
class Refusal:
    call: str
    words: str


@pytest.mark.parametrize(
    "refusal",
    [
        Refusal("setPart({ ...harness.tree.parts[0], material: 'wool' })", "no material wool"),
        Refusal("setExpression(new Float32Array(51))", "52 weights, not 51"),
        Refusal("setTexture('head', 'colour', { width: 1, height: 1, data: new Uint8Array(3) })", "no texture colour"),
        Refusal("setTexture('head', 'diffuse', { width: 2, height: 1, data: new Uint8Array(3) })", "3 bytes"),
        Refusal("setTextureRegion('head', 'diffuse', 250, 0, new ImageData(9, 1))", "outside"),
        Refusal("setPositions('head', new Float32Array(9))", "not 3"),
        Refusal("setPositions('nose', new Float32Array(9))", "no part nose"),
        Refusal("setLight({ sh: new Float32Array(27), directions: Array(5), colors: Array(5) })", "at most 4"),
    ],
    ids=lambda refusal: refusal.words,
)
def test_wrong_data_are_refused_in_words(page: RendererPage, refusal: Refusal) -> None:
    _draw(page, SCENES[0])
    call = f"harness.renderer.{refusal.call}"
    words = page.page.evaluate(f"() => {{ try {{ {call}; return ''; }} catch (error) {{ return error.message; }} }}")
    assert refusal.words in words


def test_a_browser_without_webgl2_is_told_by_type(page: RendererPage) -> None:
    found = page.page.evaluate("""async () => {
        const { AvatarRenderer, WebGL2Missing } = await import("./renderer/renderer.js");
        const canvas = document.createElement("canvas");
        canvas.getContext = () => null;
        try { new AvatarRenderer(canvas); return null; }
        catch (error) { return [error instanceof WebGL2Missing, error.code]; }
    }""")
    assert found == [True, "no_webgl2"]


_SURROUNDINGS = """async ([preset, bytes]) => {
    const { SurroundingsLight } = await import("./renderer/environment/surroundings.js");
    let changed;
    const change = new Promise((resolve) => { changed = resolve; });
    const surroundings = new SurroundingsLight(() => changed());
    const scene = { preset, ambient: 1, direction: [0, 0, 1], color: [1, 1, 1], intensity: 0, turn: 0.6,
        yaw: 0, pitch: 0, distance: 0.6, mode: "mirror", background: [0, 0, 0] };
    try {
        if (bytes) await surroundings.open(new Blob([Uint8Array.from(bytes)]));
        else surroundings.apply(harness.renderer, scene, null);
        await change;
        surroundings.apply(harness.renderer, scene, null);
        return null;
    } catch (error) {
        return [error.code, error.title, error.message];
    } finally {
        surroundings.close();
    }
}"""


def test_a_preset_of_the_scene_is_made_by_the_worker(page: RendererPage) -> None:
    page.set_avatar(scene_avatar(1), load_default_model())
    pose, neutral = scene_pose(SCENES[3]), np.zeros(EXPRESSION_COUNT, np.float32)
    page.set_view(scene_camera(), pose, surroundings_of(preset_environment("sunset"), 0.6), neutral, None)
    expected = page.draw()
    page.set_view(scene_camera(), pose, scene_light(SCENES[3]), neutral, BACKGROUND)
    assert page.page.evaluate(_SURROUNDINGS, ["panorama-sunset", None]) is None
    np.testing.assert_allclose(page.draw().astype(int), expected, atol=2)


def test_a_dropped_panorama_lights_the_avatar(page: RendererPage, tmp_path: Path) -> None:
    page.set_avatar(scene_avatar(1), load_default_model())
    light, neutral = scene_light(SCENES[3]), np.zeros(EXPRESSION_COUNT, np.float32)
    page.set_view(scene_camera(), scene_pose(SCENES[3]), light, neutral, BACKGROUND)
    for name in ("room.hdr", "room.png"):
        panorama = np.full((64, 128, 3), 60, np.uint8)
        panorama[:, :, 1] = 200
        image = panorama if name.endswith("png") else panorama.astype(np.float32) / 50.0
        cv2.imwrite(str(tmp_path / name), image)
        bytes_ = list((tmp_path / name).read_bytes())
        assert page.page.evaluate(_SURROUNDINGS, ["studio", bytes_]) is None
        middle = page.draw()[200:280, 230:280, :3].astype(int).mean((0, 1))
        assert middle[1] > 1.4 * middle[2], f"green light of {name}"


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"These are words, and no picture at all, whatever they say.", "no_image"),
        (b"#?RADIANCE\nFORMAT=32-bit_rle_rgbe\n\n-Y 10000 +X 20000\n", "too_large"),
        (b"#?RADIANCE\nFORMAT=32-bit_rle_rgbe\n\n-Y 64 +X 128\n\x02\x02", "no_image"),
        (b"#?RADIANCE\nFORMAT=32-bit_rle_rgbe\n\n-Y 100 +X 100\n", "no_panorama"),
        (b"", "no_image"),
    ],
)
def test_what_is_no_panorama_gets_clear_words(page: RendererPage, data: bytes, code: str) -> None:
    found = page.page.evaluate(_SURROUNDINGS, ["studio", list(data)])
    assert found[0] == code
    assert len(found[1]) > 10 and len(found[2]) > 20
