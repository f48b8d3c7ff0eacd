"""Takes as glTF animations: what a player reads is the motion that was recorded."""

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from fitme.avatar import Avatar
from fitme.export.gltf.avatar import ExportOptions, glb_bytes
from fitme.motion.motion import Motion
from fitme.motion.take import Take
from fitme.shape.expressions import EXPRESSION_NAMES
from fitme.shape.morphable_model import MorphableModel
from tests.export.glb_reader import Reader

YAW, GAZE = 0.6, 0.25


def motion(time_s: float, turn: float, jaw: float) -> Motion:
    weights = [0.0] * len(EXPRESSION_NAMES)
    weights[EXPRESSION_NAMES.index("jawOpen")] = jaw
    weights[EXPRESSION_NAMES.index("eyeLookOutLeft")] = jaw
    x, y, z, w = Rotation.from_euler("y", turn).as_quat().tolist()
    return Motion(
        time_s, True, (x, y, z, w), (0.1 * jaw, 0.0, -0.6), (GAZE * jaw, 0.0, GAZE * jaw, 0.0), tuple(weights)
    )


@pytest.fixture(scope="module")
def take() -> Take:
    lost = Motion(2.5, False)
    return Take("test", (motion(2.0, 0.0, 0.0), lost, motion(3.0, YAW, 0.8)))


def channels(reader: Reader) -> dict[tuple[str, str], np.ndarray]:
    """Values of each channel by node and path."""
    (animation,) = reader.document["animations"]
    found = {}
    for channel in animation["channels"]:
        node = reader.document["nodes"][channel["target"]["node"]]
        sampler = animation["samplers"][channel["sampler"]]
        times = reader.accessor(sampler["input"])[:, 0]
        assert times.tolist() == [0.0, 1.0], "lost frames are left out, and time begins at 0"
        found[node["name"], channel["target"]["path"]] = reader.accessor(sampler["output"]).reshape(len(times), -1)
    return found


def test_animation_turns_head_and_eyes_and_moves_the_face(avatar: Avatar, model: MorphableModel, take: Take):
    reader = Reader(glb_bytes(avatar, model, ExportOptions(take=take)))
    found, nodes = channels(reader), {node["name"]: node for node in reader.document["nodes"]}

    def world(joint: str, moment: int | None) -> Rotation:
        above = {"LeftEye": "Head", "Head": "Neck", "Neck": "Spine2"}.get(joint)
        own = (
            nodes[joint]["rotation"]
            if moment is None
            else found.get((joint, "rotation"), [nodes[joint]["rotation"]] * 2)[moment]
        )
        turn = Rotation.from_quat(own)
        return turn if above is None else world(above, moment) * turn

    for moment, angle in ((0, 0.0), (1, YAW)):
        turn = world("Head", moment) * world("Head", None).inv()
        assert (turn * Rotation.from_euler("y", angle).inv()).magnitude() < 1e-5
    eye = world("LeftEye", 1) * world("LeftEye", None).inv()
    assert (eye * Rotation.from_euler("y", YAW + GAZE * 0.8).inv()).magnitude() < 1e-5
    assert np.ptp(found["Spine2", "translation"], axis=0) == pytest.approx([0.08, 0.0, 0.0], abs=1e-6)
    names = reader.document["meshes"][nodes["head"]["mesh"]]["extras"]["targetNames"]
    assert found["head", "weights"][:, names.index("jawOpen")].tolist() == pytest.approx([0.0, 0.8])
    assert found["head", "weights"][1, names.index("eyeLookOutLeft")] == pytest.approx(0.8)
    assert found["eyeLeft", "weights"].max() == 0.0, "eyes turn once, by their joints"


def test_bodies_stay_where_they_stand(avatar: Avatar, model: MorphableModel, take: Take):
    found = channels(Reader(glb_bytes(avatar, model, ExportOptions(body=True, take=take))))
    assert not any(path == "translation" for _, path in found)
    assert ("Head", "rotation") in found
