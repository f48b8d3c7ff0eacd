"""Bilinear texture sampling on the CPU, clamped at the border, with gradients."""

from typing import Any, cast

import numpy as np
import torch
from torch import Tensor

from fitme.render.cpu.kernel import kernel
from fitme.render.cpu.rasterize import Floats


@kernel
def texel_pair(coordinate: float, size: int) -> tuple[int, int, float]:
    """Texels that bracket a texture coordinate along one axis, and the weight of the second."""
    position = min(max(coordinate * size - 0.5, 0.0), size - 1.0)
    first = min(int(np.floor(position)), max(size - 2, 0))
    return first, min(first + 1, size - 1), position - first


@kernel
def _sample(texture: Floats, uv: Floats, out: Floats) -> None:
    """Write a texture (B|1, Ht, Wt, C), sampled at `uv` (B, H, W, 2), into `out` (B, H, W, C)."""
    shared = texture.shape[0] == 1
    texture_height, texture_width = texture.shape[1], texture.shape[2]
    batch, height, width, channels = out.shape
    for item in range(batch):
        t = texture[0 if shared else item]
        for row in range(height):
            for column in range(width):
                c0, c1, fx = texel_pair(uv[item, row, column, 0], texture_width)
                r0, r1, fy = texel_pair(uv[item, row, column, 1], texture_height)
                w00, w01, w10, w11 = (1.0 - fy) * (1.0 - fx), (1.0 - fy) * fx, fy * (1.0 - fx), fy * fx
                for c in range(channels):
                    out[item, row, column, c] = (
                        w00 * t[r0, c0, c] + w01 * t[r0, c1, c] + w10 * t[r1, c0, c] + w11 * t[r1, c1, c]
                    )


@kernel
def _sample_backward(texture: Floats, uv: Floats, grad_out: Floats, grad_texture: Floats, grad_uv: Floats) -> None:
    """Backward pass of `_sample`; adds to `grad_texture`, writes `grad_uv`."""
    shared = texture.shape[0] == 1
    texture_height, texture_width = texture.shape[1], texture.shape[2]
    batch, height, width, channels = grad_out.shape
    for item in range(batch):
        t = texture[0 if shared else item]
        grad_t = grad_texture[0 if shared else item]
        for row in range(height):
            for column in range(width):
                c0, c1, fx = texel_pair(uv[item, row, column, 0], texture_width)
                r0, r1, fy = texel_pair(uv[item, row, column, 1], texture_height)
                w00, w01, w10, w11 = (1.0 - fy) * (1.0 - fx), (1.0 - fy) * fx, fy * (1.0 - fx), fy * fx
                slope_x = 0.0
                slope_y = 0.0
                for c in range(channels):
                    g = grad_out[item, row, column, c]
                    if g == 0:
                        continue
                    grad_t[r0, c0, c] += w00 * g
                    grad_t[r0, c1, c] += w01 * g
                    grad_t[r1, c0, c] += w10 * g
                    grad_t[r1, c1, c] += w11 * g
                    top = t[r0, c1, c] - t[r0, c0, c]
                    bottom = t[r1, c1, c] - t[r1, c0, c]
                    slope_x += g * ((1.0 - fy) * top + fy * bottom)
                    slope_y += g * (t[r1, c0, c] - t[r0, c0, c] + fx * (bottom - top))
                # Beyond the outermost texel centres the sample is constant.
                x = uv[item, row, column, 0] * texture_width - 0.5
                y = uv[item, row, column, 1] * texture_height - 0.5
                if 0.0 <= x <= texture_width - 1.0:
                    grad_uv[item, row, column, 0] = slope_x * texture_width
                if 0.0 <= y <= texture_height - 1.0:
                    grad_uv[item, row, column, 1] = slope_y * texture_height


class _Texture(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, texture: Tensor, uv: Tensor) -> Tensor:  # noqa: ANN401
        texture, uv = texture.contiguous(), uv.contiguous()
        out = texture.new_empty(*uv.shape[:3], texture.shape[-1])
        _sample(texture.detach().numpy(), uv.detach().numpy(), out.numpy())
        ctx.save_for_backward(texture, uv)
        return out

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor]:  # noqa: ANN401
        texture, uv = ctx.saved_tensors
        grad_texture, grad_uv = torch.zeros_like(texture), torch.zeros_like(uv)
        _sample_backward(
            texture.detach().numpy(),
            uv.detach().numpy(),
            grads[0].contiguous().numpy(),
            grad_texture.numpy(),
            grad_uv.numpy(),
        )
        return grad_texture, grad_uv


def texture(texture: Tensor, uv: Tensor) -> Tensor:
    """See `RasterizerBackend.texture`."""
    return cast(Tensor, _Texture.apply(texture, uv))  # type: ignore[no-untyped-call]
