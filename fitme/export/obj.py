"""Posed meshes as Wavefront OBJ files, in the frame of the camera."""

from pathlib import Path

import numpy as np

from fitme.arrays import Float32Array
from fitme.geometry import HeadPose
from fitme.shape.morphable_model import MorphableModel


def write_obj(model: MorphableModel, vertices: Float32Array, pose: HeadPose, path: Path) -> None:
    """Write a posed head in OpenCV's camera frame (x right, y down, z forward), metres.

    A pinhole projection of the file's vertices matches the frame that the head was fitted to. Texture coordinates have
    (0, 0) at the bottom left, OBJ's convention; faces are counter-clockwise from outside.

    :param vertices: (V, 3) model frame, metres.
    :param pose: model to view.
    """
    extrinsics = pose.opencv_extrinsics()
    camera = vertices @ extrinsics[:3, :3].T + extrinsics[:3, 3]
    uv = model.uv.numpy()
    corners = np.stack([model.triangles.numpy(), model.uv_triangles.numpy()], -1).reshape(-1, 6) + 1
    with path.open("w", encoding="ascii") as file:
        file.write("# OpenCV camera frame: x right, y down, z forward; metres\no head\n")
        file.write("".join(f"v {x:.6f} {y:.6f} {z:.6f}\n" for x, y, z in camera.tolist()))
        file.write("".join(f"vt {u:.6f} {1.0 - v:.6f}\n" for u, v in uv.tolist()))
        file.write("".join("f {}/{} {}/{} {}/{}\n".format(*face) for face in corners.tolist()))
