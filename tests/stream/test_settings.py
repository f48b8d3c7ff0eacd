"""The settings file that is shipped."""

from pathlib import Path

from fitme.configuration import load_settings
from stream.settings import ServeSettings


def test_shipped_file_holds_the_defaults() -> None:
    file = Path(__file__).parents[2] / "configs" / "serve.yaml"
    assert load_settings(ServeSettings, file) == ServeSettings()
