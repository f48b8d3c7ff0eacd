"""Renderer of glasses over a render of the head, with several samples a pixel: frames are as thin as pixels."""

import numpy as np
import torch

from fitme.arrays import Float32Array, Int32Array, UInt8Array
from fitme.color import bytes_to_linear, linear_to_bytes
from fitme.geometry import Camera, HeadPose, rotation_matrix
from fitme.glasses.glasses import Glasses
from fitme.glasses.mesh import GlassesMesh, frame_mesh, lens_mesh
from fitme.parts.layers import ENCODING_STEPS, Rendered
from fitme.render.cpu.kernel import relaxed_kernel
from fitme.render.cpu.rasterize import pixel_window, rasterize_rows
from fitme.render.light import Light
from fitme.render.shading import diffuse_shading, specular_shading

SAMPLES = 3
"""Samples along a side of a pixel."""
FRAME_SHININESS, FRAME_SPECULAR = 80.0, 0.8
"""Blinn-Phong exponent and specular albedo of frames: polished plastic, or metal with its colour in the albedo."""
LENS_ALBEDO, LENS_SPECULAR = 0.02, 1.0
"""Albedo, linear, and specular albedo of tinted lenses."""


class GlassesRenderer:
    """Draws one person's glasses at any size of render; serves one thread at a time."""

    def __init__(self) -> None:
        self._meshes: list[tuple[GlassesMesh, Float32Array, float]] = []
        self._encoding = linear_to_bytes(np.linspace(0.0, 1.0, ENCODING_STEPS, dtype=np.float32))
        self._decoding = bytes_to_linear(np.arange(256, dtype=np.uint8))

    def set_glasses(self, glasses: Glasses | None) -> None:
        """Draw these glasses from the next render on; none if None."""
        self._meshes = []
        if glasses is None:
            return
        frame = frame_mesh(glasses)
        opacity = float(glasses.lens_opacity[0])
        if opacity > 0.0:
            lenses = lens_mesh(glasses)
            self._meshes.append((lenses, np.full((len(lenses.vertices), 3), LENS_ALBEDO, np.float32), opacity))
        self._meshes.append((frame, glasses.albedo[frame.columns], 1.0))

    def draw_over(self, below: Rendered, pose: HeadPose, camera: Camera, light: Light) -> None:
        """Draw the glasses over a render, in place: image, mask, and the depth where the frame covers a pixel's middle.

        :param light: batch of 1.
        """
        rotation = rotation_matrix(torch.from_numpy(pose.rotation).double()).float()
        for mesh, albedo, opacity in self._meshes:
            view = torch.from_numpy(mesh.vertices) @ rotation.T + torch.from_numpy(pose.translation).float()
            specular = FRAME_SPECULAR if opacity == 1.0 else LENS_SPECULAR
            color = _lit(view, torch.from_numpy(mesh.normals) @ rotation.T, torch.from_numpy(albedo), specular, light)
            self._draw(below, camera.clip(view).contiguous().numpy(), mesh.triangles, color, opacity)

    def _draw(
        self, below: Rendered, clip: Float32Array, triangles: Int32Array, color: Float32Array, opacity: float
    ) -> None:
        height, width = below.mask.shape
        if (window := pixel_window(clip, width, height)) is None:
            return
        place, (left, top, right, bottom) = window
        # The window round the glasses alone, `SAMPLES` times as fine.
        columns, rows = right - left, bottom - top
        fine = clip.copy()
        fine[:, 0] = clip[:, 3] * ((2.0 * place[:, 0] - (left + right)) / columns)
        fine[:, 1] = clip[:, 3] * ((2.0 * place[:, 1] - (top + bottom)) / rows)
        rast = np.zeros((rows * SAMPLES, columns * SAMPLES, 4), np.float32)
        rasterize_rows(fine.astype(np.float32), triangles, rast, 0, len(rast))
        _composite(
            rast, below.rast, triangles, color, opacity, self._decoding, self._encoding, below.image,
            below.mask, left, top,
        )  # fmt: skip


def _lit(
    view: torch.Tensor, normals: torch.Tensor, albedo: torch.Tensor, specular: float, light: Light
) -> Float32Array:
    """(N, 3) light that vertices of view-space positions and normals (N, 3) reflect towards the viewer, linear."""
    to_viewer = torch.nn.functional.normalize(-view, dim=-1)[None]
    shading = albedo * diffuse_shading(normals[None], light)[0]
    shading = shading + specular * specular_shading(normals[None], to_viewer, light, FRAME_SHININESS)[0]
    return np.ascontiguousarray(shading.numpy(), np.float32)


@relaxed_kernel
def _composite(
    rast: Float32Array, below: Float32Array, triangles: Int32Array, colors: Float32Array, opacity: float,
    decoding: Float32Array, encoding: UInt8Array, image: UInt8Array, mask: UInt8Array, left: int, top: int,
) -> None:  # fmt: skip
    """Blend vertex colours (N, 3) over an image by the share of the samples in which they are in front.

    :param rast: (h `SAMPLES`, w `SAMPLES`, 4) of the window whose corner is `left`, `top`.
    :param below: (H, W, 4) of what lies under it; receives the depth of pixels that are mostly covered.
    """
    last = len(encoding) - 1
    rows, columns = rast.shape[0] // SAMPLES, rast.shape[1] // SAMPLES
    share_of_one = 1.0 / (SAMPLES * SAMPLES)
    for row in range(rows):
        for column in range(columns):
            y, x = top + row, left + column
            red, green, blue, count, nearest = 0.0, 0.0, 0.0, 0, 2.0
            for sample in range(SAMPLES * SAMPLES):
                r, c = row * SAMPLES + sample // SAMPLES, column * SAMPLES + sample % SAMPLES
                face = int(rast[r, c, 3]) - 1
                if face < 0 or (below[y, x, 3] > 0 and below[y, x, 2] < rast[r, c, 2]):
                    continue
                b0, b1 = rast[r, c, 0], rast[r, c, 1]
                b2 = 1.0 - b0 - b1
                i0, i1, i2 = triangles[face, 0], triangles[face, 1], triangles[face, 2]
                red += b0 * colors[i0, 0] + b1 * colors[i1, 0] + b2 * colors[i2, 0]
                green += b0 * colors[i0, 1] + b1 * colors[i1, 1] + b2 * colors[i2, 1]
                blue += b0 * colors[i0, 2] + b1 * colors[i1, 2] + b2 * colors[i2, 2]
                count += 1
                nearest = min(nearest, rast[r, c, 2])
            if count == 0:
                continue
            alpha = opacity * share_of_one
            kept = 1.0 - alpha * count
            for channel in range(3):
                added = (red, green, blue)[channel]
                level = kept * decoding[image[y, x, channel]] + alpha * added
                image[y, x, channel] = encoding[int(min(max(level, 0.0), 1.0) * last + 0.5)]
            mask[y, x] = max(mask[y, x], int(255.0 * alpha * count + 0.5))
            if opacity == 1.0 and 2 * count > SAMPLES * SAMPLES:
                below[y, x, 2] = nearest
                below[y, x, 3] = max(below[y, x, 3], 1.0)
