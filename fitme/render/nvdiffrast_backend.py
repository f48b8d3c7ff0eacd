"""The rasterizer backend for CUDA: nvdiffrast, an optional dependency under its own licence."""

from typing import Any, cast

import torch
from torch import Tensor

from fitme.errors import BackendError


class NvdiffrastBackend:
    """Implements `RasterizerBackend` on CUDA float32 tensors, for one thread at a time.

    The first one of an installation compiles nvdiffrast's kernels, which takes a minute.
    """

    def __init__(self, device: torch.device | str = "cuda") -> None:
        """
        :param device: that of all tensors given later.
        :raises BackendError: nvdiffrast cannot be imported, or its kernels cannot be compiled.
        """
        try:
            import nvdiffrast.torch as nvdiffrast
        except ImportError as error:
            raise BackendError(
                "rendering on CUDA needs nvdiffrast: install the extra 'cuda' (pip install 'fitme[cuda]'), "
                "or render on the CPU"
            ) from error
        self.device = torch.device(device)
        self._nvdiffrast = nvdiffrast
        try:
            self._context = nvdiffrast.RasterizeCudaContext(device=device)
        except (OSError, RuntimeError) as error:
            raise BackendError(
                f"nvdiffrast's kernels cannot be compiled: {error}. They need CUDA's compiler nvcc, of the version of "
                "torch's CUDA, and ninja"
            ) from error
        self._topology: tuple[Tensor, Any] | None = None

    def rasterize(self, positions: Tensor, triangles: Tensor, resolution: tuple[int, int]) -> Tensor:
        """See `RasterizerBackend.rasterize`."""
        rast, _ = self._nvdiffrast.rasterize(
            self._context, positions.contiguous(), triangles.contiguous(), list(resolution), grad_db=False
        )
        return cast(Tensor, rast)

    def interpolate(self, attributes: Tensor, rast: Tensor, triangles: Tensor) -> Tensor:
        """See `RasterizerBackend.interpolate`."""
        values, _ = self._nvdiffrast.interpolate(attributes.contiguous(), rast.contiguous(), triangles.contiguous())
        return cast(Tensor, values)

    def texture(self, texture: Tensor, uv: Tensor) -> Tensor:
        """See `RasterizerBackend.texture`."""
        sampled = self._nvdiffrast.texture(
            texture.contiguous(), uv.contiguous(), filter_mode="linear", boundary_mode="clamp"
        )
        return cast(Tensor, sampled)

    def antialias(self, color: Tensor, rast: Tensor, positions: Tensor, triangles: Tensor) -> Tensor:
        """See `RasterizerBackend.antialias`."""
        faces = triangles.contiguous()
        blended = self._nvdiffrast.antialias(
            color.contiguous(), rast.contiguous(), positions.contiguous(), faces, topology_hash=self._topology_of(faces)
        )
        return cast(Tensor, blended)

    def _topology_of(self, triangles: Tensor) -> Any:  # noqa: ANN401 -- nvdiffrast's own type
        """Table of the edges of triangles (F, 3); that of the last triangles is kept, since heads share theirs."""
        if self._topology is None or self._topology[0] is not triangles:
            self._topology = triangles, self._nvdiffrast.antialias_construct_topology_hash(triangles)
        return self._topology[1]
