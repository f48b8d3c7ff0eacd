"""Sampling of an image at the texels of a posed head, compiled: one pass over the texels."""

from dataclasses import dataclass
from functools import cache

import numpy as np

from fitme.arrays import Float32Array, Int32Array, UInt8Array
from fitme.color import bytes_to_linear
from fitme.geometry import Camera
from fitme.render.cpu.kernel import kernel

DEPTH_TOLERANCE_M = 0.003
"""Depth behind the nearest surface beyond which a texel is hidden."""
GRAZING_COSINE = 0.2
"""Cosine between normal and viewing direction below which a texel is not sampled."""
VIEW_ANGLE_POWER = 2.0
"""Exponent of the cosine in a texel's weight."""
_SMALLEST = 1e-12
"""Lower bound of lengths in denominators."""


@dataclass(frozen=True)
class SampledTexels:
    """N texels in view space, and what an image shows of them."""

    positions: Float32Array
    """(N, 3) metres."""
    normals: Float32Array
    """(N, 3) unit."""
    toward_viewer: Float32Array
    """(N, 3) unit vectors to the camera."""
    color: Float32Array
    """(N, 3) linear sRGB, bilinear; black outside the image."""
    weight: Float32Array
    """(N,) in [0, 1]; 0 where hidden, oblique or outside the image."""


def sample_texels(
    corners: Int32Array,  # (N, 3)
    barycentric: Float32Array,  # (N, 3)
    vertices: Float32Array,  # (V, 3)
    normals: Float32Array,  # (V, 3)
    camera: Camera,
    surface: Float32Array,  # (H, W)
    image: UInt8Array,  # (H, W, 3)
    usable: Float32Array,  # (H, W)
) -> SampledTexels:
    """Sample an sRGB image at texels with the given corners and barycentric coordinates.

    :param vertices: of the posed head in view space, metres; normals: unit, in view space.
    :param surface: depth of the nearest surface along the optical axis, metres, compared at the nearest pixel.
    :param usable: weights in [0, 1] of pixels, which are multiplied by the texels'.
    """
    count = len(corners)
    positions, unit, toward, color = (np.empty((count, 3), np.float32) for _ in range(4))
    weight = np.empty(count, np.float32)
    _sample(
        corners, barycentric, np.ascontiguousarray(vertices), np.ascontiguousarray(normals),
        np.array([camera.focal_px, camera.center_x_px, camera.center_y_px], np.float32),
        np.ascontiguousarray(surface, np.float32), np.ascontiguousarray(image),
        np.ascontiguousarray(usable, np.float32), _linear_of_byte(), positions, unit, toward, color, weight,
    )  # fmt: skip
    return SampledTexels(positions, unit, toward, color, weight)


@cache
def _linear_of_byte() -> Float32Array:
    """(256,) linear light of 8-bit sRGB values."""
    return bytes_to_linear(np.arange(256, dtype=np.uint8))


@kernel
def _sample(
    corners: Int32Array,
    barycentric: Float32Array,
    vertices: Float32Array,
    vertex_normals: Float32Array,
    camera: Float32Array,
    surface: Float32Array,
    image: UInt8Array,
    usable: Float32Array,
    linear: Float32Array,
    positions: Float32Array,
    normals: Float32Array,
    toward: Float32Array,
    color: Float32Array,
    weight: Float32Array,
) -> None:
    """Write what `SampledTexels` holds into the last five arrays; `camera` is focal length and principal point."""
    height, width = surface.shape
    smallest, zero, one, half = np.float32(_SMALLEST), np.float32(0.0), np.float32(1.0), np.float32(0.5)
    grazing, tolerance = np.float32(GRAZING_COSINE), np.float32(DEPTH_TOLERANCE_M)
    for texel in range(corners.shape[0]):
        i, j, k = corners[texel, 0], corners[texel, 1], corners[texel, 2]
        a, b, c = barycentric[texel, 0], barycentric[texel, 1], barycentric[texel, 2]
        x = a * vertices[i, 0] + b * vertices[j, 0] + c * vertices[k, 0]
        y = a * vertices[i, 1] + b * vertices[j, 1] + c * vertices[k, 1]
        z = a * vertices[i, 2] + b * vertices[j, 2] + c * vertices[k, 2]
        nx = a * vertex_normals[i, 0] + b * vertex_normals[j, 0] + c * vertex_normals[k, 0]
        ny = a * vertex_normals[i, 1] + b * vertex_normals[j, 1] + c * vertex_normals[k, 1]
        nz = a * vertex_normals[i, 2] + b * vertex_normals[j, 2] + c * vertex_normals[k, 2]
        length = max(np.sqrt(nx * nx + ny * ny + nz * nz), smallest)
        nx, ny, nz = nx / length, ny / length, nz / length
        distance = max(np.sqrt(x * x + y * y + z * z), smallest)
        tx, ty, tz = -x / distance, -y / distance, -z / distance
        positions[texel, 0], positions[texel, 1], positions[texel, 2] = x, y, z
        normals[texel, 0], normals[texel, 1], normals[texel, 2] = nx, ny, nz
        toward[texel, 0], toward[texel, 1], toward[texel, 2] = tx, ty, tz
        # Pixel coordinates that count from the centre of the first pixel.
        depth = max(-z, smallest)
        column = camera[0] * x / depth + camera[1] - half
        row = -camera[0] * y / depth + camera[2] - half
        color[texel, 0] = color[texel, 1] = color[texel, 2] = weight[texel] = zero
        if not (-one < column < width and -one < row < height):
            continue
        left, top = int(np.floor(column)), int(np.floor(row))
        right, below = column - np.float32(left), row - np.float32(top)
        reached = zero
        for down in range(2):
            for across in range(2):
                r, q = top + down, left + across
                if r < 0 or r >= height or q < 0 or q >= width:
                    continue
                share = (right if across == 1 else one - right) * (below if down == 1 else one - below)
                reached += share * usable[r, q]
                for channel in range(3):
                    color[texel, channel] += share * linear[image[r, q, channel]]
        # Seen are texels that face the camera, with nothing nearer at their pixel.
        r, q = int(np.rint(row)), int(np.rint(column))
        if r < 0 or r >= height or q < 0 or q >= width or -z > surface[r, q] + tolerance:
            continue
        facing = (nx * tx + ny * ty + nz * tz - grazing) / (one - grazing)
        weight[texel] = min(max(facing, zero), one) ** VIEW_ANGLE_POWER * reached
