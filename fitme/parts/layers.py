"""Layers with coverage over a render of the head: lashes, thinner than a pixel."""

from dataclasses import dataclass

import cv2
import numpy as np
import torch

from fitme.arrays import Float32Array, Int32Array, UInt8Array
from fitme.color import bytes_to_linear, linear_to_bytes
from fitme.geometry import Camera, HeadPose, rotation_matrix
from fitme.parts.head_parts import HeadPart, HeadParts
from fitme.parts.textures import LASH_ALBEDO
from fitme.render.cpu.kernel import relaxed_kernel
from fitme.render.cpu.rasterize import pixel_window, rasterize_rows
from fitme.render.light import Light
from fitme.render.reflection import SH_BAND_0

TOWARDS_CAMERA_M = 0.0012
"""Distance by which layers are drawn nearer to the camera, so that roots do not sink into lids."""
ENCODING_STEPS = 16384
"""Entries of the table of the sRGB curve."""


@dataclass(frozen=True, eq=False)
class Rendered:
    """Render that layers are drawn over, in place."""

    image: UInt8Array
    """(H, W, 3) sRGB."""
    mask: UInt8Array
    """(H, W) coverage, 255 where full."""
    rast: Float32Array
    """(H, W, 4) as `RasterizerBackend.rasterize`."""


class LayerRenderer:
    """Draws the layers of one set of parts at one size of render. Holds buffers: one instance serves one thread.

    :param resolution: (H, W) pixels.
    """

    def __init__(self, parts: HeadParts, resolution: tuple[int, int]) -> None:
        self._layers = parts.layers
        self._rast = np.zeros((*resolution, 4), np.float32)
        self._encoding = linear_to_bytes(np.linspace(0.0, 1.0, ENCODING_STEPS, dtype=np.float32))
        self._decoding = bytes_to_linear(np.arange(256, dtype=np.uint8))
        # Coverage at halved sizes: hairs are far below a pixel, and must not flicker.
        self._coverage = [parts.lash_texture.astype(np.float32) / np.float32(255.0)]
        while min(self._coverage[-1].shape) > 4:
            height, width = self._coverage[-1].shape
            smaller = cv2.resize(self._coverage[-1], (width // 2, height // 2), interpolation=cv2.INTER_AREA)
            self._coverage.append(np.asarray(smaller, np.float32))

    def draw_over(self, below: Rendered, head: Float32Array, pose: HeadPose, camera: Camera, light: Light) -> None:
        """Draw the layers of a posed head (V, 3) over its render.

        :param light: batch of 1.
        """
        rotation = rotation_matrix(torch.from_numpy(pose.rotation).double()).float().numpy()
        directional = np.maximum(light.directions[0].numpy() @ [0.0, 0.0, 1.0], 0.0) @ light.colors[0].numpy()
        irradiance = np.maximum(light.sh[0, 0].numpy() * SH_BAND_0 + directional, 0.0)
        color = (np.array(LASH_ALBEDO) * irradiance).astype(np.float32)
        for part in self._layers:
            view = part.binding.apply(head) @ rotation.T + pose.translation
            view *= 1.0 - TOWARDS_CAMERA_M / np.linalg.norm(view, axis=1, keepdims=True)
            self._draw(below, part, view.astype(np.float32), camera, color)

    def _draw(self, below: Rendered, part: HeadPart, view: Float32Array, camera: Camera, color: Float32Array) -> None:
        clip = camera.clip(torch.from_numpy(view)).contiguous().numpy()
        height, width = below.mask.shape
        if (window := pixel_window(clip, width, height)) is None:
            return
        place, (left, top, right, bottom) = window
        across = max(float(np.ptp(place[:, 0])), 1.0)
        level = int(np.clip(np.rint(np.log2(self._coverage[0].shape[1] / across)), 0, len(self._coverage) - 1))
        self._rast[top:bottom] = 0.0
        rasterize_rows(clip, part.triangles, self._rast, top, bottom)
        _composite(
            self._rast, below.rast, part.uv_triangles, part.uv, self._coverage[level], color, self._decoding,
            self._encoding, below.image, below.mask, np.array([left, top, right, bottom], np.int32),
        )  # fmt: skip


@relaxed_kernel
def _composite(
    rast: Float32Array, below: Float32Array, uv_triangles: Int32Array, uv: Float32Array, coverage: Float32Array,
    color: Float32Array, decoding: Float32Array, encoding: UInt8Array, image: UInt8Array, mask: UInt8Array,
    window: Int32Array,
) -> None:  # fmt: skip
    """Blend a colour over an image where a layer is in front, by its bilinear coverage.

    :param rast: (H, W, 4) of the layer; below: of what lies under it.
    :param window: left, top, right, bottom.
    """
    rows, columns = coverage.shape
    last = len(encoding) - 1
    for row in range(window[1], window[3]):
        for column in range(window[0], window[2]):
            face = int(rast[row, column, 3]) - 1
            if face < 0 or (below[row, column, 3] > 0 and below[row, column, 2] < rast[row, column, 2]):
                continue
            b0, b1 = rast[row, column, 0], rast[row, column, 1]
            b2 = 1.0 - b0 - b1
            i0, i1, i2 = uv_triangles[face, 0], uv_triangles[face, 1], uv_triangles[face, 2]
            x = (b0 * uv[i0, 0] + b1 * uv[i1, 0] + b2 * uv[i2, 0]) * columns - 0.5
            y = (b0 * uv[i0, 1] + b1 * uv[i1, 1] + b2 * uv[i2, 1]) * rows - 0.5
            x, y = min(max(x, 0.0), columns - 1.001), min(max(y, 0.0), rows - 1.001)
            c, r = int(x), int(y)
            sx, sy = x - c, y - r
            alpha = (1.0 - sy) * ((1.0 - sx) * coverage[r, c] + sx * coverage[r, c + 1]) + sy * (
                (1.0 - sx) * coverage[r + 1, c] + sx * coverage[r + 1, c + 1]
            )
            for channel in range(3):
                under = decoding[image[row, column, channel]]
                level = under + alpha * (color[channel] - under)
                image[row, column, channel] = encoding[int(min(max(level, 0.0), 1.0) * last + 0.5)]
            mask[row, column] = max(mask[row, column], int(255.0 * alpha + 0.5))
