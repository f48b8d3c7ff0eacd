"""Renderer of hair over a render of the head: a shaded layer with soft edges, composited by depth and coverage."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from scipy.ndimage import gaussian_filter

from fitme.arrays import Float32Array, Int32Array, UInt8Array
from fitme.color import bytes_to_linear, linear_to_bytes
from fitme.geometry import Camera, HeadPose, rotation_matrix
from fitme.hair.envelope import envelope_triangles, envelope_uv
from fitme.hair.hair import HairSurface
from fitme.hair.shading import (
    PRIMARY_EXPONENT,
    PRIMARY_SHIFT,
    PRIMARY_STRENGTH,
    SECONDARY_EXPONENT,
    SECONDARY_SHIFT,
    SECONDARY_STRENGTH,
    WRAP,
    softened,
)
from fitme.hair.texture import TEXTURE_COLUMNS, TEXTURE_ROWS, HairTexture
from fitme.render.cpu.kernel import relaxed_kernel
from fitme.render.cpu.rasterize import rasterize_rows
from fitme.render.forward.shading import ENCODING_STEPS, SH_SCALE, sh_polynomial
from fitme.render.light import Light

RIM_FROM, RIM_TO = 0.0, 0.10
"""Cosines between normal and viewing direction at which the envelope's edge begins to cover, and covers fully."""
STRAND_CONTRAST = 0.1
"""Amplitude of the strands' pattern in the edge's cosine: how ragged outlines are."""
STRAND_TEXELS = (24.0, 0.7)
"""Standard deviations of the strands' pattern along and across the strands, texels."""
DEPTH_TOLERANCE = 2e-4
"""Difference of z / w up to which hair that lies on the skin is before it."""

_ONE, _ZERO, _HALF = np.float32(1.0), np.float32(0.0), np.float32(0.5)


@dataclass(frozen=True)
class HairLayerInput:
    """A render of the head, below the hair."""

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

    def set_hair(self, surface: HairSurface, texture: HairTexture) -> None:
        """Draw this hair from the next render on."""
        self._surface = surface
        self._texels = np.concatenate([texture.albedo, texture.coverage], -1).astype(np.float32)

    def render_over(
        self, below: HairLayerInput, pose: HeadPose, camera: Camera, light: Light
    ) -> tuple[UInt8Array, UInt8Array]:
        """Image (H, W, 3) sRGB and coverage (H, W) of the head with its hair; the head alone while there is no hair.

        :param light: batch of 1.
        """
        if self._surface is None or self._texels is None:
            return below.image, below.mask
        rotation = rotation_matrix(torch.from_numpy(pose.rotation).double()).float().numpy()
        view = self._surface.vertices @ rotation.T + pose.translation
        normals, strands = self._surface.normals @ rotation.T, self._surface.strands @ rotation.T
        clip = camera.clip(torch.from_numpy(view)).contiguous().numpy()
        sh = softened(light.sh[0].numpy()) * SH_SCALE[:, None]
        directions, colors = (
            np.ascontiguousarray(part[0].numpy(), np.float32) for part in (light.directions, light.colors)
        )
        image, mask = below.image.copy(), below.mask.copy()
        triangles, uv = _front(envelope_triangles(), view), envelope_uv().reshape(-1, 2)

        def draw(begin: int, end: int) -> None:
            self._rast[begin:end] = 0.0
            rasterize_rows(clip, triangles, self._rast, begin, end)
            _shade_rows(
                self._rast, below.depth, triangles, view, normals, strands, uv, self._texels, _strand_pattern(),
                np.ascontiguousarray(sh, np.float32), directions, colors, self._decoding, self._encoding, image, mask,
                begin, end,
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


def _front(triangles: Int32Array, view: Float32Array) -> Int32Array:
    """Those triangles (F, 3) that face the camera."""
    corners = view[triangles]
    normal = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    return np.ascontiguousarray(triangles[(normal * corners[:, 0]).sum(-1) < 0.0])


@lru_cache(maxsize=1)
def _strand_pattern() -> Float32Array:
    """(T, U) zero-mean pattern of strands that run from the crown down, standard deviation 1."""
    noise = np.random.default_rng(0).standard_normal((TEXTURE_ROWS, TEXTURE_COLUMNS))
    pattern = gaussian_filter(noise, STRAND_TEXELS, mode=("nearest", "wrap"))
    return (pattern / pattern.std()).astype(np.float32)


@relaxed_kernel
def _shade_rows(
    rast: Float32Array,
    head: Float32Array,
    triangles: Int32Array,
    view: Float32Array,
    normals: Float32Array,
    strands: Float32Array,
    uv: Float32Array,
    texels: Float32Array,
    pattern: Float32Array,
    sh: Float32Array,
    directions: Float32Array,
    colors: Float32Array,
    decoding: Float32Array,
    encoding: UInt8Array,
    image: UInt8Array,
    mask: UInt8Array,
    row_begin: int,
    row_end: int,
) -> None:
    """Composite the hair of rows [row_begin, row_end) over `image` and `mask`.

    :param rast: (H, W, 4) of the envelope; head: (H, W, 4) of the head.
    :param view, normals, strands: (N, 3) in the view frame; uv: (N, 2).
    :param texels: (T, U, 4) albedo and coverage; pattern: (T, U).
    :param sh: (9, 3) softened coefficients times `SH_SCALE`; directions, colors: (L, 3).
    :param decoding: (256,) linear value of each code; encoding: (`ENCODING_STEPS`,) code of each linear value.
    """
    height, width = texels.shape[0], texels.shape[1]
    last_code = np.float32(encoding.shape[0] - 1)
    for row in range(row_begin, row_end):
        for column in range(rast.shape[1]):
            face = int(rast[row, column, 3]) - 1
            if face < 0:
                continue
            if head[row, column, 3] > _ZERO and head[row, column, 2] < rast[row, column, 2] - np.float32(
                DEPTH_TOLERANCE
            ):
                continue
            b0, b1 = rast[row, column, 0], rast[row, column, 1]
            b2 = _ONE - b0 - b1
            i0, i1, i2 = triangles[face, 0], triangles[face, 1], triangles[face, 2]
            u = (b0 * uv[i0, 0] + b1 * uv[i1, 0] + b2 * uv[i2, 0]) * np.float32(width) - _HALF
            v = (b0 * uv[i0, 1] + b1 * uv[i1, 1] + b2 * uv[i2, 1]) * np.float32(height) - _HALF
            v = min(max(v, _ZERO), np.float32(height - 1))
            c0 = int(np.floor(u))
            fx = u - np.float32(c0)
            c1 = (c0 + 1) % width
            c0 = c0 % width
            r0 = min(int(v), height - 2)
            fy = v - np.float32(r0)
            w00, w01, w10, w11 = (_ONE - fy) * (_ONE - fx), (_ONE - fy) * fx, fy * (_ONE - fx), fy * fx
            cover = (
                w00 * texels[r0, c0, 3]
                + w01 * texels[r0, c1, 3]
                + w10 * texels[r0 + 1, c0, 3]
                + w11 * texels[r0 + 1, c1, 3]
            )
            if cover <= _ZERO:
                continue
            nx = b0 * normals[i0, 0] + b1 * normals[i1, 0] + b2 * normals[i2, 0]
            ny = b0 * normals[i0, 1] + b1 * normals[i1, 1] + b2 * normals[i2, 1]
            nz = b0 * normals[i0, 2] + b1 * normals[i1, 2] + b2 * normals[i2, 2]
            scale = _ONE / np.sqrt(max(nx * nx + ny * ny + nz * nz, np.float32(1e-12)))
            nx, ny, nz = nx * scale, ny * scale, nz * scale
            vx = -(b0 * view[i0, 0] + b1 * view[i1, 0] + b2 * view[i2, 0])
            vy = -(b0 * view[i0, 1] + b1 * view[i1, 1] + b2 * view[i2, 1])
            vz = -(b0 * view[i0, 2] + b1 * view[i1, 2] + b2 * view[i2, 2])
            scale = _ONE / np.sqrt(vx * vx + vy * vy + vz * vz)
            vx, vy, vz = vx * scale, vy * scale, vz * scale
            # The envelope ends softly and raggedly where it is seen edge-on, as strands do.
            ragged = pattern[r0, c0]
            edge = (
                nx * vx
                + ny * vy
                + nz * vz
                + np.float32(STRAND_CONTRAST) * ragged * np.float32(0.3)
                - np.float32(RIM_FROM)
            ) / np.float32(RIM_TO - RIM_FROM)
            edge = min(max(edge, _ZERO), _ONE)
            cover *= edge * edge * (np.float32(3.0) - np.float32(2.0) * edge)
            if cover <= np.float32(0.002):
                continue
            sx = b0 * strands[i0, 0] + b1 * strands[i1, 0] + b2 * strands[i2, 0]
            sy = b0 * strands[i0, 1] + b1 * strands[i1, 1] + b2 * strands[i2, 1]
            sz = b0 * strands[i0, 2] + b1 * strands[i1, 2] + b2 * strands[i2, 2]
            scale = _ONE / np.sqrt(max(sx * sx + sy * sy + sz * sz, np.float32(1e-12)))
            sx, sy, sz = sx * scale, sy * scale, sz * scale
            d0, d1, d2 = (
                sh_polynomial(sh, 0, nx, ny, nz),
                sh_polynomial(sh, 1, nx, ny, nz),
                sh_polynomial(sh, 2, nx, ny, nz),
            )
            p0, p1, p2 = _ZERO, _ZERO, _ZERO
            for index in range(directions.shape[0]):
                lx, ly, lz = directions[index, 0], directions[index, 1], directions[index, 2]
                facing = nx * lx + ny * ly + nz * lz
                reach = min(max((facing + np.float32(WRAP)) / np.float32(1.0 + WRAP), _ZERO), _ONE)
                if reach == _ZERO:
                    continue
                along = sx * lx + sy * ly + sz * lz
                sine = np.sqrt(max(_ONE - along * along, _ZERO))
                hx, hy, hz = lx + vx, ly + vy, lz + vz
                scale = _ONE / np.sqrt(max(hx * hx + hy * hy + hz * hz, np.float32(1e-12)))
                half = (sx * hx + sy * hy + sz * hz) * scale
                first = half + np.float32(PRIMARY_SHIFT) + np.float32(0.05) * ragged
                second = half + np.float32(SECONDARY_SHIFT) + np.float32(0.05) * ragged
                glint = np.float32(PRIMARY_STRENGTH) * max(_ONE - first * first, _ZERO) ** np.float32(
                    PRIMARY_EXPONENT / 2.0
                )
                glow = np.float32(SECONDARY_STRENGTH) * max(_ONE - second * second, _ZERO) ** np.float32(
                    SECONDARY_EXPONENT / 2.0
                )
                d0 += reach * colors[index, 0] * (sine * reach + glow)
                d1 += reach * colors[index, 1] * (sine * reach + glow)
                d2 += reach * colors[index, 2] * (sine * reach + glow)
                p0 += reach * colors[index, 0] * glint
                p1 += reach * colors[index, 1] * glint
                p2 += reach * colors[index, 2] * glint
            for channel in range(3):
                albedo = (
                    w00 * texels[r0, c0, channel] + w01 * texels[r0, c1, channel]
                    + w10 * texels[r0 + 1, c0, channel] + w11 * texels[r0 + 1, c1, channel]
                )  # fmt: skip
                diffuse = d0 if channel == 0 else (d1 if channel == 1 else d2)
                shine = p0 if channel == 0 else (p1 if channel == 1 else p2)
                level = cover * (albedo * diffuse + shine) + (_ONE - cover) * decoding[image[row, column, channel]]
                image[row, column, channel] = encoding[int(min(max(level, _ZERO), _ONE) * last_code + _HALF)]
            left = (_ONE - cover) * np.float32(255 - mask[row, column])
            mask[row, column] = np.uint8(np.float32(255.0) - left + _HALF)
