"""Glasses as values, as meshes, and over renders of the head."""

from dataclasses import replace

import numpy as np
import pytest

from fitme.arrays import Float32Array
from fitme.export.portrait import portrait_camera, portrait_pose
from fitme.glasses.glasses import ARRAY_NAMES, Glasses, glasses_arrays, glasses_of_arrays
from fitme.glasses.mesh import frame_mesh, lens_mesh
from fitme.hair.head_renderer import HeadRenderer
from fitme.render.light import Light
from fitme.shape.morphable_model import MorphableModel

SIDE = 160


def test_arrays_and_back(glasses: Glasses) -> None:
    again = glasses_of_arrays(glasses_arrays(glasses))
    for name in ARRAY_NAMES:
        np.testing.assert_array_equal(getattr(again, name), getattr(glasses, name))
    with pytest.raises(ValueError, match="albedo"):
        glasses_of_arrays({name: values for name, values in glasses_arrays(glasses).items() if name != "albedo"})
    with pytest.raises(ValueError, match="points"):
        replace(glasses, points=glasses.points[1:])


def test_bars_are_closed_and_look_outwards(glasses: Glasses) -> None:
    mesh = frame_mesh(glasses)
    corners = mesh.vertices[mesh.triangles]
    volume = np.einsum("fc,fc->f", corners[:, 0], np.cross(corners[:, 1], corners[:, 2])).sum() / 6.0
    assert 1e-7 < volume < 2e-5, "some cubic centimetres, and not inside out"
    facing = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    lateral = np.linalg.norm(facing, axis=1) > 1e-9
    outwards = np.einsum("fc,fc->f", facing, mesh.normals[mesh.triangles].mean(1))
    assert (outwards[lateral] > 0.0).mean() > 0.97
    lenses = lens_mesh(glasses)
    corners = lenses.vertices[lenses.triangles]
    assert (np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])[:, 2] > 0.0).all()


def _renders(model: MorphableModel, neutral: Float32Array, glasses: Glasses | None, yaw_deg: float) -> np.ndarray:
    renderer = HeadRenderer(model, SIDE, parts=False, threads=1)
    renderer.set_glasses(glasses)
    pose = portrait_pose(np.radians(yaw_deg))
    image, mask = renderer.render_with_mask(neutral, pose, portrait_camera(SIDE), Light.ambient(0.7))
    return np.concatenate([image, mask[..., None]], -1).astype(int)


def test_drawn_in_front_of_the_eyes_and_behind_the_head(
    glasses: Glasses, model: MorphableModel, neutral: Float32Array
) -> None:
    front = _renders(model, neutral, glasses, 0.0) - _renders(model, neutral, None, 0.0)
    darker = front[..., :3].mean(-1) < -40
    rows, columns = np.nonzero(darker)
    assert 60 < len(rows) < 0.1 * SIDE**2
    assert abs(columns.mean() - SIDE / 2) < 2.0, "on both sides alike"
    back = _renders(model, neutral, glasses, 180.0) - _renders(model, neutral, None, 180.0)
    assert (np.abs(back[..., :3]).mean(-1) > 40).sum() < 0.3 * len(rows), "the head hides the rims"


def test_lenses_darken_and_edges_are_smooth(glasses: Glasses, model: MorphableModel, neutral: Float32Array) -> None:
    clear = _renders(model, neutral, glasses, 0.0)
    tinted = _renders(model, neutral, replace(glasses, lens_opacity=np.array([0.9], np.float32)), 0.0)
    none = _renders(model, neutral, None, 0.0)
    assert (tinted - clear)[..., :3].min() < -60
    change = np.abs(clear - none)[..., 0]
    assert ((change > 5) & (change < 0.5 * change.max())).sum() > 0.3 * (change >= 0.5 * change.max()).sum()


def test_taken_off_again(glasses: Glasses, model: MorphableModel, neutral: Float32Array) -> None:
    renderer = HeadRenderer(model, SIDE, parts=False, threads=1)
    pose, camera, light = portrait_pose(0.0), portrait_camera(SIDE), Light.ambient(0.7)
    bare = renderer.render(neutral, pose, camera, light)
    renderer.set_glasses(glasses)
    assert (renderer.render(neutral, pose, camera, light) != bare).any()
    renderer.set_glasses(None)
    np.testing.assert_array_equal(renderer.render(neutral, pose, camera, light), bare)
