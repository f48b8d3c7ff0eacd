"""Runs the application on uvicorn until it is told to stop."""

import logging
import ssl
from pathlib import Path

import uvicorn

from fitme.errors import ConfigError
from stream.engine.local_engine import LocalEngine
from stream.settings import ServeSettings
from stream.web.app import create_app

SHUTDOWN_TIMEOUT_S = 5
"""How long open requests and websockets may take to end."""


def server_config(settings: ServeSettings) -> uvicorn.Config:
    """uvicorn's configuration of a server with a local engine.

    :raises ConfigError: if the certificate cannot be used.
    """
    _check_certificate(settings.tls_cert, settings.tls_key)
    return uvicorn.Config(
        create_app(settings, LocalEngine(settings)),
        host=settings.host,
        port=settings.port,
        loop="asyncio",
        lifespan="on",
        ws="websockets-sansio",
        ws_max_size=settings.max_message_bytes,
        ws_per_message_deflate=False,  # renders are compressed, and nothing else is large
        ssl_certfile=settings.tls_cert,
        ssl_keyfile=settings.tls_key,
        timeout_graceful_shutdown=SHUTDOWN_TIMEOUT_S,
        access_log=False,
        log_level="warning",  # lines on requests and websockets hold the ids of sessions, which are secrets
    )


def run_server(settings: ServeSettings) -> None:
    """Serve until interrupted."""
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")
    logging.getLogger("aioice").setLevel(logging.WARNING)
    scheme = "http" if settings.tls_cert is None else "https"
    print(f"warming up; the page will be at {scheme}://{settings.host}:{settings.port}/", flush=True)
    uvicorn.Server(server_config(settings)).run()


def _check_certificate(certificate: Path | None, key: Path | None) -> None:
    if certificate is None:
        return
    try:
        ssl.create_default_context(ssl.Purpose.CLIENT_AUTH).load_cert_chain(certificate, key)
    except (OSError, ssl.SSLError) as error:
        raise ConfigError(f"{certificate}, {key}: cannot be used as certificate and key: {error}") from error
