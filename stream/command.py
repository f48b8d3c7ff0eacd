"""Command `fitme serve`: the live service."""

import sys
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, cast, get_args

import typer

from fitme.errors import ConfigError
from fitme.render.devices import DeviceName

PLATFORM = "linux"
"""The one that is tested. Frames are in anonymous files (`memfd_create`), which no other one has."""


def serve(
    host: Annotated[str | None, typer.Option(help="Address to listen on; 0.0.0.0 for all.")] = None,
    port: Annotated[int | None, typer.Option(min=0, max=65_535, help="Port of everything.")] = None,
    tls_cert: Annotated[
        Path | None, typer.Option(help="PEM certificate chain; away from localhost, browsers want it for the camera.")
    ] = None,
    tls_key: Annotated[Path | None, typer.Option(help="PEM key of the certificate.")] = None,
    sessions: Annotated[int | None, typer.Option(min=1, max=64, help="Sessions at a time.")] = None,
    store: Annotated[
        str | None, typer.Option(help="Folder of the sessions' data, or s3://BUCKET/PREFIX of an object store.")
    ] = None,
    engine: Annotated[
        str | None, typer.Option(help="local, or ray://HOST:PORT of a Ray cluster that this machine is a node of.")
    ] = None,
    device: Annotated[str | None, typer.Option(help="cpu (the default) or cuda, for the fits.")] = None,
    config: Annotated[Path | None, typer.Option(help="YAML file of settings; see configs/serve.yaml.")] = None,
) -> None:
    """Serve the page that turns a webcam into a relightable avatar."""
    if sys.platform != PLATFORM:
        raise ConfigError(f"fitme serve runs on Linux, not on {sys.platform}: use a container or WSL 2 there")
    from fitme.configuration import load_settings
    from stream.server import run_server
    from stream.settings import ServeSettings

    settings = ServeSettings() if config is None else load_settings(ServeSettings, config)
    given: dict[str, Any] = {"host": host, "port": port, "tls_cert": tls_cert, "tls_key": tls_key}
    given |= {"store": store, "engine": engine}
    settings = replace(settings, **{name: value for name, value in given.items() if value is not None})
    if sessions is not None:
        settings = replace(settings, session=replace(settings.session, limit=sessions))
    if device is not None:
        if device not in get_args(DeviceName):
            raise ConfigError(f"--device {device}: use {' or '.join(get_args(DeviceName))}")
        settings = replace(settings, fit=replace(settings.fit, device=cast("DeviceName", device)))
    if settings.fit.device != "cpu":
        # Imports torch, which the server itself does without.
        from fitme.render.rasterizer import check_device

        check_device(settings.fit.device)
    if settings.networks.identity != "dlib":
        raise ConfigError("networks.identity: the live service works with dlib alone; arcface is for `fitme fit`")
    if (settings.tls_cert is None) != (settings.tls_key is None):
        raise ConfigError("TLS needs both a certificate and its key: give --tls-cert and --tls-key")
    run_server(settings)
