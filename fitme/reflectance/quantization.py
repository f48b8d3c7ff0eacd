"""Quantisation of network weights for safetensors files.

Vectors are stored in float16, quantiles and products of the mapping network in float32. Maps, matrices and convolution
kernels, most of the size, are stored in 8 bits with a scale for each map, row or output channel: the error is at most
half a percent of their greatest value.
"""

from collections.abc import Mapping

import torch
from torch import Tensor

EXACT_TENSORS = ("mapping.knots", "mapping.pairs", "mapping.feature_mean", "mapping.feature_scale")
"""Tensors stored in float32."""
HALF_TENSORS = ("mapping.factor", "mapping.direct")
"""Prefixes of the names of matrices that are stored in float16: those that are applied to z."""
_SCALE_SUFFIX = ".scale"
_LARGEST_BYTE = 127
_MAP_SIDE = 4
"""Texels a side from which a tensor is a stack of maps instead of kernels."""


def packed(
    tensors: Mapping[str, Tensor], *, in_bytes: tuple[str, ...] = ("",), exact: bool = False
) -> dict[str, Tensor]:
    """Tensors for a file: those whose names begin with one of `in_bytes` in 8 bits, others in 16; with `exact` all
    unchanged."""
    stored: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        value = tensor.detach()
        if exact:
            stored[name] = value.contiguous()
        elif name in EXACT_TENSORS:
            stored[name] = value.float().contiguous()
        elif value.ndim > 1 and name.startswith(in_bytes) and not name.startswith(HALF_TENSORS):
            stored[name], stored[name + _SCALE_SUFFIX] = quantize(value)
        else:
            stored[name] = value.half().contiguous()
    return stored


def unpacked(stored: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Inverse of `packed`: tensors in float32."""
    return {
        name: value.float() * stored[name + _SCALE_SUFFIX] if name + _SCALE_SUFFIX in stored else value.float()
        for name, value in stored.items()
        if not name.endswith(_SCALE_SUFFIX)
    }


def quantize(tensor: Tensor) -> tuple[Tensor, Tensor]:
    """int8 tensor (N, ...) and its scale, float32: (N, ..., 1, 1) for maps (N, ..., H, W), (N, 1, ..., 1) for kernels
    and matrices."""
    are_maps = tensor.ndim > 2 and tensor.shape[-1] >= _MAP_SIDE
    axes = (-2, -1) if are_maps else tuple(range(1, tensor.ndim))
    largest = tensor.abs().amax(axes, keepdim=True)
    scale = (largest / _LARGEST_BYTE).clamp(min=torch.finfo(torch.float32).tiny)
    return (tensor / scale).round().to(torch.int8), scale.float()
