"""Generator weights on disk: safetensors, with the configuration as JSON in the metadata.

Vectors are kept in float16, and what the mapping network compares causes with in float32. Maps, matrices and
the kernels of convolutions, which are most of the size, are kept in 8 bits with a scale for each map, row or output
channel, which costs them half a percent of their greatest value at most.
"""

import json
from dataclasses import asdict
from functools import cache
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from fitme.errors import ConfigError, ModelFileError
from fitme.reflectance.generator import GeneratorConfig, ReflectanceGenerator

DEFAULT_WEIGHTS = Path(__file__).parent / "weights" / "default_256.safetensors"
FORMAT = "fitme-reflectance-generator"
FORMAT_VERSION = "4"
EXACT_TENSORS = ("mapping.knots", "mapping.pairs", "mapping.feature_mean", "mapping.feature_scale")
"""Kept in float32."""
HALF_TENSORS = ("mapping.factor", "mapping.direct")
"""Names of matrices, or how they begin, that are kept in float16: all that z goes through."""
_SCALE_SUFFIX = ".scale"
_LARGEST_BYTE = 127
_MAP_SIDE = 4
"""Texels a side from which a tensor is a stack of maps, not of kernels."""


def save_generator(generator: ReflectanceGenerator, path: Path, *, dtype: torch.dtype = torch.float16) -> None:
    """Write weights and the configuration. In float32 nothing is rounded. The file appears under
    its name only when it is complete."""
    tensors: dict[str, Tensor] = {}
    for name, value in generator.state_dict().items():
        if name in EXACT_TENSORS:
            tensors[name] = value.detach().float().contiguous()
        elif dtype != torch.float32 and value.ndim > 1 and not name.startswith(HALF_TENSORS):
            tensors[name], tensors[name + _SCALE_SUFFIX] = quantize(value.detach())
        else:
            tensors[name] = value.detach().to(dtype).contiguous()
    metadata = {"format": FORMAT, "version": FORMAT_VERSION, "config": json.dumps(asdict(generator.config))}
    partial = path.with_name(path.name + ".partial")
    save_file(tensors, partial, metadata)
    partial.replace(path)


def quantize(tensor: Tensor) -> tuple[Tensor, Tensor]:
    """A tensor (N, ...) as int8 and the scale that brings it back, float32: one a map (N, ..., 1, 1) where it holds
    maps (N, ..., H, W), one for each leading index (N, 1, ..., 1) where it holds kernels or is a matrix."""
    are_maps = tensor.ndim > 2 and tensor.shape[-1] >= _MAP_SIDE
    axes = (-2, -1) if are_maps else tuple(range(1, tensor.ndim))
    largest = tensor.abs().amax(axes, keepdim=True)
    scale = (largest / _LARGEST_BYTE).clamp(min=torch.finfo(torch.float32).tiny)
    return (tensor / scale).round().to(torch.int8), scale.float()


def load_generator(path: Path) -> ReflectanceGenerator:
    """A generator in float32, in evaluation mode, as `save_generator` wrote it.

    ModelFileError when the file is missing, truncated, not a generator's, or does not fit its own configuration.
    """
    if not path.is_file():
        raise ModelFileError(f"there is no generator weight file at {path}: check the path or train one")
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            stored = {name: file.get_tensor(name).float() for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise ModelFileError(f"{path} is not a whole safetensors file ({error}): fetch or train it again") from error
    if metadata.get("format") != FORMAT or metadata.get("version") != FORMAT_VERSION:
        raise ModelFileError(
            f"{path} holds {metadata.get('format', 'no format')} version {metadata.get('version', '-')}, expected"
            f" {FORMAT} version {FORMAT_VERSION}: it was not written by this program's trainer"
        )
    generator = ReflectanceGenerator(_read_config(metadata.get("config", ""), path))
    tensors = {
        name: value * stored.get(name + _SCALE_SUFFIX, 1.0)
        for name, value in stored.items()
        if not name.endswith(_SCALE_SUFFIX)
    }
    try:
        generator.load_state_dict(tensors)
    except RuntimeError as error:
        raise ModelFileError(f"the tensors of {path} do not fit its own configuration: {error}") from error
    return generator.eval()


def load_default_generator() -> ReflectanceGenerator:
    """The generator that the package ships: a fresh copy at each call, so that a fit may tune it."""
    original = _default_original()
    copy = ReflectanceGenerator(original.config)
    copy.load_state_dict(original.state_dict())
    return copy.eval()


@cache
def _default_original() -> ReflectanceGenerator:
    return load_generator(DEFAULT_WEIGHTS)


def _read_config(text: str, path: Path) -> GeneratorConfig:
    try:
        values: dict[str, Any] = json.loads(text)
        lists: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value for name, value in values.items()
        }
        return GeneratorConfig(**lists)
    except (ValueError, TypeError, AttributeError, ConfigError) as error:
        raise ModelFileError(f"{path} holds no readable generator configuration: {error}") from error
