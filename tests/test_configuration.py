"""Settings files: what is right is typed, what is wrong is named."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

import pytest
from msgspec import Meta

from fitme.configuration import load_settings, settings_from
from fitme.errors import ConfigError


@dataclass(frozen=True)
class Inner:
    rate: Annotated[float, Meta(ge=0.0, le=2.0)] = 1.0


@dataclass(frozen=True)
class Outer:
    count: Annotated[int, Meta(ge=1, le=9)] = 3
    enabled: bool = False
    path: Path | None = None
    size: tuple[int, int] = (1, 2)
    names: tuple[str, ...] = ()
    kind: Literal["a", "b"] = "a"
    free: float = 0.0
    inner: Inner = field(default_factory=Inner)
    parts: tuple[Inner, ...] = ()


def test_values_are_typed(tmp_path: Path) -> None:
    file = tmp_path / "a.yaml"
    file.write_text("part: {count: 4, enabled: true, path: x/y, size: [3, 4], names: [a, b, c], inner: {rate: 2}}")
    expected = Outer(4, True, Path("x/y"), (3, 4), ("a", "b", "c"), inner=Inner(2.0))
    assert load_settings(Outer, file, "part") == expected
    assert isinstance(expected.inner.rate, float)
    assert load_settings(Outer, file, "absent") == Outer()


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ({"cuont": 4}, "here: unknown cuont; known are count, enabled"),
        ({"inner": {"rote": 1.0}}, r"unknown inner\.rote; known are rate"),
        ({"parts": [{}, {"rote": 1.0}]}, r"unknown parts\[1\]\.rote"),
        ({"count": 10}, "here: count: .*<= 9"),
        ({"count": 0}, "count: .*>= 1"),
        ({"count": True}, "count: .*int"),
        ({"count": 1.5}, "count: .*int"),
        ({"enabled": "yes"}, "enabled: .*bool"),
        ({"size": [1]}, "size: .*length 2"),
        ({"size": 3}, "size: .*array"),
        ({"names": [1]}, r"names\[0\]"),
        ({"inner": {"rate": 3.0}}, r"inner\.rate: .*<= 2"),
        ({"inner": {"rate": float("nan")}}, r"inner\.rate"),
        ({"free": float("inf")}, "free: must be a finite number"),
        ({"inner": 3}, "inner: .*object"),
        ([], "here: .*object"),
        ({"path": 3}, "path: .*Path"),
        ({"kind": "c"}, "kind: .*'c'"),
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
