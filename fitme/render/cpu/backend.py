"""The rasterizer backend for the CPU: numba kernels with hand-written gradients, in float32 or float64."""

import torch
from torch import Tensor

from fitme.render.cpu import antialias as cpu_antialias
from fitme.render.cpu import interpolate as cpu_interpolate
from fitme.render.cpu import rasterize as cpu_rasterize
from fitme.render.cpu import texture as cpu_texture

MAX_TRIANGLES = 2**24
"""Upper limit of triangle numbers, which a float32 channel of the raster holds exactly."""


class CpuBackend:
    """Implements `RasterizerBackend` on CPU tensors. Stateless; calls may come from several threads at once."""

    device = torch.device("cpu")

    def rasterize(self, positions: Tensor, triangles: Tensor, resolution: tuple[int, int]) -> Tensor:
        """See `RasterizerBackend.rasterize`."""
        if positions.dim() != 3 or positions.shape[-1] != 4:
            raise ValueError(f"positions must be (B, V, 4) clip coordinates, got {tuple(positions.shape)}")
        if triangles.shape[0] >= MAX_TRIANGLES:
            raise ValueError(f"at most {MAX_TRIANGLES - 1} triangles can be numbered, got {triangles.shape[0]}")
        return cpu_rasterize.rasterize(positions, triangles, resolution)

    def interpolate(self, attributes: Tensor, rast: Tensor, triangles: Tensor) -> Tensor:
        """See `RasterizerBackend.interpolate`."""
        _check_batch("attributes", attributes, rast.shape[0], 3)
        return cpu_interpolate.interpolate(attributes, rast, triangles)

    def texture(self, texture: Tensor, uv: Tensor) -> Tensor:
        """See `RasterizerBackend.texture`."""
        _check_batch("texture", texture, uv.shape[0], 4)
        return cpu_texture.texture(texture, uv)

    def antialias(self, color: Tensor, rast: Tensor, positions: Tensor, triangles: Tensor) -> Tensor:
        """See `RasterizerBackend.antialias`."""
        return cpu_antialias.antialias(color, rast, positions, triangles)


def _check_batch(name: str, tensor: Tensor, batch: int, dimensions: int) -> None:
    if tensor.dim() != dimensions or tensor.shape[0] not in (1, batch):
        raise ValueError(f"{name} must have {dimensions} dimensions and batch 1 or {batch}, got {tuple(tensor.shape)}")
