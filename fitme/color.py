"""Conversion between linear light and sRGB-encoded values (IEC 61966-2-1).

Inside the package all colour is linear, with sRGB primaries. Encoded values occur only at its edges: images read and
written, display textures, frames on the network.
"""

from typing import cast

import numpy as np
import torch
from torch import Tensor

from fitme.arrays import Float32Array, UInt8Array

LINEAR_KNEE = 0.0031308
"""Linear value below which the sRGB curve is a straight line."""
ENCODED_KNEE = 0.04045
"""Encoded value of `LINEAR_KNEE`."""
LUMINANCE = np.array([0.2126, 0.7152, 0.0722], np.float32)
"""Relative luminance of linear red, green and blue (ITU-R BT.709)."""


def linear_to_srgb(linear: Tensor) -> Tensor:
    """sRGB-encoded values of linear light of any shape, clamped to [0, 1]; differentiable."""
    x = linear.clamp(0.0, 1.0)
    # The clamp inside the power keeps its gradient finite where the straight line is selected.
    curve = 1.055 * x.clamp(min=LINEAR_KNEE).pow(1.0 / 2.4) - 0.055
    return torch.where(x <= LINEAR_KNEE, 12.92 * x, curve)


def srgb_to_linear(encoded: Tensor) -> Tensor:
    """Linear light of sRGB-encoded values in [0, 1] of any shape; differentiable."""
    curve = ((encoded.clamp(min=ENCODED_KNEE) + 0.055) / 1.055).pow(2.4)
    return torch.where(encoded <= ENCODED_KNEE, encoded / 12.92, curve)


def _decode_table() -> Float32Array:
    codes = torch.arange(256, dtype=torch.float64) / 255.0
    return cast("Float32Array", srgb_to_linear(codes).float().numpy())


_LINEAR_OF_BYTE = _decode_table()


def bytes_to_linear(image: UInt8Array) -> Float32Array:
    """Linear light, float32 in [0, 1], of 8-bit sRGB values of any shape."""
    return _LINEAR_OF_BYTE[image]


def linear_to_bytes(linear: Float32Array) -> UInt8Array:
    """8-bit sRGB values, rounded to nearest, of linear light of any shape, clamped to [0, 1]."""
    x = np.clip(linear, 0.0, 1.0)
    curve = 1.055 * np.power(np.maximum(x, LINEAR_KNEE), 1.0 / 2.4) - 0.055
    codes: UInt8Array = np.rint(np.where(x <= LINEAR_KNEE, 12.92 * x, curve) * 255.0).astype(np.uint8)
    return codes
