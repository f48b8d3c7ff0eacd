"""Stand-in for a GPU: a device of torch whose tensors compute on the CPU, but that nothing reads or mixes by accident.

As on CUDA, a tensor of the device has no array (`numpy()` raises), and an operation on tensors of both devices raises;
numbers (0-dimensional tensors of the CPU) may take part. Copies to the CPU and readings of single numbers, for which a
program waits, are counted. `register` is for a process of its own: it changes torch for good, and must come before the
first backward pass.
"""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map
from torch.utils.backend_registration import _setup_privateuseone_for_python_backend

NAME = "guarded"
crossings: Counter[str] = Counter()
"""Copies "to cpu" and readings of a "number" so far."""

_COPY = torch.ops.aten._to_copy.default
_IN_PLACE_COPY = torch.ops.aten.copy_.default
_READ_NUMBER = torch.ops.aten._local_scalar_dense.default


class GuardedTensor(torch.Tensor):
    """Tensor of the device; `values` on the CPU are for the device's own operations."""

    values: torch.Tensor

    @staticmethod
    def __new__(cls, values: torch.Tensor) -> "GuardedTensor":
        return torch.Tensor._make_wrapper_subclass(  # type: ignore[attr-defined]
            cls, values.shape, strides=values.stride(), storage_offset=values.storage_offset(), dtype=values.dtype,
            device=torch.device(NAME, 0),
        )  # fmt: skip

    def __init__(self, values: torch.Tensor) -> None:
        self.values = values.detach()

    def __repr__(self) -> str:
        return f"GuardedTensor({self.values})"

    def __deepcopy__(self, memo: dict[int, Any]) -> "GuardedTensor":
        return GuardedTensor(self.values.clone())

    @classmethod
    def __torch_dispatch__(cls, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _run(function, args, kwargs or {})


class _DispatchMode(TorchDispatchMode):
    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _run(function, args, kwargs or {})


class _TensorMode(TorchFunctionMode):
    """`torch.tensor` of numbers on the device: torch copies them below any dispatch."""

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        place = kwargs.get("device")
        if function is torch.tensor and place is not None and torch.device(place).type == NAME:
            del kwargs["device"]
            return function(*args, **kwargs).to(place)
        return function(*args, **kwargs)


@contextmanager
def device() -> Iterator[None]:
    """Context in which tensors can be made on the device."""
    with _TensorMode(), _DispatchMode():
        yield


def register() -> None:
    """Add the device to torch."""
    _setup_privateuseone_for_python_backend(NAME)


def _run(function: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    places: set[str] = set()

    def values_of(argument: Any) -> Any:
        if isinstance(argument, GuardedTensor):
            places.add(NAME)
            return argument.values
        if isinstance(argument, torch.Tensor):
            if argument.dim() > 0:
                places.add("cpu")
            return argument
        return torch.device("cpu") if isinstance(argument, torch.device) else argument

    plain_args, plain_kwargs = tree_map(values_of, (args, kwargs))
    if len(places) > 1 and function is not _IN_PLACE_COPY:
        raise RuntimeError(f"{function.name()}: expected all tensors to be on the same device, but found two devices")
    result = function(*plain_args, **plain_kwargs)
    if function is _READ_NUMBER:
        crossings["number"] += NAME in places
        return result
    wanted = kwargs.get("device")
    on_device = NAME in places if wanted is None else torch.device(wanted).type == NAME
    if function is _COPY and NAME in places and not on_device:
        crossings["to cpu"] += 1
    if not function._schema.returns:  # Changes its arguments in place, as `_fused_adam_` does.
        return None
    if function._schema.name.endswith("_") or "out" in kwargs:
        return kwargs.get("out", args[0])
    return tree_map(lambda r: GuardedTensor(r) if on_device and isinstance(r, torch.Tensor) else r, result)
