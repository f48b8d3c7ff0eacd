"""The interface of rasterizer backends: nvdiffrast's four operations, with nvdiffrast's meaning.

After Laine et al., "Modular Primitives for High-Performance Differentiable Rendering", SIGGRAPH Asia 2020.

Conventions, for every backend: clip coordinates are OpenGL's; row 0 of an image lies at clip y = -1, column 0 at clip
x = -1; pixel centres are at half-integers; both sides of a triangle are drawn; barycentrics (u, v) blend the corners of
a triangle as u a0 + v a1 + (1 - u - v) a2; texture coordinate (0, 0) is the outer corner of the first texel of the
first row.
"""

from typing import Protocol

import torch
from torch import Tensor


class RasterizerBackend(Protocol):
    """Differentiable rasterization. Floating tensors of one call share dtype and device; triangles are int32."""

    def rasterize(
        self,
        positions: Tensor,  # (B, V, 4)
        triangles: Tensor,  # (F, 3)
        resolution: tuple[int, int],
    ) -> Tensor:
        """Find the nearest triangle of each pixel.

        :param positions: (B, V, 4) clip-space vertices.
        :param triangles: (F, 3) int32 vertex indices.
        :param resolution: (H, W) pixels.
        :returns: (B, H, W, 4): u, v (perspective-correct), z/w, triangle index + 1; zeros where no triangle covers the
            pixel. Gradients of u and v reach `positions`; z/w and the index carry none.
        """
        ...

    def interpolate(
        self,
        attributes: Tensor,  # (B|1, V, C)
        rast: Tensor,  # (B, H, W, 4)
        triangles: Tensor,  # (F, 3)
    ) -> Tensor:
        """Interpolate vertex attributes: (B, H, W, C), zero in uncovered pixels. Differentiable in attributes and rast.

        `triangles` may index another vertex list than the one rasterized (texture coordinates with seams), face by
        face.
        """
        ...

    def texture(
        self,
        texture: Tensor,  # (B|1, Ht, Wt, C)
        uv: Tensor,  # (B, H, W, 2)
    ) -> Tensor:
        """Sample a texture bilinearly, clamped at its border: (B, H, W, C). Differentiable in texture and uv."""
        ...

    def antialias(
        self,
        color: Tensor,  # (B, H, W, C)
        rast: Tensor,  # (B, H, W, 4)
        positions: Tensor,  # (B, V, 4)
        triangles: Tensor,  # (F, 3)
    ) -> Tensor:
        """Blend colours across silhouette edges by their sub-pixel position: (B, H, W, C).

        This gives visibility a gradient: differentiable in color and positions.
        """
        ...


def select_backend(device: torch.device | str) -> RasterizerBackend:
    """Choose the backend for tensors on a device: numba kernels for the CPU, nvdiffrast for CUDA.

    :param device: a torch device, or one of `fitme.render.devices.DeviceName`.
    :raises BackendError: nvdiffrast is needed and not installed, or the device has no backend.
    """
    from fitme.errors import BackendError

    kind = torch.device(device).type
    if kind == "cpu":
        from fitme.render.cpu.backend import CpuBackend

        return CpuBackend()
    if kind == "cuda":
        from fitme.render.nvdiffrast_backend import NvdiffrastBackend

        return NvdiffrastBackend()
    raise BackendError(f"no rasterizer for device '{device}': use 'cpu', or 'cuda' with nvdiffrast installed")
