"""The interface of rasterizer backends: nvdiffrast's four operations, with nvdiffrast's meaning.

After Laine et al., "Modular Primitives for High-Performance Differentiable Rendering", SIGGRAPH Asia 2020.

Conventions, for every backend: clip coordinates are OpenGL's; row 0 of an image lies at clip y = -1, column 0 at clip
x = -1; pixel centres are at half-integers; both sides of a triangle are drawn; barycentrics (u, v) blend the corners of
a triangle as u a0 + v a1 + (1 - u - v) a2; texture coordinate (0, 0) is the outer corner of the first texel of the
first row.
"""

from functools import cache
from importlib.util import find_spec
from typing import Protocol

import torch
from torch import Tensor

from fitme.errors import BackendError
from fitme.render.devices import DeviceName


class RasterizerBackend(Protocol):
    """Differentiable rasterization. Floating tensors of one call share dtype and device; triangles are int32."""

    @property
    def device(self) -> torch.device:
        """The device of the tensors that it takes and returns."""
        ...

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
    :raises BackendError: there is no CUDA device, nvdiffrast is needed and not installed or cannot be compiled, or the
        device has no backend.
    """
    kind = torch.device(device).type
    if kind == "cpu":
        from fitme.render.cpu.backend import CpuBackend

        return CpuBackend()
    if kind == "cuda":
        return _cuda_backend(torch.device(device))
    raise BackendError(f"no rasterizer for device '{device}': use 'cpu', or 'cuda' with nvdiffrast installed")


def check_device(device: DeviceName) -> None:
    """Raise BackendError if a device cannot be rendered on. Loads and compiles nothing."""
    if device == "cuda" and not torch.cuda.is_available():
        raise BackendError("--device cuda: torch finds no CUDA device here; use --device cpu")
    if device == "cuda" and find_spec("nvdiffrast") is None:
        raise BackendError(
            "--device cuda: rendering on CUDA needs nvdiffrast; install the extra 'cuda' (pip install 'fitme[cuda]'), "
            "or use --device cpu"
        )


@cache
def _cuda_backend(device: torch.device) -> RasterizerBackend:
    # One for each device: its buffers are on the device, and making them takes longer than a render.
    from fitme.render.nvdiffrast_backend import NvdiffrastBackend

    check_device("cuda")
    return NvdiffrastBackend(device)
