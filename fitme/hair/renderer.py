"""Renderer of hair over a render of the head: a shaded layer with soft edges, composited by depth and coverage."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch

from fitme.arrays import BoolArray, Float32Array, Int32Array, UInt8Array
from fitme.color import bytes_to_linear, linear_to_bytes
from fitme.geometry import Camera, HeadPose, rotation_matrix
from fitme.hair.compositing import LEAST_COVERAGE, composite_rows
from fitme.hair.envelope import envelope_triangles, envelope_uv
from fitme.hair.hair import HairSurface, covered_triangles
from fitme.hair.shading import softened
from fitme.hair.strands import strand_pattern
from fitme.hair.texture import HairTexture
from fitme.render.cpu.rasterize import rasterize_rows
from fitme.render.forward.shading import ENCODING_STEPS, SH_SCALE
from fitme.render.light import Light


@dataclass(frozen=True)
class HeadRender:
    """Render of a head, over which hair is drawn."""

    image: UInt8Array
    """(H, W, 3) sRGB."""
    mask: UInt8Array
    """(H, W) coverage, 255 where full."""
    depth: Float32Array
    """(H, W, 4) as `RasterizerBackend.rasterize`: z / w and whether there is anything."""


class HairRenderer:
    """Draws one person's hair at one size of render, again and again.

    Holds buffers, so one instance serves one thread at a time; rows are spread over `threads` threads of its own.

    :param resolution: (H, W) pixels.
    """

    def __init__(self, resolution: tuple[int, int], threads: int = 2) -> None:
        self._height, self._width = resolution
        self._rast = np.zeros((self._height, self._width, 4), np.float32)
        self._encoding = linear_to_bytes(np.linspace(0.0, 1.0, ENCODING_STEPS, dtype=np.float32))
        self._decoding = bytes_to_linear(np.arange(256, dtype=np.uint8))
        edges = np.linspace(0, self._height, threads + 1).round().astype(int)
        self._bands = list(zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True))
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="hair-renderer") if threads > 1 else None
        self._texels: Float32Array | None = None
        self._surface: HairSurface | None = None
        self._triangles = envelope_triangles()

    def set_hair(self, surface: HairSurface, texture: HairTexture) -> None:
        """Draw this hair from the next render on."""
        self._surface = surface
        self._triangles = covered_triangles(texture, LEAST_COVERAGE)
        self._texels = np.concatenate([texture.albedo, texture.coverage], -1).astype(np.float32)

    def render_over(
        self, below: HeadRender, pose: HeadPose, camera: Camera, light: Light
    ) -> tuple[UInt8Array, UInt8Array]:
        """Image (H, W, 3) sRGB and coverage (H, W) of the head with its hair; the head alone while there is no hair.

        :param light: batch of 1.
        """
        surface, texels = self._surface, self._texels
        if surface is None or texels is None:
            return below.image, below.mask
        rotation = rotation_matrix(torch.from_numpy(pose.rotation).double()).float().numpy()
        view = surface.vertices @ rotation.T + pose.translation
        normals, strands = surface.normals @ rotation.T, surface.strands @ rotation.T
        clip = camera.clip(torch.from_numpy(view)).contiguous().numpy()
        sh = softened(light.sh[0].detach().numpy()) * SH_SCALE[:, None]
        directions, colors = (
            np.ascontiguousarray(part[0].detach().numpy(), np.float32) for part in (light.directions, light.colors)
        )
        image, mask = below.image.copy(), below.mask.copy()
        uv = np.pad(envelope_uv(), ((0, 0), (0, 1)))
        outer = _seen_from_outside(view, self._triangles)

        def draw(begin: int, end: int) -> None:
            # The inner side first: it is seen through gaps of the outer one.
            for triangles in (self._triangles[~outer], self._triangles[outer]):
                self._rast[begin:end] = 0.0
                rasterize_rows(clip, triangles, self._rast, begin, end)
                composite_rows(
                    self._rast, below.depth, triangles, view, normals, strands, uv, texels, strand_pattern(),
                    np.ascontiguousarray(rotation[:, 1]), np.ascontiguousarray(sh, np.float32), directions, colors,
                    self._decoding, self._encoding, image, mask, begin, end,
                )  # fmt: skip

        if self._pool is None:
            draw(0, self._height)
        else:
            for done in [self._pool.submit(draw, begin, end) for begin, end in self._bands]:
                done.result()
        return image, mask

    def close(self) -> None:
        """Release the threads."""
        if self._pool is not None:
            self._pool.shutdown()


def _seen_from_outside(view: Float32Array, triangles: Int32Array) -> BoolArray:
    """(F,) which triangles of vertices (N, 3) in the view frame turn their outer side to the camera."""
    first, second, third = (view[triangles[:, corner]] for corner in range(3))
    return np.asarray((np.cross(second - first, third - first) * first).sum(1) < 0.0)
