"""Quantisation of network weights for safetensors files.

Vectors are stored in float16, and what the mapping network compares generative factors with in float32. Maps, matrices
and convolution kernels, most of the size, are stored in 8 bits with a scale for each map, row or output channel: the
error is at most half a percent of their greatest value.
"""

from collections.abc import Mapping

import torch
from torch import Tensor

EXACT_TENSORS = ("mapping.knots", "mapping.pairs", "mapping.feature_mean", "mapping.feature_scale")
"""Kept in float32."""
HALF_TENSORS = ("mapping.factor", "mapping.direct")
"""Names of matrices, or how they begin, that are kept in float16: all that z goes through."""
_SCALE_SUFFIX = ".scale"
_LARGEST_BYTE = 127
_MAP_SIDE = 4
"""Texels a side from which a tensor is a stack of maps, not of kernels."""


def packed(
    tensors: Mapping[str, Tensor], *, in_bytes: tuple[str, ...] = ("",), exact: bool = False
) -> dict[str, Tensor]:
    """Tensors as they are stored; those whose names begin with one of `in_bytes` may take 8 bits, others take 16. With
    `exact` all are kept as they are."""
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
    """A tensor (N, ...) as int8 and the scale that brings it back, float32: one a map (N, ..., 1, 1) where it holds
    maps (N, ..., H, W), one for each leading index (N, 1, ..., 1) where it holds kernels or is a matrix."""
    are_maps = tensor.ndim > 2 and tensor.shape[-1] >= _MAP_SIDE
    axes = (-2, -1) if are_maps else tuple(range(1, tensor.ndim))
    largest = tensor.abs().amax(axes, keepdim=True)
    scale = (largest / _LARGEST_BYTE).clamp(min=torch.finfo(torch.float32).tiny)
    return (tensor / scale).round().to(torch.int8), scale.float()
