"""Settings files: what is right is typed, what is wrong is named."""

from dataclasses import dataclass, field
from pathlib import Path

import pytest

from fitme.configuration import bounded, load_settings, settings_from
from fitme.errors import ConfigError


@dataclass(frozen=True)
class Inner:
    rate: float = bounded(1.0, 0.0, 2.0)


@dataclass(frozen=True)
class Outer:
    count: int = bounded(3, 1, 9)
    enabled: bool = False
    path: Path | None = None
    size: tuple[int, int] = (1, 2)
    names: tuple[str, ...] = ()
    inner: Inner = field(default_factory=Inner)


def test_values_are_typed(tmp_path: Path) -> None:
    file = tmp_path / "a.yaml"
    file.write_text("part: {count: 4, enabled: true, path: x/y, size: [3, 4], names: [a, b, c], inner: {rate: 2}}")
    expected = Outer(4, True, Path("x/y"), (3, 4), ("a", "b", "c"), Inner(2.0))
    assert load_settings(Outer, file, "part") == expected
    assert isinstance(expected.inner.rate, float)
    assert load_settings(Outer, file, "absent") == Outer()


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ({"cuont": 4}, "unknown cuont"),
        ({"count": 10}, "from 1 to 9"),
        ({"count": True}, "int"),
        ({"count": 1.5}, "int"),
        ({"enabled": "yes"}, "bool"),
        ({"size": [1]}, "2 items"),
        ({"size": 3}, "list"),
        ({"names": [1]}, r"names\[0\]"),
        ({"inner": {"rate": float("nan")}}, "inner: rate"),
        ({"inner": 3}, "mapping"),
        ([], "mapping"),
        ({"path": 3}, "Path"),
    ],
)
def test_mistakes_are_named(content: object, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        settings_from(Outer, content, "here")


@pytest.mark.parametrize("text", ["a: [", "- a", "1: 2", "\0"])
def test_broken_files_are_named(tmp_path: Path, text: str) -> None:
    file = tmp_path / "a.yaml"
    file.write_text(text)
    with pytest.raises(ConfigError, match=r"a\.yaml"):
        load_settings(Outer, file)
    with pytest.raises(ConfigError, match="absent"):
        load_settings(Outer, tmp_path / "absent.yaml")
