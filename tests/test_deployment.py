"""The files for many machines fit together: what they name is there, and the settings and options are the program's."""

import inspect
import re
import shlex
from pathlib import Path
from typing import Any

import yaml

from fitme.configuration import load_settings
from stream.command import serve
from stream.settings import ServeSettings

ROOT = Path(__file__).parents[1]
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "compose.yaml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
SETTINGS = load_settings(ServeSettings, ROOT / "deploy" / "serve.yaml")
KEYS = frozenset({"name", "services", "networks", "volumes", "x-fitme"})
SERVICE_KEYS = frozenset(
    {
        "build", "command", "depends_on", "entrypoint", "environment", "healthcheck", "image", "init", "networks",
        "ports", "restart", "shm_size", "stop_grace_period", "volumes",
    }
)  # fmt: skip
PUBLIC = {"proxy": {"80", "443"}, "turn": {"3478"}}


def words(command: Any) -> list[str]:
    """Words of a service's command, of the shell's as well."""
    return [word for part in command for word in shlex.split(part)]


def test_compose_names_what_is_there() -> None:
    assert set(COMPOSE) == KEYS
    for name, service in SERVICES.items():
        assert set(service) <= SERVICE_KEYS, name
        assert "image" in service or "build" in service
        assert set(service.get("depends_on", ())) <= set(SERVICES)
        assert set(service.get("networks", ())) <= set(COMPOSE["networks"])
        for volume in service.get("volumes", ()):
            source = volume.split(":")[0]
            assert source in COMPOSE["volumes"] or (ROOT / source).is_file()
    assert {
        name: {port.split(":")[0] for port in service["ports"]}
        for name, service in SERVICES.items()
        if "ports" in service
    } == PUBLIC


def test_secrets_come_from_the_environment() -> None:
    text = (ROOT / "compose.yaml").read_text()
    for name in re.findall(r"(?:KEY|SECRET|PASSWORD)\w*: (\S+)", text):
        assert name.startswith("${")


def test_servers_reach_the_cluster_and_the_store() -> None:
    web, ray, engine = (words(SERVICES[name]["command"]) for name in ("web", "ray", "engine"))
    assert SETTINGS.engine == "ray://ray:6379"
    for command in (web, engine):
        assert "--address=ray:6379" in command
    assert "--port=6379" in ray
    assert "--num-cpus=0" in web
    assert "--num-cpus=0" in ray
    assert SETTINGS.object_store.endpoint == "http://store:7070"
    assert ":7070" in SERVICES["store"]["command"]
    bucket = SETTINGS.store.removeprefix("s3://").split("/")[0]
    assert f"--bucket {bucket}" in SERVICES["bucket"]["command"][0]
    subnet = COMPOSE["networks"]["inside"]["ipam"]["config"][0]["subnet"]
    assert SETTINGS.access.trusted_proxies == (subnet,)
    assert SETTINGS.camera.candidate_networks == (subnet,)


def test_the_command_is_the_programs() -> None:
    command = words(SERVICES["web"]["command"])
    options = [word for word in command[command.index("fitme") :] if word.startswith("--")]
    names = {f"--{name.replace('_', '-')}" for name in inspect.signature(serve).parameters}
    assert set(options) <= names
    port = command[command.index("--port") + 1]
    assert f"{{$WEB_PORT:{port}}}" in (ROOT / "deploy" / "Caddyfile").read_text()


def test_images_are_built_from_declared_extras() -> None:
    dockerfile = (ROOT / "Dockerfile").read_text()
    project = (ROOT / "pyproject.toml").read_text()
    extras = re.findall(r"EXTRAS=([\w,]+)", dockerfile)
    assert extras
    for extra in {name for names in extras for name in names.split(",")}:
        assert f"\n{extra} = [" in project
    assert re.search(r"^USER fitme$", dockerfile, re.MULTILINE), "not as root"
