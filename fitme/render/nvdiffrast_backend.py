"""The rasterizer backend for CUDA: nvdiffrast, an optional dependency under its own licence."""

from typing import cast

import torch
from torch import Tensor

from fitme.errors import BackendError


class NvdiffrastBackend:
    """Implements `RasterizerBackend` on CUDA float32 tensors.

    :raises BackendError: nvdiffrast cannot be imported.
    """

    def __init__(self, device: torch.device | str = "cuda") -> None:
        try:
            import nvdiffrast.torch as nvdiffrast
        except ImportError as error:
            raise BackendError(
                "rendering on CUDA needs nvdiffrast: install the extra 'cuda' (pip install 'fitme[cuda]'), "
                "or render on the CPU"
            ) from error
        self._nvdiffrast = nvdiffrast
        self._context = nvdiffrast.RasterizeCudaContext(device=device)

    def rasterize(self, positions: Tensor, triangles: Tensor, resolution: tuple[int, int]) -> Tensor:
        """See `RasterizerBackend.rasterize`."""
        rast, _ = self._nvdiffrast.rasterize(self._context, positions.contiguous(), triangles, list(resolution))
        return cast(Tensor, rast)

    def interpolate(self, attributes: Tensor, rast: Tensor, triangles: Tensor) -> Tensor:
        """See `RasterizerBackend.interpolate`."""
        values, _ = self._nvdiffrast.interpolate(attributes.contiguous(), rast, triangles)
        return cast(Tensor, values)

    def texture(self, texture: Tensor, uv: Tensor) -> Tensor:
        """See `RasterizerBackend.texture`."""
        sampled = self._nvdiffrast.texture(
            texture.contiguous(), uv.contiguous(), filter_mode="linear", boundary_mode="clamp"
        )
        return cast(Tensor, sampled)

    def antialias(self, color: Tensor, rast: Tensor, positions: Tensor, triangles: Tensor) -> Tensor:
        """See `RasterizerBackend.antialias`."""
        blended = self._nvdiffrast.antialias(color.contiguous(), rast, positions.contiguous(), triangles)
        return cast(Tensor, blended)
