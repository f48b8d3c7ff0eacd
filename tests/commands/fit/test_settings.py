"""Settings of `fitme fit`: the shipped file, other files, and options of the command line."""

from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from fitme.commands.fit.command import build_request
from fitme.commands.fit.request import FitRequest
from fitme.commands.fit.settings import FitCommandSettings
from fitme.configuration import load_settings
from fitme.errors import ConfigError

FILE = Path(__file__).parents[3] / "configs" / "fit.yaml"


def names_of(settings: Any) -> Any:
    """Names of all fields, nested as in YAML."""
    if not is_dataclass(settings):
        return None
    return {field.name: names_of(getattr(settings, field.name)) for field in fields(settings)}


def keys_of(content: Any) -> Any:
    """Keys of a mapping, nested."""
    return {name: keys_of(value) for name, value in content.items()} if isinstance(content, dict) else None


def test_shipped_file_holds_the_defaults_of_every_setting() -> None:
    assert load_settings(FitCommandSettings, FILE) == FitCommandSettings()
    assert keys_of(yaml.safe_load(FILE.read_text())) == names_of(FitCommandSettings())


def test_every_line_of_the_shipped_file_has_a_comment() -> None:
    lines = [line for line in FILE.read_text().splitlines() if not line.startswith("#")]
    assert all(line.partition("  # ")[2] for line in lines)


def test_options_override_the_file_and_the_file_overrides_the_defaults(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(
        "seconds: 7\nholdout: 0.25\nnetworks: {identity: arcface, arcface: packs}\nfit: {light: {iterations: 2}}\n"
    )
    request = build_request(file, {"seconds": 3.0, "holdout": None, "device": None})
    assert (request.seconds, request.holdout, request.device) == (3.0, 0.25, "cpu")
    assert request.networks.arcface == Path("packs")
    assert request.fit is not None
    assert request.fit.light.iterations == 2
    assert build_request(None, {}) == FitRequest((), Path())


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("fit: {light: {iteration: 2}}", r"mine\.yaml: unknown fit\.light\.iteration"),
        ("tracker: {focal: 0}", r"tracker\.focal"),
        ("fit: {newest_share: 1.5}", r"fit\.newest_share"),
        ("fit: {alignment: {solver: {focal_prior: 0}}}", r"fit\.alignment\.solver\.focal_prior"),
        ("fit: {alignment: {tracks: {flow: {stride_px: 0}}}}", r"fit\.alignment\.tracks\.flow\.stride_px"),
        ("fit: {fusion: {albedo_scale: {hue_log_sigma: 0}}}", r"fit\.fusion\.albedo_scale\.hue_log_sigma"),
        ("fit: {inversion: {coarse_stages: []}}", r"fit\.inversion\.coarse_stages"),
        ("device: abacus", "device: .*abacus"),
        ("networks: {identity: face}", r"networks\.identity: .*face"),
    ],
)
def test_errors_name_file_and_key(tmp_path: Path, text: str, words: str) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(text)
    with pytest.raises(ConfigError, match=words):
        build_request(file, {})
