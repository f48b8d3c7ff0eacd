"""Settings from YAML files into typed, frozen dataclasses, by msgspec: unknown keys and values out of range are errors.

A settings class is a frozen dataclass of numbers, booleans, strings, paths, tuples and further settings classes, each
field with a default. `Annotated[float, Meta(ge=0.0)]` gives a number its range.
"""

import dataclasses
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import yaml

from fitme.errors import ConfigError

T = TypeVar("T")


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
    try:
        settings = msgspec.convert(content, settings_type, dec_hook=_decode)
    except ConfigError as error:  # Of a class that checks what its fields are together.
        raise ConfigError(f"{where}: {error}") from error
    except msgspec.ValidationError as error:
        raise ConfigError(f"{where}: {_with_key_first(str(error))}") from error
    # msgspec refuses unknown keys only of its own structs; what became of the content shows which they are.
    if mistakes := list(_mistakes(content, settings, "")):
        raise ConfigError(f"{where}: {'; '.join(mistakes)}")
    return settings


def _decode(expected: type[Any], value: Any) -> Any:  # noqa: ANN401
    """Value of a type that msgspec leaves to us: paths."""
    if expected is Path and isinstance(value, str):
        return Path(value)
    raise ValueError(f"Expected `{expected.__name__}`, got `{type(value).__name__}`")


def _with_key_first(message: str) -> str:
    """msgspec's "Expected ... - at `$.key`" as "key: Expected ..."."""
    text, _, place = message.partition(" - at `$")
    return f"{place.strip('.`')}: {text}" if place else text


def _mistakes(content: Any, converted: Any, key: str) -> Iterator[str]:  # noqa: ANN401
    """Unknown keys of `content`, and numbers that are not finite; `converted` holds its settings, `key` is its own."""
    if dataclasses.is_dataclass(converted):
        known = [field.name for field in dataclasses.fields(converted)]
        for name, value in content.items():
            if name in known:
                yield from _mistakes(value, getattr(converted, name), f"{key}{name}.")
            else:
                yield f"unknown {key}{name}; known are {', '.join(known)}"
    elif isinstance(content, list | tuple):
        for index, (value, item) in enumerate(zip(content, converted, strict=True)):
            yield from _mistakes(value, item, f"{key.removesuffix('.')}[{index}].")
    elif isinstance(content, float) and not math.isfinite(content):
        yield f"{key.removesuffix('.')}: must be a finite number, not {content}"
