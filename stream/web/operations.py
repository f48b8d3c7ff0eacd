"""What operators and proxies ask: health, readiness, metrics, and that a server ends in order."""

import asyncio
from collections.abc import Callable

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from stream.engine.interface import Engine
from stream.settings import ServeSettings
from stream.web.guard import is_in, parse_networks
from stream.web.monitoring.loop_monitor import LoopMonitor
from stream.web.monitoring.metrics import CONTENT_TYPE
from stream.web.sessions.folders import SessionFolders
from stream.web.sessions.table import SessionTable


class Operations:
    """HTTP handlers for operators."""

    def __init__(
        self,
        settings: ServeSettings,
        engine: Engine,
        sessions: SessionTable,
        folders: SessionFolders,
        started: Callable[[], bool],
    ) -> None:
        """
        :param started: whether the engine has warmed up.
        :raises ConfigError: if `metrics_networks` holds something else than networks.
        """
        self._settings, self._engine, self._sessions, self._started = settings, engine, sessions, started
        self._networks = parse_networks(settings.metrics_networks, "metrics_networks")
        self.monitor = LoopMonitor()
        self.on_drained: Callable[[], None] = lambda: None
        """Called once a server that was told to drain has been unready for long enough."""
        self._draining: asyncio.Task[None] | None = None
        gauges: dict[str, tuple[str, Callable[[], float]]] = {
            "engine_healthy": ("1 while the engine serves.", lambda: self._started() and engine.healthy),
            "engine_workers": ("Workers of the engine that serve.", lambda: engine.workers),
            "loop_lag_seconds": ("Longest lag of the event loop lately.", lambda: self.monitor.worst_s),
            "sessions_active": ("Sessions that hold a place.", lambda: len(sessions.active)),
            "sessions_parked": ("Sessions that wait on disk.", lambda: sessions.parked),
            "sessions_to_erase": ("Sessions of which something is not erased yet.", lambda: len(folders.to_erase)),
            "people_waiting": ("People in the waiting line.", lambda: sessions.waiting),
            "pages": ("Websockets of owners.", lambda: sum(item.relay.owners for item in sessions.active)),
            "viewers": ("Websockets of view links.", lambda: sum(item.relay.viewers for item in sessions.active)),
            "cameras": ("Cameras that are connected.", lambda: sum(bool(item.peer) for item in sessions.active)),
        }
        for name, (text, value) in gauges.items():
            sessions.metrics.gauge(f"fitme_{name}", text, value)

    async def health(self, _request: Request) -> Response:
        """``GET /healthz``: 200 while the engine serves and the event loop keeps up."""
        status = self._engine_status()
        if status == "ok" and self.monitor.worst_s > self._settings.max_loop_lag_s:
            status = "loop_blocked"
        lag_ms = round(1000.0 * self.monitor.percentile_s(0.95), 2)
        content = {"status": status, "sessions": len(self._sessions), "loop_lag_ms": lag_ms}
        return JSONResponse(content, 200 if status == "ok" else 503)

    async def ready(self, _request: Request) -> Response:
        """``GET /readyz``: 200 while new sessions may begin, for a proxy that chooses among servers."""
        closing = self._draining is not None or not self._sessions.accepting
        status = "closing" if closing else self._engine_status()
        return JSONResponse({"status": status}, 200 if status == "ok" else 503)

    async def metrics(self, request: Request) -> Response:
        """``GET /metrics``, from `metrics_networks` only."""
        if request.client is None or not is_in(request.client.host, self._networks):
            return Response(status_code=404)
        return Response(self._sessions.metrics.text(), media_type=CONTENT_TYPE)

    async def drain(self, request: Request) -> Response:
        """``POST /admin/drain``, from `metrics_networks` only: end as on SIGTERM, once proxies have had the time to
        notice that this server is not ready any more."""
        if request.client is None or not is_in(request.client.host, self._networks):
            return Response(status_code=404)
        if self._draining is None:
            self._draining = asyncio.create_task(self._end())
        return JSONResponse({"seconds": self._settings.drain_s}, 202)

    async def _end(self) -> None:
        await asyncio.sleep(self._settings.drain_s)
        self.on_drained()

    def _engine_status(self) -> str:
        if not self._started():
            return "starting"
        return "ok" if self._engine.healthy else "engine_gone"
