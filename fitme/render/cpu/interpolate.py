"""Interpolation of vertex attributes on the CPU, with gradients."""

from typing import Any, cast

import torch
from torch import Tensor

from fitme.arrays import Int32Array
from fitme.render.cpu.kernel import kernel
from fitme.render.cpu.rasterize import Floats


@kernel
def _interpolate(attributes: Floats, rast: Floats, triangles: Int32Array, out: Floats) -> None:
    """Write attributes (B|1, V, C) at each covered pixel of `rast` (B, H, W, 4) into `out` (B, H, W, C)."""
    shared = attributes.shape[0] == 1
    batch, height, width, channels = out.shape
    for item in range(batch):
        a = attributes[0 if shared else item]
        for row in range(height):
            for column in range(width):
                face = int(rast[item, row, column, 3]) - 1
                if face < 0:
                    continue
                u, v = rast[item, row, column, 0], rast[item, row, column, 1]
                rest = 1 - u - v
                i0, i1, i2 = triangles[face, 0], triangles[face, 1], triangles[face, 2]
                for c in range(channels):
                    out[item, row, column, c] = u * a[i0, c] + v * a[i1, c] + rest * a[i2, c]


@kernel
def _interpolate_backward(
    attributes: Floats,
    rast: Floats,
    triangles: Int32Array,
    grad_out: Floats,
    grad_attributes: Floats,
    grad_rast: Floats,
) -> None:
    """Backward pass of `_interpolate`; adds to `grad_attributes`, writes u and v of `grad_rast`."""
    shared = attributes.shape[0] == 1
    batch, height, width, channels = grad_out.shape
    for item in range(batch):
        a = attributes[0 if shared else item]
        grad_a = grad_attributes[0 if shared else item]
        for row in range(height):
            for column in range(width):
                face = int(rast[item, row, column, 3]) - 1
                if face < 0:
                    continue
                u, v = rast[item, row, column, 0], rast[item, row, column, 1]
                rest = 1 - u - v
                i0, i1, i2 = triangles[face, 0], triangles[face, 1], triangles[face, 2]
                # The third weight is 1 - u - v, so gradients of u and v are differences to the third corner.
                grad_u = u * 0
                grad_v = u * 0
                for c in range(channels):
                    g = grad_out[item, row, column, c]
                    if g == 0:
                        continue
                    grad_a[i0, c] += u * g
                    grad_a[i1, c] += v * g
                    grad_a[i2, c] += rest * g
                    grad_u += g * (a[i0, c] - a[i2, c])
                    grad_v += g * (a[i1, c] - a[i2, c])
                grad_rast[item, row, column, 0] = grad_u
                grad_rast[item, row, column, 1] = grad_v


class _Interpolate(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, attributes: Tensor, rast: Tensor, triangles: Tensor) -> Tensor:  # noqa: ANN401
        attributes, rast = attributes.contiguous(), rast.contiguous()
        out = attributes.new_zeros(*rast.shape[:3], attributes.shape[-1])
        _interpolate(attributes.detach().numpy(), rast.detach().numpy(), triangles.numpy(), out.numpy())
        ctx.save_for_backward(attributes, rast, triangles)
        return out

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, None]:  # noqa: ANN401
        attributes, rast, triangles = ctx.saved_tensors
        grad_attributes, grad_rast = torch.zeros_like(attributes), torch.zeros_like(rast)
        _interpolate_backward(
            attributes.detach().numpy(),
            rast.detach().numpy(),
            triangles.numpy(),
            grads[0].contiguous().numpy(),
            grad_attributes.numpy(),
            grad_rast.numpy(),
        )
        return grad_attributes, grad_rast, None


def interpolate(attributes: Tensor, rast: Tensor, triangles: Tensor) -> Tensor:
    """See `RasterizerBackend.interpolate`."""
    return cast(Tensor, _Interpolate.apply(attributes, rast, triangles))  # type: ignore[no-untyped-call]
