"""Skeleton in T-pose: joints and their frames, and the base mesh turned with them.

MakeHuman stands with its arms half lowered. VRM wants arms along X and legs along Y; the axes of the bones are those of
Mixamo's skeletons: y along the bone, z by the skeleton file's reference. They turn with the bones.
"""

from dataclasses import dataclass

import numpy as np
from scipy.spatial.transform import Rotation

from fitme.arrays import Float64Array
from fitme.build.rig.source import BaseMesh, Bone, place

LATERAL = {
    "LeftArm": 1.0,
    "LeftForeArm": 1.0,
    "LeftHand": 1.0,
    "RightArm": -1.0,
    "RightForeArm": -1.0,
    "RightHand": -1.0,
}
"""Bones that lie along the X axis in T-pose, with the direction."""
HANDS = ("LeftHand", "RightHand")
"""Bones that end in the palm: their direction is that to the middle finger."""
UPRIGHT_LEGS = ("LeftUpLeg", "RightUpLeg")
"""Bones whose chain's ankle comes to lie under their joint."""
LEVEL = ("LeftFoot", "RightFoot")
"""Bones that keep their direction."""
MIDDLE = ("Hips", "Spine", "Spine1", "Spine2", "Neck", "Head")
"""Bones whose joint lies on x = 0."""


@dataclass(frozen=True, eq=False)
class TPose:
    """A body in T-pose."""

    vertices: Float64Array
    """(N, 3) of the base mesh."""
    joints: Float64Array
    """(J, 3)."""
    frames: Float64Array
    """(J, 3, 3) axes of each joint as columns."""


def t_pose(vertices: Float64Array, base: BaseMesh, bones: list[Bone], weights: Float64Array) -> TPose:
    """Turn a body (N, 3) with skinning weights (N, J) into T-pose by linear blend skinning."""
    index = {bone.name: number for number, bone in enumerate(bones)}
    heads = np.stack([place(bone.head, vertices, base) for bone in bones])
    tails = np.stack([place(bone.tail, vertices, base) for bone in bones])
    for name in MIDDLE:
        heads[index[name], 0] = tails[index[name], 0] = 0.0
    turns = np.tile(np.eye(3), (len(bones), 1, 1))
    joints = heads.copy()
    posed = np.zeros_like(vertices)
    for number, bone in enumerate(bones):
        parent = index.get(bone.parent)
        if parent is not None:
            turns[number] = turns[parent]
            joints[number] = joints[parent] + turns[parent] @ (heads[number] - heads[parent])
        direction = tails[number] - heads[number]
        if bone.name in LATERAL:
            if bone.name in HANDS:
                direction = heads[index[f"{bone.name}Middle1"]] - heads[number]
            turns[number] = _between(direction, np.array([LATERAL[bone.name], 0.0, 0.0]))
        elif bone.name in UPRIGHT_LEGS:
            ankle = heads[index[bone.name.replace("UpLeg", "Foot")]] - heads[number]
            turns[number] = _between(ankle * (1.0, 1.0, 0.0), np.array([0.0, -1.0, 0.0]))
        elif bone.name in LEVEL:
            turns[number] = np.eye(3)
        posed += weights[:, number, None] * ((vertices - heads[number]) @ turns[number].T + joints[number])
    frames = turns @ np.stack([_frame(tails[i] - heads[i], bone.reference_z) for i, bone in enumerate(bones)])
    return TPose(posed, joints, frames)


def _between(start: Float64Array, end: Float64Array) -> Float64Array:
    """(3, 3) smallest rotation from one direction to another."""
    start, end = start / np.linalg.norm(start), end / np.linalg.norm(end)
    axis = np.cross(start, end)
    length = np.linalg.norm(axis)
    if length < 1e-9:
        return np.eye(3)
    angle = np.arctan2(length, start @ end)
    return np.asarray(Rotation.from_rotvec(axis / length * angle).as_matrix())


def _frame(along: Float64Array, reference_z: tuple[float, float, float]) -> Float64Array:
    """(3, 3) axes as columns: y along the bone, z as near to the reference as can be."""
    y = along / np.linalg.norm(along)
    reference: Float64Array = np.array(reference_z)
    across: Float64Array = np.cross(y, reference)
    x = across / np.linalg.norm(across)
    return np.stack([x, y, np.cross(x, y)], 1)
