"""A local engine whose fit process is stopped: it is replaced, while the live process goes on drawing."""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import psutil
import pytest

from stream.engine.local_engine import LocalEngine, Watch
from stream.engine.processes import FIT_NAME, LIVE_NAME
from stream.protocol.avatar import Slot
from stream.protocol.events import ErrorEvent, Event
from stream.protocol.render import Render
from stream.protocol.scene import Scene
from stream.settings import FitSettings, RenderSettings, ServeSettings

SETTINGS = replace(ServeSettings(), render=RenderSettings(size_px=64), fit=FitSettings(warm_up=False, niceness=0))
WATCH = Watch(period_s=0.2, fit_limit_s=3.0)
TIMEOUT_S = 120.0


@dataclass
class Listener:
    events: list[Event] = field(default_factory=list)
    renders: int = 0

    def on_event(self, event: Event) -> None:
        self.events.append(event)

    def on_render(self, render: Render) -> None:
        self.renders += 1

    def on_parameters(self, message: bytes) -> None:
        pass

    def on_pieces(self, pieces: Sequence[tuple[Slot, bytes]], dropped: Sequence[Slot]) -> None:
        pass


def engine_process(name: str) -> psutil.Process:
    found = [child for child in psutil.Process().children(recursive=True) if child.name() == name]
    return max(found, key=lambda child: child.create_time())


async def until(condition: object) -> None:
    assert callable(condition)
    deadline_s = time.monotonic() + TIMEOUT_S
    while not condition():
        assert time.monotonic() < deadline_s
        await asyncio.sleep(0.05)


async def test_hung_fit_process_is_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = LocalEngine(SETTINGS, WATCH)
    await engine.start()
    listener = Listener()
    try:
        engine.open("a", tmp_path / "a", Scene(), listener)
        live, fit = engine_process(LIVE_NAME), engine_process(FIT_NAME)
        # The first attempt fails for a reason that nobody has thought of.
        replace_fit, attempts = engine._replace_fit, []

        async def fail_once() -> None:
            attempts.append(time.monotonic())
            if len(attempts) == 1:
                raise ZeroDivisionError
            await replace_fit()

        monkeypatch.setattr(engine, "_replace_fit", fail_once)
        fit.suspend()
        await until(lambda: len(attempts) == 2)
        await until(lambda: engine.healthy)
        assert not fit.is_running()
        assert engine_process(FIT_NAME).pid != fit.pid
        assert engine_process(LIVE_NAME).pid == live.pid
        assert any(isinstance(event, ErrorEvent) and event.code == "engine_restarted" for event in listener.events)
        renders = listener.renders
        engine.request_render("a")
        engine.set_scene("a", replace(Scene(), yaw=0.2))
        await until(lambda: listener.renders > renders)
        await engine.close("a")
    finally:
        begin_s = time.monotonic()
        await engine.stop()
    assert time.monotonic() - begin_s < 5.0
    assert not psutil.pid_exists(live.pid) or not live.is_running()
