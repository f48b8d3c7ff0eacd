"""The server: the application on uvicorn, on a port and a store of its own."""

import logging
import os
import secrets
import socket
import ssl
from collections.abc import Callable
from pathlib import Path

import uvicorn
from starlette.applications import Starlette

from fitme.errors import ConfigError
from fitme.session.folder import SessionFolder
from fitme.session.object_folder import SCHEME as OBJECT_STORE_SCHEME
from fitme.session.object_folder import ObjectFolder
from stream.engine.interface import Engine
from stream.engine.local_engine import LocalEngine
from stream.logs import configure_logs
from stream.settings import ServeSettings
from stream.web.app import Service, create_app
from stream.web.connections import bounded_protocol, raise_file_limit
from stream.web.sessions.folders import SessionFolders

BACKLOG = 128
"""Connections that may wait to be accepted."""
UNSENT_BYTES = 16_384
"""What the kernel may hold of a connection that it has not sent yet: for a page on a slow network, newer parameters can
take the place of older ones only before that."""
LOCAL_ENGINE = "local"
WRITER_BYTES = 4
"""Random bytes in a server's name in an object store."""
SHUTDOWN_TIMEOUT_S = 5
"""How long open requests and websockets may take to end."""


class _Server(uvicorn.Server):
    """Ends the sessions before uvicorn closes the pages' websockets, so that pages know why."""

    def __init__(self, config: uvicorn.Config, service: Service) -> None:
        super().__init__(config)
        self._service = service

    def end(self) -> None:
        """Stop: there is no engine to serve with, or the server has been drained."""
        self.should_exit = True

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """See `uvicorn.Server.shutdown`."""
        for server in self.servers:
            server.close()
        await self._service.sessions.stop()
        await super().shutdown(sockets)


def run_server(settings: ServeSettings, make_engine: Callable[[ServeSettings], Engine] | None = None) -> None:
    """Serve until interrupted.

    :param make_engine: makes another engine than the settings name.
    :raises ConfigError: if the certificate cannot be used, or the port is taken.
    :raises StoreError: if another server uses the store, or it cannot be written.
    :raises BackendError: if the library for object stores is not installed.
    :raises EngineError: if the engine cannot start.
    """
    configure_logs(settings.log_format)
    logging.getLogger("aioice").setLevel(logging.WARNING)
    logging.getLogger("aiortc").setLevel(logging.ERROR)  # it warns of every frame that a decoder refuses
    raise_file_limit()
    os.umask(0o077)  # faces: what this process and its engine create is the owner's alone
    _check_certificate(settings.tls_cert, settings.tls_key)
    # Port and store first: a second server that is started by mistake ends here and has touched nothing.
    with _listen(settings.host, settings.port) as listener:
        folders = SessionFolders(_store_folder(settings), settings.session.kept_days)
        try:
            _serve(settings, (make_engine or _engine)(settings), folders, listener)
        finally:
            folders.release()


def _store_folder(settings: ServeSettings) -> SessionFolder:
    """Where the sessions' data lie.

    :raises ConfigError: if the address of an object store has no bucket.
    """
    if not settings.store.startswith(OBJECT_STORE_SCHEME):
        return Path(settings.store)
    writer = f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(WRITER_BYTES)}"
    return ObjectFolder.parse(settings.store, settings.object_store, writer)


def _serve(settings: ServeSettings, engine: Engine, folders: SessionFolders, listener: socket.socket) -> None:
    app = create_app(settings, engine, folders)
    address = _address(settings, listener.getsockname()[1])
    print(f"warming up; the page will be at {address}", flush=True)
    service: Service = app.state.service
    service.on_ready = lambda: print(f"ready: {address}", flush=True)
    server = _Server(_server_config(settings, app), service)
    service.on_failure = server.end
    service.operations.on_drained = server.end
    server.run(sockets=[listener])
    if service.failure is not None:
        raise service.failure


def _engine(settings: ServeSettings) -> Engine:
    """The engine that the settings name.

    :raises ConfigError: if they name none, or one that could not reach the store.
    """
    if settings.engine == LOCAL_ENGINE:
        return LocalEngine(settings)
    from stream.engine.cluster.ray_client import LOCAL
    from stream.engine.cluster.ray_engine import SCHEME, RayEngine

    if settings.engine != f"{SCHEME}{LOCAL}" and not settings.store.startswith(OBJECT_STORE_SCHEME):
        raise ConfigError(
            "workers on other machines cannot reach a folder of this one: give --store s3://BUCKET/PREFIX"
        )
    return RayEngine(settings)


def _address(settings: ServeSettings, port: int) -> str:
    """Address of the page that a browser on this machine opens."""
    scheme = "http" if settings.tls_cert is None else "https"
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(settings.host, settings.host)
    return f"{scheme}://[{host}]:{port}/" if ":" in host else f"{scheme}://{host}:{port}/"


def _server_config(settings: ServeSettings, app: Starlette) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        loop="asyncio",
        lifespan="on",
        http=bounded_protocol(settings.connections),
        proxy_headers=False,  # `stream.web.guard` reads them, of trusted proxies only
        server_header=False,
        timeout_keep_alive=settings.connections.idle_timeout_s,
        ws_ping_interval=settings.connections.idle_timeout_s,
        ws_ping_timeout=settings.connections.idle_timeout_s,
        ws="websockets-sansio",
        ws_max_size=settings.max_message_bytes,
        ws_per_message_deflate=False,  # renders are compressed, and nothing else is large
        ssl_certfile=settings.tls_cert,
        ssl_keyfile=settings.tls_key,
        timeout_graceful_shutdown=SHUTDOWN_TIMEOUT_S,
        access_log=False,
        log_level="warning",  # lines on requests and websockets hold the tokens of view links
    )


def _listen(host: str, port: int) -> socket.socket:
    """A socket that listens at an address.

    :raises ConfigError: if it cannot: most often, because another server does.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        listener = socket.create_server((host, port), family=family, backlog=BACKLOG)
        if hasattr(socket, "TCP_NOTSENT_LOWAT"):  # connections inherit it
            listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, UNSENT_BYTES)
        return listener
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno is not None and error.errno > 0 else str(error)
        raise ConfigError(f"cannot listen at {host}:{port}: {reason}; choose another --host or --port") from error


def _check_certificate(certificate: Path | None, key: Path | None) -> None:
    if certificate is None:
        return
    try:
        ssl.create_default_context(ssl.Purpose.CLIENT_AUTH).load_cert_chain(certificate, key)
    except (OSError, ssl.SSLError) as error:
        raise ConfigError(f"{certificate}, {key}: cannot be used as certificate and key: {error}") from error
