"""README and docs name only files, modules, commands, options and targets that exist."""

import re
import tomllib
from collections.abc import Iterator
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import pytest
import typer.main

from fitme.cli import COMMAND_GROUP, build_app
from fitme.fit.work_queue import Task
from fitme.stage import Stage

ROOT = Path(__file__).parents[1]
DOCUMENTS = [
    ROOT / "README.md",
    *sorted((ROOT / "docs").rglob("*.md")),
    ROOT / "fitme" / "reflectance" / "weights" / "MODEL_CARD.md",
    ROOT / "fitme" / "shape" / "default_model.md",
]
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
PROJECT = PYPROJECT["project"]

PATH = re.compile(r"(?<![\w/.])(?:fitme|stream|configs|client|tests|docs)/[\w./*-]*")
MODULE = re.compile(r"(?<![\w/.-])(?:fitme|stream)(?:\.\w+)+")
RUN_MODULE = re.compile(r"python -m ((?:fitme|stream)[\w.]*)")
COMMAND = re.compile(r"(?<![\w/.])(?:\.venv/bin/)?fitme ((?:[a-z-]+ ?)+)([^`\n#]*)")
TARGET = re.compile(r"^make (\w+)")
LINK = re.compile(r"\]\(([^)#:]+)(?:#[^)]*)?\)")

each_document = pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)


def code_of(document: Path) -> list[str]:
    """Lines of a document's code blocks, and what stands in backticks outside of them."""
    blocks, inline = [], []
    for index, part in enumerate(document.read_text().split("```")):
        if index % 2:
            blocks += part.splitlines()[1:]
        else:
            inline += re.findall(r"`([^`]+)`", part)
    return [" ".join(code.split("\n")) for code in (*blocks, *inline)]


def found(pattern: re.Pattern[str], document: Path) -> Iterator[re.Match[str]]:
    for code in code_of(document):
        yield from pattern.finditer(code)


def exists(path: str) -> bool:
    return any(ROOT.glob(path.rstrip("/."))) if path.rstrip("/.") else False


def is_module(name: str) -> bool:
    path = ROOT / name.replace(".", "/")
    return path.is_dir() or path.with_suffix(".py").is_file()


def is_module_or_member(name: str) -> bool:
    """Whether a dotted name is a module, or a name, or a method of a name, that a module defines."""
    members: list[str] = []
    while not is_module(name):
        name, _, member = name.rpartition(".")
        if not name:
            return False
        members.append(member)
    path = ROOT / name.replace(".", "/")
    file = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    return all(re.search(rf"\b{member}\b", file.read_text()) for member in members)


def command_line() -> Any:
    """The command line with its plugins, as click has it."""
    plugins = PROJECT["entry-points"][COMMAND_GROUP].items()
    return typer.main.get_command(build_app([EntryPoint(name, value, COMMAND_GROUP) for name, value in plugins]))


@each_document
def test_paths_exist(document: Path) -> None:
    paths = {match[0] for match in found(PATH, document)}
    assert not [path for path in sorted(paths) if not exists(path)]


@each_document
def test_links_lead_to_files(document: Path) -> None:
    links = LINK.findall(document.read_text())
    assert not [link for link in links if not (document.parent / link).is_file()]


@each_document
def test_modules_exist(document: Path) -> None:
    names = {match[0] for match in found(MODULE, document)}
    assert not [name for name in sorted(names) if not is_module_or_member(name)]


@each_document
def test_modules_that_are_run_are_programs(document: Path) -> None:
    for name in {match[1] for match in found(RUN_MODULE, document)}:
        path = ROOT / name.replace(".", "/")
        file = path / "__main__.py" if path.is_dir() else path.with_suffix(".py")
        assert file.is_file(), name
        assert '__name__ == "__main__"' in file.read_text(), f"python -m {name} does nothing"


@each_document
def test_commands_and_their_options_exist(document: Path) -> None:
    for match in found(COMMAND, document):
        command, words = command_line(), match[1].split()
        name = words.pop(0)
        assert name in command.commands, match[0]
        command = command.commands[name]
        if words and hasattr(command, "commands"):
            assert words[0] in command.commands, match[0]
            command = command.commands[words[0]]
        if name == "bench" and words:
            assert words[0] in PROJECT["entry-points"]["fitme.benchmarks"], match[0]
        known = {option for parameter in command.params for option in parameter.opts} | {"--help"}
        assert not set(re.findall(r"--[a-z-]+", match[0])) - known, match[0]


@each_document
def test_targets_exist(document: Path) -> None:
    targets = set(re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert {match[1] for match in found(TARGET, document)} <= targets


def test_architecture_shows_every_floor_task_and_stage() -> None:
    architecture = (ROOT / "docs" / "architecture.md").read_text()
    contracts = PYPROJECT["tool"]["importlinter"]["contracts"]
    floors = {floor for contract in contracts for layer in contract.get("layers", ()) for floor in layer.split(" | ")}
    words = {*floors, *(task.name for task in Task), *(f"`{stage}`" for stage in Stage)}
    short = {word.removeprefix("fitme.") for word in words if word not in architecture}
    assert not [word for word in sorted(short) if word not in architecture]


def test_readme_shows_how_to_start() -> None:
    """The patterns find what they are for: otherwise the tests above would hold for any document."""
    readme = DOCUMENTS[0]
    assert {match[1] for match in found(TARGET, readme)} == {"serve", "test"}
    assert {match[1].split()[0] for match in found(COMMAND, readme)} >= {"fit", "render", "export", "serve", "bench"}
    assert {match[0] for match in found(PATH, readme)} >= {"configs/serve.yaml", "configs/fit.yaml"}
    assert {match[1] for match in found(RUN_MODULE, ROOT / "docs" / "building.md")} >= {"fitme.build.shape.build"}
