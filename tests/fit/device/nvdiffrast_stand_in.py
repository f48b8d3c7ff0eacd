"""Stand-in for nvdiffrast on the guarded device: its functions, with its signatures and its checks of the arguments,
computed by the CPU backend."""

from collections.abc import Callable
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

from fitme.render.cpu.backend import CpuBackend

from .guarded import NAME, GuardedTensor

CPU = CpuBackend()


class RasterizeCudaContext:
    def __init__(self, device: Any = None) -> None:
        assert torch.device(device).type == NAME


class TopologyHash:
    """What nvdiffrast wraps in an opaque object."""

    def __init__(self, triangles: Tensor) -> None:
        self.triangles = triangles


def rasterize(
    glctx: Any, pos: Tensor, tri: Tensor, resolution: Any, ranges: Any = None, grad_db: bool = True
) -> tuple[Tensor, Tensor]:
    assert isinstance(glctx, RasterizeCudaContext) and ranges is None
    assert pos.dim() == 3 and pos.shape[2] == 4 and tri.dim() == 2 and tri.shape[1] == 3
    _check(pos, tri)
    rast = _on_cpu(lambda p: CPU.rasterize(p, _values(tri), tuple(resolution)), pos)
    return rast, rast.new_zeros(rast.shape)


def interpolate(
    attr: Tensor, rast: Tensor, tri: Tensor, rast_db: Any = None, diff_attrs: Any = None
) -> tuple[Tensor, Tensor]:
    assert attr.dim() == 3 and attr.shape[0] in (1, rast.shape[0])
    _check(attr, rast, tri)
    return _on_cpu(lambda a, r: CPU.interpolate(a, r, _values(tri)), attr, rast), rast.new_zeros(*rast.shape[:3], 0)


def texture(
    tex: Tensor, uv: Tensor, uv_da: Any = None, mip_level_bias: Any = None, mip: Any = None,
    filter_mode: str = "auto", boundary_mode: str = "wrap", max_mip_level: Any = None,
) -> Tensor:  # fmt: skip
    assert (filter_mode, boundary_mode) == ("linear", "clamp")  # The only ones that the CPU backend has.
    assert tex.dim() == 4 and tex.shape[0] in (1, uv.shape[0])
    _check(tex, uv)
    return _on_cpu(CPU.texture, tex, uv)


def antialias(
    color: Tensor, rast: Tensor, pos: Tensor, tri: Tensor, topology_hash: Any = None, pos_gradient_boost: float = 1.0
) -> Tensor:
    assert topology_hash is None or topology_hash.triangles is tri
    _check(color, rast, pos, tri)
    return _on_cpu(lambda c, p: CPU.antialias(c, _values(rast), p, _values(tri)), color, pos)


def antialias_construct_topology_hash(tri: Tensor) -> TopologyHash:
    _check(tri)
    return TopologyHash(tri)


def modules() -> dict[str, ModuleType]:
    """Modules by name, for `sys.modules`."""
    package, functions = ModuleType("nvdiffrast"), ModuleType("nvdiffrast.torch")
    for item in (
        RasterizeCudaContext, rasterize, interpolate, texture, antialias, antialias_construct_topology_hash,
    ):  # fmt: skip
        setattr(functions, item.__name__, item)
    package.torch = functions  # type: ignore[attr-defined]
    return {"nvdiffrast": package, "nvdiffrast.torch": functions}


def _check(*tensors: Tensor) -> None:
    """What nvdiffrast's C++ checks of each call: device, contiguity, float32 and int32."""
    for tensor in tensors:
        assert isinstance(tensor, GuardedTensor), "inputs must reside on the same GPU device"
        assert tensor.is_contiguous(), "inputs must be contiguous tensors"
        assert tensor.dtype in (torch.float32, torch.int32), tensor.dtype


def _values(tensor: Tensor) -> Tensor:
    assert isinstance(tensor, GuardedTensor)
    return tensor.values


class _OnCpu(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, function: Callable[..., Tensor], *tensors: Tensor) -> Tensor:
        ctx.leaves = [_values(tensor).detach().requires_grad_() for tensor in tensors]
        with torch.enable_grad():
            ctx.result = function(*ctx.leaves)
        return GuardedTensor(ctx.result.detach())

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        with torch.enable_grad():
            found = torch.autograd.grad(ctx.result, ctx.leaves, _values(gradients[0]).contiguous(), allow_unused=True)
        return None, *(None if gradient is None else GuardedTensor(gradient) for gradient in found)


def _on_cpu(function: Callable[..., Tensor], *tensors: Tensor) -> Tensor:
    result: Tensor = _OnCpu.apply(function, *tensors)  # type: ignore[no-untyped-call]
    return result
