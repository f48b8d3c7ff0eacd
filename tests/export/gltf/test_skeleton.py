"""Skeleton of exported heads and bodies: joints, skinning, visemes, VRM, and models that have no rig."""

import dataclasses

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from fitme.avatar import Avatar
from fitme.errors import InputError
from fitme.export.gltf.avatar import ExportOptions, glb_bytes
from fitme.rig.rig import HEAD_JOINTS, VISEME_NAMES, load_rig
from fitme.shape.morphable_model import MorphableModel
from tests.export.glb_reader import Reader


@pytest.fixture(scope="module")
def head(avatar: Avatar, model: MorphableModel) -> Reader:
    return Reader(glb_bytes(avatar, model))


@pytest.fixture(scope="module")
def body(avatar: Avatar, model: MorphableModel) -> Reader:
    return Reader(glb_bytes(avatar, model, ExportOptions(body=True)))


def joint_matrices(reader: Reader, turns: dict[str, Rotation] | None = None) -> np.ndarray:
    """(J, 4, 4) by which vertices of each joint move when joints turn against the model frame."""
    nodes, skin = reader.document["nodes"], reader.document["skins"][0]
    parents = {child: index for index, node in enumerate(nodes) for child in node.get("children", [])}

    def world(index: int) -> np.ndarray:
        node, matrix = nodes[index], np.eye(4)
        matrix[:3, :3] = Rotation.from_quat(node.get("rotation", [0, 0, 0, 1])).as_matrix()
        matrix[:3, 3] = node.get("translation", [0, 0, 0])
        above = world(parents[index]) if index in parents else np.eye(4)
        turn = (turns or {}).get(node["name"])
        placed = above @ matrix
        if turn is not None:
            placed[:3, :3] = turn.as_matrix() @ placed[:3, :3]
        return placed

    inverse = reader.accessor(skin["inverseBindMatrices"]).reshape(-1, 4, 4).transpose(0, 2, 1)
    return np.stack([world(joint) for joint in skin["joints"]]) @ inverse


def skinned(reader: Reader, mesh: str, matrices: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Vertices (N, 3) of all primitives of a mesh, still and moved."""
    primitives = next(m for m in reader.document["meshes"] if m["name"] == mesh)["primitives"]
    still, moved = [], []
    for primitive in primitives:
        attributes = {name: reader.accessor(index) for name, index in primitive["attributes"].items()}
        points = attributes["POSITION"]
        weights = attributes["WEIGHTS_0"].astype(float) / 255.0
        assert np.abs(weights.sum(1) - 1.0).max() < 1e-6
        by_joint = np.einsum("jab,nb->jna", matrices[:, :3, :3], points) + matrices[:, None, :3, 3]
        chosen = by_joint[attributes["JOINTS_0"], np.arange(len(points))[:, None]]
        still.append(points)
        moved.append((weights[..., None] * chosen).sum(1))
    return np.concatenate(still), np.concatenate(moved)


def test_head_has_joints_at_its_neck_skull_and_eyes(head: Reader, avatar: Avatar, model: MorphableModel):
    document = head.document
    skin = document["skins"][0]
    assert [document["nodes"][joint]["name"] for joint in skin["joints"]] == sorted(
        HEAD_JOINTS, key=list(load_rig(model).joint_names).index
    )
    matrices = joint_matrices(head)
    assert np.abs(matrices - np.eye(4)).max() < 1e-5, "at rest the skin must not move anything"
    eyes = model.neutral(avatar.identity[None])[0].numpy()
    for name, ball in zip(("LeftEye", "RightEye"), model.eyeball_vertices, strict=True):
        turned = joint_matrices(head, {name: Rotation.from_euler("y", 0.3)})
        number = [document["nodes"][joint]["name"] for joint in skin["joints"]].index(name)
        center = eyes[ball.numpy()].mean(0)
        assert np.abs(turned[number, :3, :3] @ center + turned[number, :3, 3] - center).max() < 1e-5


def test_everything_follows_the_joints_it_belongs_to(head: Reader):
    nodding = joint_matrices(head, {"Head": Rotation.from_euler("x", 0.5)})
    for mesh in ("upperTeeth", "lowerGums", "leftLashes", "eyeLeft"):
        still, moved = skinned(head, mesh, nodding)
        assert np.linalg.norm(moved - still, axis=1).min() > 0.01, mesh
    still, moved = skinned(head, "bust", nodding)
    low = still[:, 1] < -0.2
    assert np.linalg.norm(moved - still, axis=1)[low].max() < 0.006
    still, moved = skinned(head, "eyeLeft", joint_matrices(head, {"LeftEye": Rotation.from_euler("y", 0.3)}))
    assert np.linalg.norm(moved - still, axis=1).max() > 0.002
    still, moved = skinned(head, "eyeRight", joint_matrices(head, {"LeftEye": Rotation.from_euler("y", 0.3)}))
    assert np.linalg.norm(moved - still, axis=1).max() < 1e-5


def test_visemes_open_and_close_the_mouth(head: Reader, avatar: Avatar, model: MorphableModel):
    rig = load_rig(model)
    assert rig is not None
    basis = rig.viseme_basis(model.vertex_count)
    points = model.landmarks(torch.from_numpy(basis))  # (15, 478, 3): 13 and 14 are the inner lips
    opening = (points[:, 13] - points[:, 14])[:, 1]
    assert opening[VISEME_NAMES.index("viseme_aa")] > 0.008
    assert opening[VISEME_NAMES.index("viseme_PP")] < opening[VISEME_NAMES.index("viseme_E")]
    assert not basis[VISEME_NAMES.index("viseme_sil")].any()


def test_body_stands_on_the_ground_and_its_skin_begins_at_the_neck(body: Reader, head: Reader):
    points = {
        mesh["name"]: np.concatenate([body.accessor(p["attributes"]["POSITION"]) for p in mesh["primitives"]])
        for mesh in body.document["meshes"]
    }
    everything = np.concatenate(list(points.values()))
    assert abs(everything[:, 1].min()) < 1e-5
    assert 1.4 < everything[:, 1].max() < 2.1
    assert np.ptp(everything[:, 0]) > 1.3, "arms are spread"
    assert np.abs(joint_matrices(body) - np.eye(4)).max() < 1e-5
    assert "bust" not in points
    # Every vertex of the head's lower edge is one of the body's, with its normal.
    skin = next(mesh for mesh in body.document["meshes"] if mesh["name"] == "bodySkin")["primitives"][0]["attributes"]
    neck = body.document["meshes"][0]["primitives"][0]["attributes"]
    edge = points["head"][:, 1] < points["head"][:, 1].min() + 0.004
    edge = edge[: body.count(neck["POSITION"])]
    below, above = body.accessor(skin["POSITION"]), body.accessor(neck["POSITION"])[edge]
    gaps = np.linalg.norm(above[:, None] - below[None], axis=2)
    assert gaps.min(1).max() < 1e-5
    normals = body.accessor(neck["NORMAL"])[edge]
    assert np.abs(normals - body.accessor(skin["NORMAL"])[gaps.argmin(1)]).max() < 1e-3


def test_file_with_a_body_is_a_vrm(body: Reader):
    document = body.document
    assert "VRMC_vrm" in document["extensionsUsed"]
    vrm = document["extensions"]["VRMC_vrm"]
    assert vrm["specVersion"] == "1.0"
    bones = vrm["humanoid"]["humanBones"]
    limbs = ["UpperLeg", "LowerLeg", "Foot", "UpperArm", "LowerArm", "Hand"]
    required = {"hips", "spine", "head"} | {side + limb for side in ("left", "right") for limb in limbs}
    assert required <= bones.keys()
    for bone, joint in (("hips", "Hips"), ("leftHand", "LeftHand"), ("rightLittleDistal", "RightHandPinky3")):
        assert document["nodes"][bones[bone]["node"]]["name"] == joint
    expressions = vrm["expressions"]["preset"]
    for name, blendshape in (("aa", "viseme_aa"), ("blinkLeft", "eyeBlinkLeft")):
        binds = expressions[name]["morphTargetBinds"]
        bound = [
            document["meshes"][document["nodes"][bind["node"]]["mesh"]]["extras"]["targetNames"][bind["index"]]
            for bind in binds
        ]
        assert set(bound) == {blendshape}
    assert vrm["meta"]["licenseUrl"] and vrm["meta"]["authors"]


def test_model_with_another_mesh_leaves_as_a_head(avatar: Avatar, model: MorphableModel):
    """Of a user's own model, whose vertices are not the rig's."""
    kept = dataclasses.replace(model, identity_basis=model.identity_basis[:20])
    short = dataclasses.replace(avatar, identity=avatar.identity[:20])
    document = Reader(glb_bytes(short, kept)).document
    assert "skins" not in document
    assert len(document["meshes"][0]["extras"]["targetNames"]) == 52
    with pytest.raises(InputError, match="skeleton"):
        glb_bytes(short, kept, ExportOptions(body=True))
