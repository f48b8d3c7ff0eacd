"""A take as a glTF animation: blendshape weights, turns of neck, head and eyes, and the way of the head.

The head's turn is shared by neck and head. Eyes turn by their joints: the `eyeLook*` weights go to the lids alone.
Without a body the whole skeleton moves as the head did in front of the camera; with one it stays on its feet.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from scipy.spatial.transform import Rotation, Slerp

from fitme.arrays import Float32Array, Float64Array
from fitme.export.gltf.glb import GlbBuilder, Json
from fitme.export.gltf.skeleton import Skeleton
from fitme.motion.motion import Motion
from fitme.motion.take import Take
from fitme.rig.rig import EYES, HEAD, NECK
from fitme.shape.expressions import EXPRESSION_NAMES

NECK_SHARE = 0.45
"""Share of the head's turn that the neck does."""


def take_animation(
    builder: GlbBuilder,
    take: Take,
    skeleton: Skeleton,
    first_joint: int,
    blendshapes: Mapping[int, Sequence[str]],
    *,
    moves: bool,
) -> Json:
    """glTF animation of a take.

    :param first_joint: node of the skeleton's first joint.
    :param blendshapes: names of the blendshapes of each node that has some; those of eyes without lids.
    :param moves: whether the skeleton's root moves as well.
    """
    motions = _held(take.motions)
    times = np.array([motion.time_s for motion in motions])
    clock = builder.values((times - times[0])[:, None].astype(np.float32), bounds=True)
    samplers: list[Json] = []
    channels: list[Json] = []

    def add(node: int, path: str, values: Float64Array | Float32Array) -> None:
        flat = values.reshape(-1, 1) if path == "weights" else values
        output = builder.values(flat.astype(np.float32))
        channels.append({"sampler": len(samplers), "target": {"node": node, "path": path}})
        samplers.append({"input": clock, "output": output, "interpolation": "LINEAR"})

    head = Rotation.from_quat([motion.rotation for motion in motions])
    for joint, turn in _turned(skeleton, head).items():
        add(first_joint + skeleton.names.index(joint), "rotation", _continuous(turn.as_quat()))
    gaze = np.array([motion.gaze for motion in motions])
    for side, joint in enumerate(EYES):
        turn = Rotation.from_euler("YX", gaze[:, 2 * side : 2 * side + 2])
        add(first_joint + skeleton.names.index(joint), "rotation", _continuous(_local(skeleton, joint, turn).as_quat()))
    if moves:
        places = np.array([motion.position for motion in motions])
        add(first_joint, "translation", skeleton.positions[0] + places - places[0])
    weights = np.array([motion.weights for motion in motions])  # (M, 52)
    for node, names in blendshapes.items():
        values = np.zeros((len(motions), len(names)))
        for column, name in enumerate(names):
            if name in EXPRESSION_NAMES:
                values[:, column] = weights[:, EXPRESSION_NAMES.index(name)]
        add(node, "weights", values)
    return {"name": take.source or "take", "samplers": samplers, "channels": channels}


def _held(motions: Sequence[Motion]) -> list[Motion]:
    """Tracked motions; of a take without any, all."""
    return [motion for motion in motions if motion.tracked] or list(motions)


def _turned(skeleton: Skeleton, head: Rotation) -> dict[str, Rotation]:
    """Local rotations of neck and head that turn the head as given, against the model frame."""
    still = Rotation.identity(len(head))
    steps = [
        Slerp([0.0, 1.0], Rotation.concatenate([rest, turned]))(NECK_SHARE)
        for rest, turned in zip(still, head, strict=True)
    ]
    neck = Rotation.concatenate(steps)
    return {NECK: _local(skeleton, NECK, neck), HEAD: _local(skeleton, HEAD, neck.inv() * head)}


def _local(skeleton: Skeleton, joint: str, turn: Rotation) -> Rotation:
    """Local rotations of a joint that is turned in its parent's rest pose, against the model frame."""
    number = skeleton.names.index(joint)
    own = Rotation.from_quat(skeleton.rotations[number])
    parent = Rotation.from_quat(skeleton.rotations[skeleton.parents[number]])
    return parent.inv() * turn * own


def _continuous(quaternions: Float64Array) -> Float64Array:
    """Quaternions (M, 4) with signs such that neighbours lie on one side: players interpolate between them."""
    flips = np.cumprod(np.concatenate([[1.0], np.where((quaternions[1:] * quaternions[:-1]).sum(1) < 0.0, -1.0, 1.0)]))
    return np.asarray(quaternions * flips[:, None])
