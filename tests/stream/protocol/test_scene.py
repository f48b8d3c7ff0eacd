"""What controls mean: head poses, lights and colours."""

import math

import numpy as np
import torch

from fitme.geometry import HeadPose
from stream.engine.scene_setup import TURNTABLE_PERIOD_S, head_pose, scene_light, virtual_camera
from stream.protocol.client_messages import SetBackground, SetCamera, SetLight, SetMode
from stream.protocol.protocol import LightPreset, Mode
from stream.protocol.scene import Scene


def pose(yaw: float = 0.0, x: float = 0.0) -> HeadPose:
    return HeadPose(np.array([0, yaw, 0], np.float32), np.array([x, 0, -0.5], np.float32))


def test_messages_change_only_what_they_name() -> None:
    scene = Scene().changed(SetLight(intensity=2.0)).changed(SetCamera(yaw=0.3)).changed(SetMode(Mode.TURNTABLE))
    scene = scene.changed(SetLight(preset=LightPreset.DARK)).changed(SetBackground((1.0, 0.0, 0.0)))
    assert scene == Scene(
        intensity=2.0, yaw=0.3, mode=Mode.TURNTABLE, preset=LightPreset.DARK, background=(1.0, 0.0, 0.0)
    )
    assert scene.event().preset == "dark"


def test_mirror_takes_over_the_pose() -> None:
    yaw, pitch, roll = head_pose(Scene(), pose(0.4), 0.0).yaw_pitch_roll()
    np.testing.assert_allclose((yaw, pitch, roll), (0.4, 0.0, 0.0), atol=1e-6)
    right = head_pose(Scene(distance=1.0), pose(x=0.1), 0.0).translation
    assert right[0] > 0.05
    assert right[2] == -1.0


def test_camera_orbits_the_head() -> None:
    """A camera to the viewer's right sees the head turn to the left; from above it sees it look down."""
    yaw, pitch, _ = head_pose(Scene(yaw=0.5), pose(), 0.0).yaw_pitch_roll()
    np.testing.assert_allclose((yaw, pitch), (-0.5, 0.0), atol=1e-6)
    yaw, pitch, _ = head_pose(Scene(pitch=0.3), pose(), 0.0).yaw_pitch_roll()
    np.testing.assert_allclose((yaw, pitch), (0.0, -0.3), atol=1e-6)


def test_turntable_swings_and_ignores_the_face() -> None:
    scene = Scene(mode=Mode.TURNTABLE)
    yaws = [head_pose(scene, pose(0.7), t).yaw_pitch_roll()[0] for t in np.linspace(0, TURNTABLE_PERIOD_S, 33)]
    assert max(yaws) > 0.9
    assert min(yaws) < -0.9
    assert abs(yaws[0] - yaws[-1]) < 1e-3


def shading(scene: Scene, normal: tuple[float, float, float], found: np.ndarray | None = None) -> float:
    light = scene_light(scene, found)
    x, y, z = normal
    basis = torch.tensor([0.2820948, 0.4886025 * y, 0.4886025 * z, 0.4886025 * x])
    diffuse = basis @ light.sh[0, :4]
    cosines = (light.directions[0] @ torch.tensor(normal)).clamp(min=0)
    return float((diffuse + cosines @ light.colors[0]).mean())


def test_lights_shine_from_where_they_are() -> None:
    dark = Scene(preset=LightPreset.DARK, direction=(1.0, 0.0, 0.0), intensity=1.0)
    assert shading(dark, (1.0, 0.0, 0.0)) > 0.9
    assert shading(dark, (-1.0, 0.0, 0.0)) < 0.1
    studio = Scene()
    assert shading(studio, (0.0, 1.0, 0.0)) > 2 * shading(studio, (0.0, -1.0, 0.0))
    assert 0.5 < shading(studio, (0.0, 0.0, 1.0)) < 1.5
    assert shading(Scene(ambient=0.0), (0.0, 0.0, 1.0)) == 0.0
    found = np.zeros((9, 3), np.float32)
    found[0] = 0.4 / 0.2820948
    camera = Scene(preset=LightPreset.CAMERA)
    assert math.isclose(shading(camera, (0.0, 0.0, 1.0), found), 0.4, rel_tol=1e-4)
    assert math.isclose(shading(camera, (0, 0, 1.0)), shading(studio, (0, 0, 1.0)))


def test_studio_sees_the_head() -> None:
    camera = virtual_camera(512)
    points = torch.tensor([[0.0, 0.14, -0.6], [0.0, -0.16, -0.6]])
    pixels = camera.project(points)
    assert 0 < pixels[0, 1] < pixels[1, 1] < 512
