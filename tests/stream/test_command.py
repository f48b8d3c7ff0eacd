"""`fitme serve` says what is wrong with its options before anything starts."""

from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from fitme.errors import ConfigError
from stream.command import serve

app = typer.Typer()
app.command()(serve)


def failure(*options: str) -> BaseException:
    result = CliRunner().invoke(app, list(options))
    assert result.exception is not None
    return result.exception


def test_certificate_needs_its_key(tmp_path: Path) -> None:
    error = failure("--tls-cert", "cert.pem")
    assert isinstance(error, ConfigError)
    assert "--tls-key" in str(error)
    (tmp_path / "cert.pem").write_text("nonsense")
    (tmp_path / "key.pem").write_text("nonsense")
    error = failure("--tls-cert", str(tmp_path / "cert.pem"), "--tls-key", str(tmp_path / "key.pem"))
    assert isinstance(error, ConfigError)
    assert "cert.pem" in str(error)


@pytest.mark.parametrize(
    ("text", "word"), [("prot: 1", "prot"), ("session: {limit: 0}", "limit"), ("fit: {slice_s: fast}", "slice_s")]
)
def test_mistakes_in_the_settings_are_named(tmp_path: Path, text: str, word: str) -> None:
    (tmp_path / "serve.yaml").write_text(text)
    error = failure("--config", str(tmp_path / "serve.yaml"))
    assert isinstance(error, ConfigError)
    assert word in str(error)


def test_other_platforms_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.platform", "darwin")
    error = failure()
    assert isinstance(error, ConfigError)
    assert "runs on Linux" in str(error)
