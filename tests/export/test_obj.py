"""OBJ export: camera frame, texture coordinates, orientation of faces."""

from pathlib import Path

import numpy as np
import torch

from fitme.export.obj import write_obj
from fitme.geometry import Camera, HeadPose, transform
from fitme.shape.morphable_model import MorphableModel


def test_camera_frame_projects_to_the_pixels_of_the_pose(tmp_path: Path, model: MorphableModel):
    pose = HeadPose(np.float32([0.1, -0.5, 0.2]), np.float32([0.05, -0.02, -0.6]))
    camera = Camera(800.0, 330.0, 235.0, 640, 480)
    vertices = model.mean.numpy()
    write_obj(model, vertices, pose, tmp_path / "a.obj")
    lines = (tmp_path / "a.obj").read_text().splitlines()
    points = np.array([line.split()[1:] for line in lines if line.startswith("v ")], float)
    faces = np.array([[c.split("/") for c in line.split()[1:]] for line in lines if line.startswith("f ")], int) - 1
    uv = np.array([line.split()[1:] for line in lines if line.startswith("vt ")], float)

    x, y, z = points.T
    assert (z > 0).all()
    pixels = np.stack([330.0 + 800.0 * x / z, 235.0 + 800.0 * y / z], -1)
    view = transform(torch.from_numpy(pose.rotation), torch.from_numpy(pose.translation), model.mean)
    assert np.abs(pixels - camera.project(view).numpy()).max() < 0.01
    assert np.array_equal(faces[..., 0], model.triangles.numpy())
    assert np.array_equal(faces[..., 1], model.uv_triangles.numpy())
    assert np.abs(uv * [1, -1] + [0, 1] - model.uv.numpy()).max() < 1e-5


def test_faces_stay_counter_clockwise(tmp_path: Path, model: MorphableModel):
    write_obj(
        model, model.mean.numpy(), HeadPose(np.zeros(3, np.float32), np.float32([0, 0, -0.6])), tmp_path / "a.obj"
    )
    lines = (tmp_path / "a.obj").read_text().splitlines()
    points = np.array([line.split()[1:] for line in lines if line.startswith("v ")], float)
    a, b, c = (points[model.triangles.numpy()[:, i]] for i in range(3))
    volume = (np.cross(a - points.mean(0), b - points.mean(0)) * (c - points.mean(0))).sum() / 6.0
    assert volume > 0.001
