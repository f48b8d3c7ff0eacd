"""Rig of the default model's head and its body: skeleton, skinning weights, visemes.

`rig.npz`, built by `python -m fitme.build.rig.build`, belongs to one mesh: that of the default model. Joints have
Mixamo's names without their prefix, and its axes (y along the bone). Places are relative to the middle of the neck's
edge, so that the body follows a person's head wherever it ends.

Layout of the file, version 1: `format` (), `head_vertices` (), `joint_names` (J,), `parents` (J,), `frames` (J, 4),
`joints` (1 + D, J, 3), `loop` (L,), `loop_rest` (1 + D, L, 3), `skull` (S,), `head_joints` (V, 4), `head_weights`
(V, 4), `viseme_vertices` (N,), `visemes` (15, N, 3), `build_weights` (D, K). The first of 1 + D is
the average body, the others are what a build adds to it.
"""

import functools
import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from fitme.arrays import Float32Array, Int32Array, Int64Array, UInt8Array
from fitme.errors import ModelFileError
from fitme.shape.morphable_model import MorphableModel

FORMAT_VERSION = 1
RIG_PATH = Path(__file__).with_name("rig.npz")
VISEME_NAMES = tuple(
    f"viseme_{name}" for name in ("sil", "PP", "FF", "TH", "DD", "kk", "CH", "SS", "nn", "RR", "aa", "E", "I", "O", "U")
)
"""Oculus' visemes, in its order."""
LARGEST_BUILD = 1.0
"""Range of each coefficient of the build: -1 to 1."""
SPINE, NECK, HEAD, EYES = "Spine2", "Neck", "Head", ("LeftEye", "RightEye")
HEAD_JOINTS = (SPINE, NECK, HEAD, *EYES)
"""Joints of a head without a body."""


@dataclass(frozen=True, eq=False)
class Rig:
    """Skeleton, weights and visemes of one mesh."""

    joint_names: tuple[str, ...]
    """Of J joints; each stands after its parent."""
    parents: Int64Array
    """(J,) index of each joint's parent, -1 for the root."""
    frames: Float32Array
    """(J, 4) orientation of each joint in T-pose as a unit quaternion x, y, z, w, model frame."""
    joints: Float32Array
    """(1 + D, J, 3) metres from the middle of the neck's edge."""
    loop: Int64Array
    """(L,) the head's vertices at the neck's edge."""
    loop_rest: Float32Array
    """(1 + D, L, 3) metres from their middle, on the head that the body was modelled with."""
    skull: Int64Array
    """(S,) the head's vertices whose mean is the joint of the head."""
    head_joints: UInt8Array
    """(V, 4) joints that move each of the head's vertices."""
    head_weights: Float32Array
    """(V, 4) their weights, rows sum to one."""
    viseme_vertices: Int64Array
    """(N,) the head's vertices that visemes move."""
    visemes: Float32Array
    """(15, N, 3) metres at full activation."""
    build_weights: Float32Array
    """(D, K) of the identity's coefficients in each coefficient of the build."""

    def viseme_basis(self, vertex_count: int) -> Float32Array:
        """(15, V, 3) displacements of all vertices of the head."""
        basis = np.zeros((len(VISEME_NAMES), vertex_count, 3), np.float32)
        basis[:, self.viseme_vertices] = self.visemes
        return basis

    def build_of(self, identity: torch.Tensor) -> Float32Array:
        """(D,) coefficients in [-1, 1] of the body that goes with an identity (K,), as far as a head shows it."""
        raw = self.build_weights @ identity.numpy()[: self.build_weights.shape[1]]
        return np.asarray(np.clip(raw, -LARGEST_BUILD, LARGEST_BUILD), np.float32)

    def placed(self, head: Float32Array, eyeballs: tuple[Int64Array, Int64Array], build: Float32Array) -> Float32Array:
        """(J, 3) joints, metres, model frame, of a neutral head (V, 3) on a body of a build (D,)."""
        joints = head[self.loop].mean(0) + self.joints[0] + np.tensordot(build, self.joints[1:], 1)
        joints[self.joint_names.index(HEAD)] = head[self.skull].mean(0) * (0.0, 1.0, 1.0)
        for name, ball in zip(EYES, eyeballs, strict=True):
            joints[self.joint_names.index(name)] = head[ball].mean(0)
        return np.asarray(joints, np.float32)


def load_rig(model: MorphableModel) -> Rig | None:
    """Rig of the default model; None for a model with another mesh."""
    count, rig = read_rig(RIG_PATH)
    return rig if count == model.vertex_count and rig.build_weights.shape[1] == model.identity_count else None


@functools.cache
def read_rig(path: Path) -> tuple[int, Rig]:
    """Number of the head's vertices, and the rig, of a file in the layout above. ModelFileError if it is damaged."""
    try:
        with np.load(path, allow_pickle=False) as file:
            if int(file["format"]) != FORMAT_VERSION:
                raise ModelFileError(f"{path} has format {file['format']}, not {FORMAT_VERSION}; build it anew")
            weights = file["head_weights"].astype(np.float32)
            rig = Rig(
                joint_names=tuple(str(name) for name in file["joint_names"]),
                parents=file["parents"].astype(np.int64),
                frames=file["frames"].astype(np.float32),
                joints=file["joints"].astype(np.float32),
                loop=file["loop"].astype(np.int64),
                loop_rest=file["loop_rest"].astype(np.float32),
                skull=file["skull"].astype(np.int64),
                head_joints=file["head_joints"].astype(np.uint8),
                head_weights=weights / weights.sum(1, keepdims=True),
                viseme_vertices=file["viseme_vertices"].astype(np.int64),
                visemes=file["visemes"].astype(np.float32),
                build_weights=file["build_weights"].astype(np.float32),
            )
            return int(file["head_vertices"]), rig
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise ModelFileError(
            f"{path} is not a readable rig ({error}); build it with `python -m fitme.build.rig.build`"
        ) from error


def collapsed(
    rig: Rig, joints: UInt8Array, weights: Float32Array, kept: tuple[str, ...]
) -> tuple[Int32Array, Float32Array]:
    """Joints (N, 4), as indices into `kept`, and weights (N, 4) with those of other joints given to the nearest kept
    one above; to the first of `kept` if none is above."""
    table = np.zeros(len(rig.joint_names), np.int32)
    for number in range(len(table)):
        at = number
        while at >= 0 and rig.joint_names[at] not in kept:
            at = int(rig.parents[at])
        table[number] = kept.index(rig.joint_names[at] if at >= 0 else kept[0])
    dense = np.zeros((len(joints), len(kept)), np.float32)
    np.add.at(dense, (np.arange(len(joints))[:, None], table[joints]), weights)
    order = np.argsort(-dense, axis=1, kind="stable")[:, :4]
    return order.astype(np.int32), np.take_along_axis(dense, order, 1)
