"""Generator weights on disk: quantised safetensors, with the configuration as JSON in the metadata."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from fitme.atomic_file import atomic_file
from fitme.errors import ConfigError, ModelFileError
from fitme.reflectance.generator import ReflectanceGenerator
from fitme.reflectance.generator_config import GeneratorConfig
from fitme.reflectance.quantization import packed, unpacked

PAINTED_WEIGHTS = Path(__file__).parent / "weights" / "default_256.safetensors"
"""Weights from painted skin alone: no person's data are behind them."""
FORMAT = "fitme-reflectance-generator"
FORMAT_VERSION = "6"
_READ_VERSIONS = ("5", FORMAT_VERSION)
"""Readable versions; 5 has the widths of branches in one setting for each modality."""


def save_generator(generator: ReflectanceGenerator, path: Path, *, exact: bool = False) -> None:
    """Write weights and configuration atomically; with `exact`, in float32 without rounding."""
    tensors = packed(generator.state_dict(), exact=exact)
    metadata = {"format": FORMAT, "version": FORMAT_VERSION, "config": json.dumps(asdict(generator.config))}
    with atomic_file(path) as partial:
        save_file(tensors, partial, metadata)


def load_generator(path: Path) -> ReflectanceGenerator:
    """Generator in float32, in evaluation mode, as `save_generator` wrote it.

    :raises ModelFileError: if the file is missing, truncated, not a generator's, or does not fit its configuration.
    """
    if not path.is_file():
        raise ModelFileError(f"there is no generator weight file at {path}: check the path or train one")
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            stored = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise ModelFileError(f"{path} is not a whole safetensors file ({error}): fetch or train it again") from error
    if metadata.get("format") != FORMAT or metadata.get("version") not in _READ_VERSIONS:
        raise ModelFileError(
            f"{path} holds {metadata.get('format', 'no format')} version {metadata.get('version', '-')}, expected"
            f" {FORMAT} version {FORMAT_VERSION}: it was not written by this program's trainer"
        )
    generator = ReflectanceGenerator(_read_config(metadata.get("config", ""), path))
    try:
        generator.load_state_dict(unpacked(stored), assign=True)
    except RuntimeError as error:
        raise ModelFileError(f"the tensors of {path} do not fit its own configuration: {error}") from error
    return generator.eval()


def _read_config(text: str, path: Path) -> GeneratorConfig:
    try:
        values: dict[str, Any] = json.loads(text)
        return GeneratorConfig.from_stored(values)
    except (ValueError, TypeError, AttributeError, ConfigError) as error:
        raise ModelFileError(f"{path} holds no readable generator configuration: {error}") from error
