"""The renderer's modules without a GPU, under Node, against the Python that they follow."""

import importlib
import json
from pathlib import Path

import numpy as np
import pytest
import torch

from fitme.bench.viewer.page_data import avatar_data, packed
from fitme.bench.viewer.scenes import scene_avatar
from fitme.geometry import Camera, HeadPose, quaternion_from_axis_angle, rotation_matrix
from fitme.render.forward.geometry import frame_vertices, tangent_weights
from fitme.render.occlusion import mouth_occlusion
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
    "fitme.hair.compositing", "fitme.shape.expressions", "fitme.reflectance.expression_correctives",
    "fitme.reflectance.maps", "stream.engine.avatar_view",
)  # fmt: skip


def _run(script: str):
    """JSON that a script with all of the renderer's modules prints."""
    names = ("correctives", "mesh", "projection", "reflection", "rotations", "scene")
    imports = [f"import * as {name} from {json.dumps((RENDERER / f'{name}.js').as_uri())};" for name in names]
    imports.append(f"import {{ unpacked }} from {json.dumps(UNPACK.as_uri())};")
    imports.append('import { readFileSync } from "node:fs";')
    ran = _node("--input-type=module", "--eval", "\n".join([*imports, script]))
    assert ran.returncode == 0, ran.stderr
    return json.loads(ran.stdout)


def test_every_module_parses():
    modules = sorted(RENDERER.glob("*.js"))
    assert modules
    for module in modules:
        checked = _node("--check", str(module))
        assert checked.returncode == 0, checked.stderr


def test_constants_are_those_of_python():
    found = _run("console.log(JSON.stringify(reflection));")
    known = {}
    for name in CONSTANT_MODULES:
        known |= vars(importlib.import_module(name))
    for name, value in found.items():
        assert np.allclose(value, known[name], rtol=0, atol=0), name


@pytest.fixture(scope="module")
def expression():
    """A smile with an open mouth and a look to the side."""
    weights = torch.zeros(EXPRESSION_COUNT)
    for name, value in {"jawOpen": 0.15, "mouthSmileLeft": 0.7, "eyeLookInLeft": 0.5, "eyeLookDownLeft": 0.4,
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
            share: part.insideShare, lining: part.liningCount, changes,
            weights: [...correctives.correctiveWeights(tree.correctives, tree.weights)],
            shares: [...blend.shares],
        }}));
    """)


def test_vertices_are_the_model_s(morphed, expression):
    model = load_default_model()
    expected = model.vertices(scene_avatar(0).identity[None], expression[None])[0].numpy()
    found = np.reshape(morphed["positions"], (-1, 3))
    # Morph targets have steps of 2 micrometres.
    assert np.abs(found - expected).max() < 5e-6
    assert morphed["share"] == pytest.approx(
        float(mouth_occlusion(model).apply(torch.ones(len(expected)), torch.from_numpy(expected)).min()), abs=2e-3
    )


def test_frames_of_the_corners_are_the_forward_renderer_s(morphed):
    model = load_default_model()
    vertices = np.reshape(morphed["positions"], (-1, 3)).astype(np.float32)
    triangles, corners = model.triangles.int().numpy(), model.uv_triangles.int().numpy()
    weights = tangent_weights(model.uv, model.uv_triangles)
    normals, tangents = np.empty_like(vertices), np.zeros((len(model.uv), 3), np.float32)
    frame_vertices(vertices, triangles, corners, weights.weights, normals, tangents)
    # Triangles in the page's order: those of the mouth's lining last.
    lining = mouth_occlusion(model).lining
    order = np.concatenate([np.setdiff1d(np.arange(len(triangles)), lining), lining])
    assert morphed["lining"] == len(lining)
    index = np.reshape(morphed["indices"], (-1, 3))
    moving, fixed = np.reshape(morphed["moving"], (-1, 9))[index], np.reshape(morphed["fixed"], (-1, 6))[index]
    np.testing.assert_allclose(moving[..., :3], vertices[triangles[order]], atol=1e-7)
    np.testing.assert_allclose(moving[..., 3:6], normals[triangles[order]], atol=1e-3)
    np.testing.assert_allclose(moving[..., 6:], tangents[corners[order]], atol=1e-3)
    np.testing.assert_allclose(fixed[..., :2], model.uv.numpy()[corners[order]], atol=1e-7)
    np.testing.assert_array_equal(fixed[..., 2], weights.handedness[corners[order]])


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
    scene = Scene(preset=preset, ambient=0.8, color=(1.0, 0.6, 0.3), intensity=1.4, yaw=0.4, pitch=-0.3, mode=mode)
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
        const light = scene.sceneLight(given.scene, Float32Array.from(given.sh));
        console.log(JSON.stringify({{
            matrix: rotations.matrixOfQuaternion(pose.rotation), translation: pose.translation,
            camera: scene.virtualCamera(256), sh: [...light.sh], directions: light.directions, colors: light.colors,
        }}));
    """)
    pose, light, camera = head_pose(scene, tracked, 1.7), scene_light(scene, fitted), virtual_camera(256)
    matrix = rotation_matrix(torch.from_numpy(pose.rotation).double()).numpy()
    np.testing.assert_allclose(np.reshape(found["matrix"], (3, 3)), matrix, atol=1e-5)
    np.testing.assert_allclose(found["translation"], pose.translation, atol=1e-6)
    np.testing.assert_allclose(np.reshape(found["sh"], (9, 3)), light.sh[0].numpy(), atol=1e-5)
    np.testing.assert_allclose(np.reshape(found["directions"], (-1, 3)), light.directions[0].numpy(), atol=1e-6)
    np.testing.assert_allclose(np.reshape(found["colors"], (-1, 3)), light.colors[0].numpy(), atol=1e-6)
    names = ("focal", "centerX", "centerY", "width", "height")
    assert tuple(found["camera"][name] for name in names) == pytest.approx(tuple(vars(camera).values()))


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
