"""The renderer's modules without a GPU, under Node, against the Python that they follow."""

import importlib
import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from fitme.bench.viewer.page_data import avatar_data, packed
from fitme.bench.viewer.scenes import scene_avatar
from fitme.geometry import Camera, HeadPose, quaternion_from_axis_angle, rotation_matrix
from fitme.parts.drawn_head import drawn_head
from fitme.render.environment.files import read_panorama
from fitme.render.environment.panorama import environment_of
from fitme.render.environment.presets import PRESETS, preset_environment, preset_panorama
from fitme.render.environment.reflections import reflections_of, split_sum_table
from fitme.render.forward.geometry import frame_vertices, tangent_weights
from fitme.render.shadows import shadow_maps
from fitme.shape.expressions import EXPRESSION_COUNT, expression_index
from fitme.shape.model_file import load_default_model
from stream.engine.scene_setup import head_pose, scene_light, virtual_camera
from stream.protocol.protocol import LightPreset, Mode
from stream.protocol.scene import Scene
from tests.browser.test_modules import CLIENT, NODE, _node

pytestmark = pytest.mark.skipif(NODE is None, reason="Node.js is not installed")
RENDERER = CLIENT / "renderer"
UNPACK = Path(importlib.import_module("fitme.bench.viewer.page").__file__ or "").with_name("unpack.mjs")
CONSTANT_MODULES = (
    "fitme.render.reflection", "fitme.render.occlusion", "fitme.render.shadows", "fitme.hair.shading",
    "fitme.hair.compositing", "fitme.glasses.renderer", "fitme.shape.expressions",
    "fitme.reflectance.expression_correctives",
    "fitme.reflectance.maps", "fitme.parts.layers", "stream.engine.avatar_view",
)  # fmt: skip


def _run(script: str):
    """JSON that a script with all of the renderer's modules prints."""
    paths = (
        "correctives", "environment/environment_presets", "environment/panorama", "environment/panorama_files",
        "environment/surroundings", "eyes", "mesh", "projection", "reflection", "reflections", "rotations", "scene",
    )  # fmt: skip
    addresses = {Path(path).name: (RENDERER / f"{path}.js").as_uri() for path in paths}
    imports = [f"import * as {name} from {json.dumps(address)};" for name, address in addresses.items()]
    imports.append(f"import {{ unpacked }} from {json.dumps(UNPACK.as_uri())};")
    imports.append('import { readFileSync } from "node:fs";')
    ran = _node("--input-type=module", "--eval", "\n".join([*imports, script]))
    assert ran.returncode == 0, ran.stderr
    return json.loads(ran.stdout)


@pytest.mark.parametrize(
    ("module", "sources"),
    [
        ("reflection", CONSTANT_MODULES),
        ("panorama", ["fitme.render.environment.panorama"]),
        ("panorama_files", ["fitme.render.environment.files"]),
        ("environment_presets", ["fitme.render.environment.presets"]),
        ("reflections", ["fitme.render.environment.reflections"]),
        ("eyes", ["fitme.parts.eye_surroundings"]),
    ],
)
def test_constants_are_those_of_python(module, sources):
    found = _run(f"console.log(JSON.stringify({module}));")
    known = {}
    for name in sources:
        known |= vars(importlib.import_module(name))
    constants = {name: value for name, value in found.items() if name != "PRESETS"}
    assert constants
    for name, value in constants.items():
        # Arrays are float32 in Python.
        expected = np.asarray(known[name])
        assert np.array_equal(np.asarray(value, expected.dtype), expected), name


@pytest.fixture(scope="module")
def surroundings(tmp_path_factory):
    """What the page makes of a panorama with a sun and of all presets."""
    file = tmp_path_factory.mktemp("panorama") / "data.bin"
    panorama = np.random.default_rng(0).gamma(0.5, 0.4, (256, 512, 3)).astype(np.float32)
    panorama[70:76, 100:106] = (900.0, 700.0, 400.0)
    file.write_bytes(packed({"data": panorama.reshape(-1)}))
    found = _run(f"""
        const bytes = readFileSync({json.dumps(str(file))});
        const {{ data }} = unpacked(bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.byteLength));
        const environment = panorama.environmentOf({{ width: 512, height: 256, data }});
        const light = panorama.environmentLight(environment, 0.7);
        const levels = reflections.reflectionsOf(environment.panorama);
        console.log(JSON.stringify({{
            panorama: [...environment.panorama.data], directions: light.directions, colors: light.colors,
            sh: [...light.sh], levels: levels.slice(2).map((level) => [...level]),
            table: [...reflections.splitSumTable()],
            presets: Object.fromEntries(Object.entries(environment_presets.PRESETS).map(([name, preset]) =>
                [name, [...environment_presets.presetPanorama(preset).data]])),
        }}));
    """)
    return panorama, found


def test_the_page_makes_the_same_light_of_a_panorama(surroundings):
    panorama, found = surroundings
    environment = environment_of(panorama)
    light = environment.light(0.7)
    assert light.directions.shape == (1, 1, 3)
    np.testing.assert_allclose(np.ravel(found["panorama"]), environment.panorama.ravel(), rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(found["directions"], light.directions[0].numpy(), atol=1e-4)
    np.testing.assert_allclose(found["colors"], light.colors[0].numpy(), rtol=1e-3)
    np.testing.assert_allclose(np.reshape(found["sh"], (9, 3)), light.sh[0].numpy(), atol=1e-4)
    expected = reflections_of(environment)
    for index, level in enumerate(found["levels"]):
        np.testing.assert_allclose(level, expected.level(index + 2).ravel(), rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(found["table"], split_sum_table().ravel(), atol=1e-5)


def test_presets_are_the_same_in_the_page(surroundings):
    assert list(surroundings[1]["presets"]) == list(PRESETS)
    for name, data in surroundings[1]["presets"].items():
        np.testing.assert_allclose(data, preset_panorama(PRESETS[name]).ravel(), rtol=1e-4, atol=1e-4, err_msg=name)
        assert preset_environment(name).panorama.shape == (128, 256, 3)


def test_the_page_reads_radiance_files(tmp_path):
    radiance = np.random.default_rng(1).gamma(0.5, 4.0, (32, 64, 3)).astype(np.float32)
    radiance[5:9, 10:50] = 2.0  # runs
    cv2.imwrite(str(tmp_path / "room.hdr"), radiance)
    found = _run(f"""
        const bytes = new Uint8Array(readFileSync({json.dumps(str(tmp_path / "room.hdr"))}));
        const header = panorama_files.radianceSize(bytes);
        const read = panorama_files.decodeRadiance(bytes, header);
        let refused = "";
        try {{ panorama_files.decodeRadiance(bytes.subarray(0, bytes.length / 2), header); }}
        catch (error) {{ refused = error.code; }}
        console.log(JSON.stringify({{ size: header.size, data: [...read.data], refused }}));
    """)
    assert found["size"] == {"width": 64, "height": 32}
    np.testing.assert_allclose(found["data"], read_panorama(tmp_path / "room.hdr").ravel(), rtol=1e-6)
    assert found["refused"] == "no_image"


def test_sizes_are_read_before_an_image_is_decoded(tmp_path):
    files = []
    for name, options in {"a.png": {}, "b.jpg": {}, "c.webp": {}, "d.webp": {"lossless": True}, "e.gif": {},
                          "f.jpg": {"progressive": True}}.items():  # fmt: skip
        Image.new("RGB", (300, 150), (9, 90, 200)).save(tmp_path / name, **options)
        files.append(str(tmp_path / name))
    (tmp_path / "words.txt").write_text("no picture at all, but longer than a header is")
    found = _run(f"""
        const sizes = {json.dumps([*files, str(tmp_path / "words.txt")])}
            .map((file) => panorama_files.imageSize(new Uint8Array(readFileSync(file))));
        const words = (size) => {{
            try {{ panorama_files.checkSize(size); return ""; }}
            catch (error) {{ return [error.code, error.message]; }}
        }};
        console.log(JSON.stringify({{
            sizes, none: words(null), large: words({{ width: 20000, height: 10000 }}),
            photo: words({{ width: 400, height: 300 }}), fine: words({{ width: 8192, height: 4096 }}),
        }}));
    """)
    assert found["sizes"] == [{"width": 300, "height": 150}] * len(files) + [None]
    assert found["none"][0] == "no_image"
    assert found["large"][0] == "too_large" and "200 million" in found["large"][1]
    assert found["photo"][0] == "no_panorama" and "twice as wide" in found["photo"][1]
    assert found["fine"] == ""


@pytest.fixture(scope="module")
def expression():
    """A smile with an open mouth and a look to the side."""
    weights = torch.zeros(EXPRESSION_COUNT)
    for name, value in {"jawOpen": 0.15, "mouthSmileLeft": 0.15, "eyeLookInLeft": 0.5, "eyeLookDownLeft": 0.4,
                        "eyeLookOutRight": 0.5, "eyeBlinkRight": 0.3}.items():  # fmt: skip
        weights[expression_index(name)] = value
    return weights


@pytest.fixture(scope="module")
def morphed(expression, tmp_path_factory):
    """Vertex buffers of a head with that expression, and weights of its correctives."""
    file = tmp_path_factory.mktemp("data") / "data.bin"
    tree = avatar_data(scene_avatar(0), load_default_model())
    file.write_bytes(
        packed({"head": tree["parts"][0], "correctives": tree["correctives"], "weights": expression.numpy()})
    )
    return _run(f"""
        const bytes = readFileSync({json.dumps(str(file))});
        const tree = unpacked(bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.byteLength));
        const part = new mesh.PartMesh(tree.head);
        part.morph(tree.weights);
        const blend = new correctives.CorrectiveBlend(tree.correctives);
        const changes = [blend.update(tree.weights), blend.update(tree.weights)];
        console.log(JSON.stringify({{
            positions: [...part.positions], moving: [...part.moving],
            fixed: [...part.fixed], indices: [...part.indices],
            lining: part.liningCount, changes,
            weights: [...correctives.correctiveWeights(tree.correctives, tree.weights)],
            shares: [...blend.shares],
        }}));
    """)


@pytest.fixture(scope="module")
def posed(expression):
    """Vertices and light of that head with its parts, by the forward renderer's own code."""
    model = load_default_model()
    return drawn_head(model).posed(model.vertices(scene_avatar(0).identity[None], expression[None])[0].numpy())


def test_vertices_are_those_of_the_drawn_head(morphed, posed):
    found = np.reshape(morphed["positions"], (-1, 3))
    # Morph targets have steps of 2 micrometres.
    assert np.abs(found - posed[0]).max() < 1e-5


def test_attributes_of_the_corners_are_the_forward_renderer_s(morphed, posed):
    drawn = drawn_head(load_default_model())
    vertices = np.reshape(morphed["positions"], (-1, 3)).astype(np.float32)
    triangles, corners = drawn.triangles.int().numpy(), drawn.uv_triangles.int().numpy()
    weights = tangent_weights(drawn.uv, drawn.uv_triangles)
    normals, tangents = np.empty_like(vertices), np.zeros((len(drawn.uv), 3), np.float32)
    frame_vertices(vertices, triangles, corners, weights.weights, normals, tangents)
    # Triangles in the page's order: those that cast no shadow first, those of the mouth's lining last.
    lining, shadowless = drawn.mouth.lining, np.flatnonzero(~drawn.casting)
    outer = np.setdiff1d(np.flatnonzero(drawn.casting), lining)
    order = np.concatenate([shadowless, outer, lining])
    assert morphed["lining"] == len(lining)
    index = np.reshape(morphed["indices"], (-1, 3))
    moving, fixed = np.reshape(morphed["moving"], (-1, 10))[index], np.reshape(morphed["fixed"], (-1, 4))[index]
    np.testing.assert_allclose(moving[..., :3], vertices[triangles[order]], atol=1e-7)
    # Slivers have normals that are as uncertain as their vertices.
    for columns, expected in ((slice(3, 6), normals[triangles[order]]), (slice(6, 9), tangents[corners[order]])):
        assert np.quantile(np.abs(moving[..., columns] - expected), 0.995) < 1e-3
    occlusion = drawn.mouth.apply(torch.from_numpy(posed[1]), torch.from_numpy(posed[0])).numpy()
    darkened = (occlusion / posed[1])[drawn.mouth.inside.numpy()]
    assert darkened.min() < 0.5 < 0.8 < darkened.max(), "the mouth is neither closed nor open"
    np.testing.assert_allclose(moving[..., 9], occlusion[triangles[order]], atol=5e-3)
    np.testing.assert_allclose(fixed[..., :2], drawn.uv.numpy()[corners[order]], atol=1e-7)
    np.testing.assert_array_equal(fixed[..., 2], weights.handedness[corners[order]])
    np.testing.assert_array_equal(fixed[..., 3], np.repeat(drawn.shininess.numpy()[order, None], 3, 1))


def test_a_tongue_out_of_the_mouth_is_lit_as_on_the_server(tmp_path):
    model, weights = load_default_model(), torch.zeros(EXPRESSION_COUNT)
    weights[[expression_index("tongueOut"), expression_index("jawOpen")]] = torch.tensor([0.9, 0.02])
    drawn = drawn_head(model)
    vertices, light = drawn.posed(model.vertices(scene_avatar(0).identity[None], weights[None])[0].numpy())
    expected = drawn.mouth.apply(torch.from_numpy(light), torch.from_numpy(vertices)).numpy()
    assert expected[drawn.mouth.inside.numpy()].max() == 1.0
    tree = avatar_data(scene_avatar(0), model)
    (tmp_path / "data.bin").write_bytes(packed({"head": tree["parts"][0], "weights": weights.numpy()}))
    found = _run(f"""
        const bytes = readFileSync({json.dumps(str(tmp_path / "data.bin"))});
        const tree = unpacked(bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.byteLength));
        const part = new mesh.PartMesh(tree.head);
        part.morph(tree.weights);
        const light = [...part.moving].filter((_, index) => index % mesh.MOVING_FLOATS === 9);
        const indices = [...part.indices];
        console.log(JSON.stringify({{ light, indices }}));
    """)
    # The page has its triangles in another order.
    seen, known = np.array(found["light"])[found["indices"]], expected[drawn.triangles.numpy()]
    np.testing.assert_allclose(np.sort(seen), np.sort(known.ravel()), atol=5e-3)


def test_weights_of_correctives(morphed, expression):
    known = scene_avatar(0).correctives
    np.testing.assert_allclose(morphed["weights"], known.weights(expression).numpy(), atol=1e-4)
    scales = known.deltas.float().abs().amax((1, 2, 3))
    np.testing.assert_allclose(
        morphed["shares"], (known.weights(expression) @ known.mixing * scales).numpy(), atol=1e-4
    )
    assert morphed["changes"] == [True, False], "equal weights are not blended again"


@pytest.mark.parametrize("mode", list(Mode))
@pytest.mark.parametrize("preset", list(LightPreset))
def test_scenes_are_set_up_as_on_the_server(preset, mode):
    scene = Scene(
        preset=preset, ambient=0.8, color=(1.0, 0.6, 0.3), intensity=1.4, turn=0.5, yaw=0.4, pitch=-0.3, mode=mode
    )
    tracked = HeadPose(np.array([0.2, -0.5, 0.1], np.float32), np.array([0.05, 0.02, -0.7], np.float32))
    fitted = np.linspace(0.1, 0.5, 27, dtype=np.float32).reshape(9, 3)
    given = {
        "scene": {**vars(scene), "preset": preset.value, "mode": mode.value},
        "tracked": {
            "rotation": quaternion_from_axis_angle(torch.from_numpy(tracked.rotation)).tolist(),
            "translation": tracked.translation.tolist(),
        },
        "sh": fitted.reshape(-1).tolist(),
    }
    found = _run(f"""
        const given = {json.dumps(given)};
        const pose = scene.headPose(given.scene, given.tracked, 1.7);
        const name = surroundings.panoramaOf(given.scene.preset);
        const environment = name && environment_presets.presetEnvironment(name);
        const around = name && panorama.environmentLight(environment, given.scene.turn);
        const light = scene.sceneLight(given.scene, Float32Array.from(given.sh), around);
        console.log(JSON.stringify({{
            matrix: rotations.matrixOfQuaternion(pose.rotation), translation: pose.translation,
            camera: scene.virtualCamera(256), sh: [...light.sh], directions: light.directions, colors: light.colors,
        }}));
    """)
    pose, light, camera = head_pose(scene, tracked, 1.7), scene_light(scene, fitted), virtual_camera(256)
    matrix = rotation_matrix(torch.from_numpy(pose.rotation).double()).numpy()
    np.testing.assert_allclose(np.reshape(found["matrix"], (3, 3)), matrix, atol=1e-5)
    np.testing.assert_allclose(found["translation"], pose.translation, atol=1e-6)
    np.testing.assert_allclose(np.reshape(found["sh"], (9, 3)), light.sh[0].numpy(), atol=1e-4)
    np.testing.assert_allclose(np.reshape(found["directions"], (-1, 3)), light.directions[0].numpy(), atol=1e-4)
    np.testing.assert_allclose(np.reshape(found["colors"], (-1, 3)), light.colors[0].numpy(), rtol=1e-3, atol=1e-6)
    names = ("focal", "centerX", "centerY", "width", "height")
    assert tuple(found["camera"][name] for name in names) == pytest.approx(tuple(vars(camera).values())[: len(names)])


def test_projection_and_shadow_map():
    camera = Camera(310.0, 120.0, 130.0, 256, 200)
    points = np.array([[0.05, -0.08, -0.6], [-0.07, 0.1, -0.75], [0.0, 0.02, -0.5]], np.float32)
    direction = [0.48, 0.6, 0.64]
    found = _run(f"""
        const points = Float32Array.from({json.dumps(points.reshape(-1).tolist())});
        const sphere = projection.boundingSphere([points], rotations.IDENTITY, [0, 0, 0]);
        const frame = projection.shadowFrame({json.dumps(direction)}, sphere);
        const view = {{ focal: 310, centerX: 120, centerY: 130, width: 256, height: 200 }};
        console.log(JSON.stringify({{
            matrix: [...projection.projectionOf(view)], rows: [...frame.rows],
            nearest: frame.nearest, range: frame.range, fitted: projection.fittedCamera(view, 512, 800),
        }}));
    """)
    clip = np.concatenate([points, np.ones((3, 1))], 1) @ np.reshape(found["matrix"], (4, 4))
    expected = camera.clip(torch.from_numpy(points)).numpy()
    np.testing.assert_allclose(clip * [1, -1, 1, 1], expected, atol=1e-6)
    maps = shadow_maps(points, np.array([[0, 1, 2]], np.int32), np.array([direction]))
    np.testing.assert_allclose(np.reshape(found["rows"], (3, 4)), maps.frame[0], rtol=1e-4, atol=1e-4)
    depth = points @ maps.frame[0, 2, :3] + maps.frame[0, 2, 3]
    assert found["nearest"] < depth.min() and depth.max() < found["nearest"] + found["range"]
    # A taller canvas shows the whole image, in its middle.
    assert found["fitted"] == {"focal": 620, "centerX": 240, "centerY": 460, "width": 512, "height": 800}
