"""Settings files of training: every setting can be set, and every key is documented."""

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import yaml

from fitme.configuration import load_settings
from fitme.reflectance.generator_config import GeneratorConfig
from fitme.training.encoder.trainer import EncoderSettings
from fitme.training.generator.config import TrainingConfig, load_training_config
from fitme.training.objectives.discriminator import DiscriminatorConfig
from fitme.training.people.residuals import ExtensionSettings
from fitme.training.textures.translation_trainer import TranslationTraining

CONFIGS = Path(__file__).parents[2] / "configs"
FILES = sorted(CONFIGS.glob("train_*.yaml"))


def keys_of_file(path: Path) -> set[str]:
    """Dotted names of the keys in a file, list items left out."""

    def keys(values: dict[str, Any], prefix: str) -> set[str]:
        found = set()
        for name, value in values.items():
            found.add(prefix + name)
            if isinstance(value, dict) and name != "branches":
                found |= keys(value, f"{prefix}{name}.")
        return found

    return keys(yaml.safe_load(path.read_text()), "")


def keys_of_settings(settings: Any, prefix: str = "") -> set[str]:
    """Dotted names of the fields of a settings class and of the classes in it."""
    found = set()
    for field in dataclasses.fields(settings):
        found.add(prefix + field.name)
        value = getattr(settings, field.name)
        if dataclasses.is_dataclass(value):
            found |= keys_of_settings(value, f"{prefix}{field.name}.")
    return found


def test_the_generator_s_files_together_show_every_setting():
    shown = keys_of_file(CONFIGS / "train_cpu.yaml") | keys_of_file(CONFIGS / "train_gpu.yaml")
    settings = TrainingConfig(generator=GeneratorConfig(), discriminator=DiscriminatorConfig())
    assert shown == keys_of_settings(settings)


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("train_encoder.yaml", EncoderSettings),
        ("train_extension.yaml", ExtensionSettings),
        ("train_translation.yaml", TranslationTraining),
    ],
)
def test_the_other_files_hold_every_setting_at_its_default(name: str, kind: type):
    assert keys_of_file(CONFIGS / name) == keys_of_settings(kind())
    assert load_settings(kind, CONFIGS / name) == kind()


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_every_key_is_documented_once(path: Path):
    documented = keys_of_file(CONFIGS / "train_cpu.yaml") if path.stem == "train_gpu" else set()
    section = ""
    for line in path.read_text().splitlines():
        if not line or line.lstrip().startswith(("#", "- ")):
            continue
        name = line.split(":")[0]
        key = section + name.strip() if name.startswith(" ") else name
        section = section if name.startswith(" ") else f"{name}."
        assert "  # " in line or key in documented, f"{path.name}: {key} has no comment"


def test_a_key_at_any_depth_reaches_the_run(tmp_path: Path):
    path = tmp_path / "a.yaml"
    path.write_text("adversary: {interval: 7}\nreconstruction: {contrast: 2.5}\nfinal_rate: 0.5")
    config = load_training_config(path)
    assert (config.adversary.interval, config.reconstruction.contrast, config.final_rate) == (7, 2.5, 0.5)
    path.write_text("capture: {hole_share: 0.25}\nnetwork: {hidden_size: 12}")
    settings = load_settings(EncoderSettings, path)
    assert (settings.capture.hole_share, settings.network.hidden_size) == (0.25, 12)
