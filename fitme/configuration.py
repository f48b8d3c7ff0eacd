"""Settings from YAML files into typed, frozen dataclasses: unknown keys and values out of range are errors.

A settings class is a frozen dataclass of numbers, booleans, strings, paths, tuples and further settings classes, each
field with a default. `bounded` gives a number its range.
"""

import dataclasses
import types
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

import yaml

from fitme.errors import ConfigError

T = TypeVar("T")

_LOW, _HIGH = "low", "high"


def bounded(default: T, low: float, high: float) -> T:
    """A dataclass field with a default whose value must lie in [low, high]."""
    field: T = dataclasses.field(default=default, metadata={_LOW: low, _HIGH: high})
    return field


def read_yaml(path: Path) -> dict[str, Any]:
    """The mapping that a YAML file holds; an empty file is an empty mapping.

    :raises ConfigError: if the file cannot be read, is not YAML, or holds something else.
    """
    try:
        content = yaml.safe_load(path.read_text("utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read: {error}") from error
    except yaml.YAMLError as error:
        raise ConfigError(f"{path}: not valid YAML: {error}") from error
    if content is None:
        return {}
    if not isinstance(content, dict) or not all(isinstance(key, str) for key in content):
        raise ConfigError(f"{path}: must hold a mapping of names to values, not a {type(content).__name__}")
    return content


def load_settings(settings_type: type[T], path: Path, section: str | None = None) -> T:
    """Read settings from a YAML file, or from one of its top-level sections; what is missing keeps its default.

    :raises ConfigError: as `read_yaml` and `settings_from`.
    """
    content: Any = read_yaml(path)
    where = str(path)
    if section is not None:
        content, where = content.get(section) or {}, f"{path}: {section}"
    return settings_from(settings_type, content, where)


def settings_from(settings_type: type[T], content: Any, where: str) -> T:  # noqa: ANN401 -- anything comes out of YAML
    """Settings from a mapping; `where` names its origin in errors.

    :raises ConfigError: for an unknown key, a value of another type or out of range.
    """
    if not isinstance(content, Mapping):
        raise ConfigError(f"{where}: must be a mapping of names to values, not {content!r}")
    assert dataclasses.is_dataclass(settings_type)
    fields = {field.name: field for field in dataclasses.fields(settings_type)}
    if unknown := sorted(str(key) for key in content if key not in fields):
        raise ConfigError(f"{where}: unknown {', '.join(unknown)}; known are {', '.join(fields)}")
    hints = typing.get_type_hints(settings_type)
    values: dict[str, Any] = {}
    for name, value in content.items():
        values[name] = _convert(hints[name], value, f"{where}: {name}")
        _check_range(values[name], fields[name].metadata, f"{where}: {name}")
    return typing.cast("T", settings_type(**values))


def _check_range(value: Any, metadata: Mapping[Any, Any], where: str) -> None:  # noqa: ANN401
    if _LOW in metadata and not metadata[_LOW] <= value <= metadata[_HIGH]:
        raise ConfigError(f"{where}: must be from {metadata[_LOW]:g} to {metadata[_HIGH]:g}, not {value!r}")


def _convert(expected: Any, value: Any, where: str) -> Any:  # noqa: ANN401
    origin, arguments = typing.get_origin(expected), typing.get_args(expected)
    if origin in (typing.Union, types.UnionType):
        if value is None and type(None) in arguments:
            return None
        (expected,) = (argument for argument in arguments if argument is not type(None))
        return _convert(expected, value, where)
    if dataclasses.is_dataclass(expected) and isinstance(expected, type):
        return settings_from(expected, value, where)
    if origin is tuple:
        if not isinstance(value, list):
            raise ConfigError(f"{where}: must be a list, not {value!r}")
        types_ = [arguments[0]] * len(value) if arguments[-1] is Ellipsis else list(arguments)
        if len(types_) != len(value):
            raise ConfigError(f"{where}: must have {len(types_)} items, not {len(value)}")
        return tuple(
            _convert(item, part, f"{where}[{index}]")
            for index, (item, part) in enumerate(zip(types_, value, strict=True))
        )
    if expected is Path and isinstance(value, str):
        return Path(value)
    if expected is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if not isinstance(value, expected) or (isinstance(value, bool) and expected is not bool):
        raise ConfigError(f"{where}: must be a {expected.__name__}, not {value!r}")
    return value
