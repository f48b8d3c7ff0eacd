"""Skeleton of an exported avatar: joints as glTF nodes, the skin, and how the avatar's vertices follow them.

Names and axes are Mixamo's without its prefix (`fitme.rig.rig`). A head alone has `HEAD_JOINTS`, of which `Spine2`
holds the bust; with a body there are all.
"""

from dataclasses import dataclass

import numpy as np
from scipy.spatial.transform import Rotation

from fitme.arrays import Float32Array, Float64Array, Int32Array, UInt8Array
from fitme.export.gltf.glb import GlbBuilder, Json
from fitme.parts.binding import Binding
from fitme.parts.head_parts import HeadPart, Material
from fitme.rig.rig import EYES, HEAD, HEAD_JOINTS, SPINE, Rig, collapsed
from fitme.shape.morphable_model import MorphableModel

ARMATURE_NODE = "Armature"
"""Node above the joints."""
INFLUENCES = 4
"""Joints that move one vertex, at most."""


@dataclass(frozen=True, eq=False)
class Skeleton:
    """Joints at rest."""

    rig: Rig
    names: tuple[str, ...]
    """Of J joints; each stands after its parent."""
    parents: tuple[int, ...]
    """Index of each joint's parent, -1 for the root."""
    positions: Float64Array
    """(J, 3) metres, model frame."""
    rotations: Float64Array
    """(J, 4) unit quaternions x, y, z, w, model frame."""
    head_weights: Float32Array
    """(V, J) of the model's vertices; rows sum to one."""

    def nodes(self, first: int, offset: tuple[float, float, float]) -> list[Json]:
        """One node a joint, the first of which has the index `first`; `offset` is added to the root's place."""
        frames = Rotation.from_quat(self.rotations)
        nodes: list[Json] = []
        for number, (name, parent) in enumerate(zip(self.names, self.parents, strict=True)):
            place, turn = self.positions[number] + (offset if parent < 0 else 0.0), frames[number]
            if parent >= 0:
                place = frames[parent].inv().apply(place - self.positions[parent])
                turn = frames[parent].inv() * turn
            node: Json = {"name": name, "translation": place.tolist(), "rotation": turn.as_quat().tolist()}
            children = [first + child for child, above in enumerate(self.parents) if above == number]
            nodes.append(node | ({"children": children} if children else {}))
        return nodes

    def skin(self, builder: GlbBuilder, first: int, offset: tuple[float, float, float]) -> Json:
        """The skin whose joints are nodes from `first`; all places in the file are those of the model and `offset`."""
        inverse = np.tile(np.eye(4), (len(self.names), 1, 1))
        turns = Rotation.from_quat(self.rotations).as_matrix().transpose(0, 2, 1)
        inverse[:, :3, :3] = turns
        inverse[:, :3, 3] = -np.einsum("jab,jb->ja", turns, self.positions + offset)
        columns = inverse.transpose(0, 2, 1).reshape(-1, 16).astype(np.float32)
        joints = list(range(first, first + len(self.names)))
        return {"joints": joints, "skeleton": first, "inverseBindMatrices": builder.values(columns)}

    def in_joint(self, name: str, point: Float64Array) -> tuple[float, float, float]:
        """A point (3,) of the model frame in the axes of a joint, from it."""
        number = self.names.index(name)
        away = Rotation.from_quat(self.rotations[number]).inv().apply(point - self.positions[number])
        x, y, z = away.tolist()
        return x, y, z

    def rigid(self, name: str, count: int) -> Float32Array:
        """(N, J) weights of vertices that one joint alone moves."""
        weights = np.zeros((count, len(self.names)), np.float32)
        weights[:, self.names.index(name)] = 1.0
        return weights

    def part_weights(self, part: HeadPart) -> Float32Array:
        """(N, J) weights of a part's vertices: eyes turn, skin follows what it is bound to, all else the head."""
        if part.material is Material.EYE:
            return self.rigid(EYES[0] if part.name.startswith("left") else EYES[1], len(part.binding))
        if part.material is not Material.SKIN:
            return self.rigid(HEAD, len(part.binding))
        return self._bound(part.binding)

    def _bound(self, binding: Binding) -> Float32Array:
        rows = np.repeat(np.arange(len(binding)), np.diff(binding.starts))
        weights = np.zeros((len(binding), len(self.names)), np.float32)
        np.add.at(weights, rows, np.maximum(binding.weights, 0.0)[:, None] * self.head_weights[binding.vertices])
        # Where a part does not follow the head, it stands on the shoulders.
        weights[:, self.names.index(SPINE)] += np.maximum(1.0 - weights.sum(1), 0.0)
        return np.asarray(weights / weights.sum(1, keepdims=True))


def skeleton_of(
    rig: Rig, model: MorphableModel, head: Float32Array, build: Float32Array, *, with_body: bool
) -> Skeleton:
    """Skeleton of a neutral head (V, 3) on a body of a build (D,)."""
    left, right = (ball.numpy() for ball in model.eyeball_vertices)
    joints = rig.placed(head, (left, right), build)
    names = rig.joint_names if with_body else tuple(name for name in rig.joint_names if name in HEAD_JOINTS)
    chosen = [rig.joint_names.index(name) for name in names]
    parents = [rig.joint_names[rig.parents[number]] if rig.parents[number] >= 0 else "" for number in chosen]
    weights = dense_weights(*collapsed(rig, rig.head_joints, rig.head_weights, names), len(names))
    for name, ball in zip(EYES, (left, right), strict=True):
        weights[ball] = 0.0
        weights[ball, names.index(name)] = 1.0
    return Skeleton(
        rig,
        names,
        tuple(names.index(parent) if parent in names else -1 for parent in parents),
        joints[chosen].astype(np.float64),
        rig.frames[chosen].astype(np.float64),
        weights,
    )


def dense_weights(joints: Int32Array, weights: Float32Array, count: int) -> Float32Array:
    """(N, J) of joints (N, 4) and their weights (N, 4)."""
    dense = np.zeros((len(joints), count), np.float32)
    np.add.at(dense, (np.arange(len(joints))[:, None], joints), weights)
    return dense


def skin_attributes(builder: GlbBuilder, weights: Float32Array) -> Json:
    """`JOINTS_0` and `WEIGHTS_0` of weights (N, J): the strongest joints, their weights rounded to 255ths of one."""
    joints = np.argsort(-weights, axis=1, kind="stable")[:, :INFLUENCES]
    strongest = np.take_along_axis(weights, joints, 1)
    codes = np.rint(255.0 * strongest / strongest.sum(1, keepdims=True)).astype(np.int64)
    codes[:, 0] += 255 - codes.sum(1)
    # A joint without weight is 0, as validators want it.
    named: UInt8Array = np.where(codes > 0, joints, 0).astype(np.uint8)
    return {
        "JOINTS_0": builder.byte_attribute(named, normalized=False),
        "WEIGHTS_0": builder.byte_attribute(codes.astype(np.uint8), normalized=True),
    }
