"""Several samples a pixel."""

from dataclasses import replace

import numpy as np
import torch

from fitme.color import bytes_to_linear, linear_to_bytes
from fitme.geometry import Camera
from fitme.render.supersampling import SUPERSAMPLING, averaged_samples, finer_camera


def test_a_finer_camera_sees_the_same() -> None:
    camera = replace(Camera.centered(500.0, 64, 48), center_x_px=20.0, whole_side_px=300.0)
    finer = finer_camera(camera)
    points = torch.tensor([[0.01, -0.02, -0.5], [-0.03, 0.01, -0.7]])
    torch.testing.assert_close(finer.project(points), SUPERSAMPLING * camera.project(points))
    torch.testing.assert_close(finer.clip(points), camera.clip(points))
    assert (finer.width, finer.height, finer.longer_side_px) == (128, 96, 600.0)


def test_samples_are_averaged_in_linear_light() -> None:
    samples = np.zeros((4, 4, 3), np.uint8)
    samples[:2, :2] = np.array([[0, 255], [255, 0]])[..., None]
    samples[2:] = 90
    pixels = linear_to_bytes(averaged_samples(bytes_to_linear(samples)))
    assert pixels[0, 0].tolist() == [188] * 3  # Half of the light, not half of the code.
    assert not pixels[0, 1].any()
    assert (pixels[1] == 90).all()
