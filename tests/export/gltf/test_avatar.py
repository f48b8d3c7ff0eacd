"""GLB export: validity, blendshapes, eyes, textures, tangents; geometry equal to the model's."""

import io
import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.spatial import cKDTree

from fitme.avatar import Avatar
from fitme.color import srgb_to_linear
from fitme.export.gltf.avatar import EYE_NODES, ExportOptions, glb_bytes, roughness_of_shininess, write_glb
from fitme.parts.drawn_head import drawn_head
from fitme.parts.head_parts import REFINED_HEAD
from fitme.shape.expressions import EXPRESSION_NAMES
from fitme.shape.morphable_model import MorphableModel
from tests.export.glb_reader import Reader
from tests.glasses.made import made_glasses

LARGEST_BYTES = 4_000_000
SMALL_M = 5e-4
"""Largest displacement that blendshapes may leave out."""
VALIDATOR = Path(sys.prefix) / "node_modules" / "gltf-validator"
"""Where `make test` installs Khronos' validator if npm is there."""
VALIDATE = """
const fs = require("fs"), validator = require(process.argv[1]);
validator.validateBytes(new Uint8Array(fs.readFileSync(process.argv[2])))
    .then((report) => console.log(JSON.stringify(report.issues)));
"""


@pytest.fixture(scope="module")
def glb(avatar: Avatar, model: MorphableModel) -> bytes:
    return glb_bytes(avatar, model)


def distance(found: np.ndarray, expected: np.ndarray) -> float:
    """Largest distance in metres from a triangle's centre in one of two soups (F, 3, 3) to the nearest in the other."""
    one, other = found.mean(1), expected.mean(1)
    return float(max(cKDTree(one).query(other)[0].max(), cKDTree(other).query(one)[0].max()))


def test_khronos_validator_finds_no_issue(tmp_path: Path, avatar: Avatar, model: MorphableModel):
    node = shutil.which("node")
    if node is None or (shutil.which("npm") is None and not VALIDATOR.is_dir()):
        pytest.skip("Node.js or npm is not installed")
    assert VALIDATOR.is_dir(), "the validator is missing: run `make test` once, which installs it"
    path = tmp_path / "avatar.glb"
    write_glb(replace(avatar, glasses=made_glasses(lens_opacity=0.7)), model, path)
    command = [node, "-e", VALIDATE, str(VALIDATOR), str(path)]
    run = subprocess.run(command, capture_output=True, text=True, check=True)
    issues = json.loads(run.stdout)
    assert (issues["numErrors"], issues["numWarnings"]) == (0, 0), issues["messages"]
    assert path.stat().st_size < LARGEST_BYTES


def test_only_what_talking_head_needs_is_warned_of_in_a_body(tmp_path: Path, avatar: Avatar, model: MorphableModel):
    """It looks for blendshapes below `Armature`; the specification advises to have skinned meshes at the root."""
    if not VALIDATOR.is_dir():
        pytest.skip("Khronos' validator is not installed")
    path = tmp_path / "body.glb"
    write_glb(avatar, model, path, ExportOptions(body=True))
    run = subprocess.run(
        ["node", "-e", VALIDATE, str(VALIDATOR), str(path)], capture_output=True, text=True, check=True
    )
    issues = json.loads(run.stdout)
    assert issues["numErrors"] == 0, issues["messages"]
    warned = {message["code"] for message in issues["messages"] if message["severity"] == 1}
    assert warned == {"NODE_SKINNED_MESH_NON_ROOT"}


def test_glasses_are_a_node_of_their_own(avatar: Avatar, model: MorphableModel):
    glasses = made_glasses(lens_opacity=0.7)
    reader = Reader(glb_bytes(replace(avatar, glasses=glasses), model))
    document = reader.document
    (node,) = [node for node in document["nodes"] if node["name"] == "glasses"]
    frame, lenses = document["meshes"][node["mesh"]]["primitives"]
    materials = [document["materials"][primitive["material"]] for primitive in (frame, lenses)]
    assert [material.get("alphaMode", "OPAQUE") for material in materials] == ["OPAQUE", "BLEND"]
    assert materials[1]["pbrMetallicRoughness"]["baseColorFactor"][3] == pytest.approx(0.7)
    positions = reader.accessor(frame["attributes"]["POSITION"])
    assert np.linalg.norm(positions[:, None] - glasses.points[None], axis=-1).min(1).max() < 0.004
    # Each vertex has the colour of its point.
    texture = document["textures"][materials[0]["pbrMetallicRoughness"]["baseColorTexture"]["index"]]
    view = document["images"][texture["source"]]["bufferView"]
    image = np.asarray(Image.open(io.BytesIO(reader.view(view))))
    columns = (reader.accessor(frame["attributes"]["TEXCOORD_0"])[:, 0] * image.shape[1]).astype(int)
    nearest = np.linalg.norm(positions[:, None] - glasses.points[None], axis=-1).argmin(1)
    assert (np.abs(columns - nearest) <= 1).mean() > 0.95


def test_head_has_arkits_blendshapes_and_oculus_visemes_under_their_names(glb: bytes):
    document = Reader(glb).document
    head = document["meshes"][0]
    names = head["extras"]["targetNames"]
    assert tuple(names[:52]) == tuple(EXPRESSION_NAMES)
    assert names[52:54] == ["viseme_sil", "viseme_PP"]
    assert len(names) == 67
    assert all(len(primitive["targets"]) == 67 for primitive in head["primitives"])


@pytest.mark.parametrize(
    "weights", [{}, {"jawOpen": 1.0}, {"mouthSmileLeft": 0.7, "browInnerUp": 0.4, "eyeBlinkRight": 1.0}]
)
def test_head_has_the_model_s_geometry(glb: bytes, avatar: Avatar, model: MorphableModel, weights: dict[str, float]):
    reader = Reader(glb)
    expression = torch.zeros(1, 52)
    for name, weight in weights.items():
        expression[0, EXPRESSION_NAMES.index(name)] = weight
    vertices = model.vertices(avatar.identity[None], expression)[0].numpy()
    parts = drawn_head(model).parts
    assert parts is not None
    drawn = drawn_head(model)
    refined = next(part for part in drawn.opaque if part.part.name == REFINED_HEAD)
    own = vertices[model.triangles.numpy()[~parts.hidden]]
    expected = np.concatenate([own, drawn.posed(vertices)[0][drawn.triangles.numpy()[refined.faces]]])
    found = reader.triangles(reader.document["meshes"][0], weights)
    assert found.shape == expected.shape
    assert distance(found, expected) < SMALL_M


def test_a_tongue_comes_out_and_is_lit(glb: bytes):
    reader = Reader(glb)
    head = reader.document["meshes"][0]
    closed, out = (
        reader.triangles(head, weights) for weights in ({"jawOpen": 0.3}, {"jawOpen": 0.3, "tongueOut": 1.0})
    )
    moved = np.linalg.norm(out - closed, axis=-1).max(1)
    assert moved.max() > 0.03
    # Before all that the mouth had at its front, and lighter than its inside.
    assert out[moved > 0.03][..., 2].max() > closed[..., 2][np.abs(closed[..., 1] + 0.08) < 0.01].max() + 0.005
    index = head["extras"]["targetNames"].index("tongueOut")
    for primitive in head["primitives"]:
        ways = np.linalg.norm(reader.accessor(primitive["targets"][index]["POSITION"]), axis=-1)
        if ways.max() > 0.0:
            light = reader.accessor(primitive["attributes"]["COLOR_0"])[:, 0].astype(float)
            light /= 255.0 if light.max() > 1.0 else 1.0
            assert light[ways > 0.04].max() > 0.55


def test_eyes_carry_their_looks(glb: bytes, avatar: Avatar, model: MorphableModel):
    reader = Reader(glb)
    for name in EYE_NODES:
        node = next(node for node in reader.document["nodes"] if node["name"] == name)
        mesh = reader.document["meshes"][node["mesh"]]
        looks = mesh["extras"]["targetNames"]
        assert [look.startswith("eyeLook") for look in looks].count(True) == 4
        assert all(look.endswith(name.removeprefix("eye")) for look in looks)
        look = next(look for look in looks if look.startswith("eyeLook"))
        expression = torch.zeros(1, 52)
        expression[0, EXPRESSION_NAMES.index(look)] = 1.0
        drawn = drawn_head(model)
        posed = drawn.posed(model.vertices(avatar.identity[None], expression)[0].numpy())[0]
        eye = next(part for part in drawn.opaque if part.eye == EYE_NODES.index(name))
        assert distance(reader.triangles(mesh, {look: 1.0}), posed[drawn.triangles.numpy()[eye.faces]]) < SMALL_M


def test_parts_are_nodes_that_move_with_the_face(glb: bytes):
    reader = Reader(glb)
    meshes = {
        node["name"]: reader.document["meshes"][node["mesh"]] for node in reader.document["nodes"] if "mesh" in node
    }
    expected = {"upperTeeth", "lowerTeeth", "upperGums", "lowerGums", "leftLashes", "rightLashes", "bust"}
    assert expected <= meshes.keys()
    rest, opened = (reader.triangles(meshes["lowerTeeth"], weights) for weights in ({}, {"jawOpen": 1.0}))
    assert (rest - opened)[..., 1].min() > 0.005
    assert "extras" not in meshes["bust"], "nothing moves the bust"
    lids = (reader.triangles(meshes["leftLashes"], weights) for weights in ({}, {"eyeBlinkLeft": 1.0}))
    assert np.subtract(*lids)[..., 1].max() > 0.004
    materials = {material["name"]: material for material in reader.document["materials"]}
    assert materials["lashes"]["alphaMode"] == "BLEND"
    assert reader.image("lashes").shape[-1] == 4


def test_textures_hold_the_maps(glb: bytes, avatar: Avatar):
    reader = Reader(glb)
    diffuse = srgb_to_linear(torch.from_numpy(reader.image("diffuse") / 255.0)).numpy()
    assert np.abs(diffuse - avatar.maps.diffuse[0].numpy()).max() < 0.006
    specular = reader.image("specular")
    assert np.abs(specular[..., -1] / 255.0 - avatar.maps.specular[0, ..., 0].numpy()).max() < 0.003
    assert (specular[..., 0] == 255).all(), "the colour must leave the reflectance to the alpha channel"
    normals = reader.image("normal") / 255.0 * 2.0 - 1.0
    assert np.abs(normals - avatar.maps.normals[0].numpy()).max() < 0.005
    skin = reader.document["materials"][0]
    assert skin["pbrMetallicRoughness"]["metallicFactor"] == 0.0
    assert "specularTexture" in skin["extensions"]["KHR_materials_specular"]


def test_tangents_are_a_frame_of_the_texture(glb: bytes):
    """Tangents are unit, perpendicular to the normal, and follow growing u; the bitangent follows falling v."""
    reader = Reader(glb)
    primitive = reader.document["meshes"][0]["primitives"][0]
    attributes = {name: reader.accessor(index) for name, index in primitive["attributes"].items()}
    tangent, normal = attributes["TANGENT"], attributes["NORMAL"]
    assert np.abs(np.linalg.norm(tangent[:, :3], axis=1) - 1.0).max() < 1e-5
    assert np.abs((tangent[:, :3] * normal).sum(1)).max() < 1e-5
    bitangent = np.cross(normal, tangent[:, :3]) * tangent[:, 3:]
    corners = reader.accessor(primitive["indices"])[:, 0].reshape(-1, 3)
    position, uv = attributes["POSITION"], attributes["TEXCOORD_0"]
    edges = position[corners[:, 1:]] - position[corners[:, :1]]  # (F, 2, 3)
    layout = uv[corners[:, 1:]] - uv[corners[:, :1]]  # (F, 2, 2)
    solvable = np.abs(np.linalg.det(layout)) > 1e-9
    along = np.linalg.solve(layout[solvable], edges[solvable])  # (F, 2, 3): dP/du, dP/dv
    of_corner = corners[solvable, 0]
    assert ((along[:, 0] * tangent[of_corner, :3]).sum(1) > 0).mean() > 0.97
    assert ((along[:, 1] * bitangent[of_corner]).sum(1) < 0).mean() > 0.97


def test_every_accessor_has_data(glb: bytes):
    """Assimp, Open3D and Unity's importer fail on accessors without any, which the specification allows."""
    accessors = Reader(glb).document["accessors"]
    assert all("bufferView" in accessor or accessor["sparse"]["count"] > 0 for accessor in accessors)


def test_sparse_blendshapes_save_space(glb: bytes):
    document = Reader(glb).document
    sparse = [accessor for accessor in document["accessors"] if "sparse" in accessor]
    assert len(sparse) > 52


def test_roughness_falls_with_shininess():
    assert roughness_of_shininess(0.0) == pytest.approx(1.0)
    assert roughness_of_shininess(30.0) == pytest.approx(0.5)
