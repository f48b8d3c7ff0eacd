"""Compiled sampling of texels against the same steps in NumPy and OpenCV."""

import cv2
import numpy as np
import torch

from fitme.color import bytes_to_linear
from fitme.fit.texture.texel_sampling import (
    DEPTH_TOLERANCE_M,
    GRAZING_COSINE,
    VIEW_ANGLE_POWER,
    SampledTexels,
    sample_texels,
)
from fitme.fit.texture.unprojection import TexelTable, sample_image, texel_table
from fitme.geometry import Camera, transform
from fitme.render.cpu.depth import depth_image
from fitme.render.rasterizer import select_backend
from fitme.shape.model_file import load_default_model
from fitme.shape.normals import vertex_normals

CAMERA = Camera(260.0, 100.0, 90.0, 200, 190)


def turned_head() -> torch.Tensor:
    """(V, 3) vertices in view space of a head that the image cuts off."""
    rotation, translation = torch.tensor([0.1, 0.5, -0.1]), torch.tensor([0.02, 0.05, -0.5])
    return transform(rotation, translation, load_default_model().mean)


def reference(
    table: TexelTable, vertices: torch.Tensor, normals: torch.Tensor, surface: np.ndarray, image: np.ndarray,
    usable: np.ndarray,
) -> SampledTexels:  # fmt: skip
    positions = table.interpolate(vertices)
    unit = torch.nn.functional.normalize(table.interpolate(normals), dim=-1)
    toward = torch.nn.functional.normalize(-positions, dim=-1)
    cosine = (unit * toward).sum(-1).numpy()
    pixels = CAMERA.project(positions).numpy()
    hidden = -positions[:, 2].numpy() > sample_image(surface, pixels, cv2.INTER_NEAREST) + DEPTH_TOLERANCE_M
    facing = np.clip((cosine - GRAZING_COSINE) / (1.0 - GRAZING_COSINE), 0.0, 1.0) ** VIEW_ANGLE_POWER
    weight = facing * sample_image(usable, pixels, cv2.INTER_LINEAR) * ~hidden
    color = sample_image(bytes_to_linear(image), pixels, cv2.INTER_LINEAR)
    return SampledTexels(positions.numpy(), unit.numpy(), toward.numpy(), color, weight)


def test_sampling_matches_numpy():
    model, vertices = load_default_model(), turned_head()
    table, draw = texel_table(model, 128), np.random.default_rng(0)
    image = draw.integers(0, 256, (CAMERA.height, CAMERA.width, 3), np.uint8)
    image = cv2.GaussianBlur(image, (0, 0), 4.0)
    usable = cv2.GaussianBlur(draw.random((CAMERA.height, CAMERA.width)).astype(np.float32), (0, 0), 4.0)
    surface, normals = (
        depth_image(vertices, model.triangles, CAMERA),
        vertex_normals(vertices[None], model.triangles)[0],
    )
    expected = reference(table, vertices, normals, surface, image, usable)
    found = sample_texels(
        table.corners, table.barycentric, vertices.numpy(), normals.numpy(), CAMERA, surface, image, usable
    )
    for name in ("positions", "normals", "toward_viewer"):
        np.testing.assert_allclose(getattr(found, name), getattr(expected, name), atol=2e-6)
    # OpenCV counts bilinear weights in 32nds, and may round to the other of two pixels.
    np.testing.assert_allclose(found.color, expected.color, atol=2e-3)
    same = np.isclose(found.weight, expected.weight, atol=2e-3)
    assert same.mean() > 0.999
    assert 0.2 < (found.weight > 0.0).mean() < 0.6


def test_depth_matches_the_raster():
    model, vertices = load_default_model(), turned_head()
    backend = select_backend("cpu")
    raster = backend.rasterize(CAMERA.clip(vertices)[None], model.triangles, (CAMERA.height, CAMERA.width))
    depth = backend.interpolate(-vertices[None, :, 2:].contiguous(), raster, model.triangles)[0, ..., 0].numpy()
    expected = np.where(raster[0, ..., 3].numpy() > 0.0, depth, np.inf)
    found = depth_image(vertices, model.triangles, CAMERA)
    both = np.isfinite(expected) & np.isfinite(found)
    assert (np.isfinite(expected) == np.isfinite(found)).mean() > 0.999
    assert both.mean() > 0.2
    close = np.isclose(found[both], expected[both], atol=1e-5)
    assert close.mean() > 0.995


def test_depth_leaves_out_what_is_behind_the_camera():
    vertices = torch.tensor([[-0.1, -0.1, 0.5], [0.1, -0.1, 0.5], [0.0, 0.1, 0.5]])
    assert np.isinf(depth_image(vertices, torch.tensor([[0, 1, 2]]), CAMERA)).all()
