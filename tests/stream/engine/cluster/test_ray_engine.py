"""An engine on a Ray cluster of two nodes, which are processes of this machine; only where ray is installed."""

import asyncio
import functools
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from typing import Any

import numpy as np
import pytest

from fitme.errors import ConfigError
from fitme.session.object_folder import ObjectFolder
from fitme.session.store import SessionStore
from stream.bench.waiting_engine import WaitingEngine
from stream.engine.cluster.ray_engine import RayEngine
from stream.engine.interface import NotReadyError
from stream.protocol.avatar import Slot
from stream.protocol.events import ErrorEvent, Event, RoundEvent
from stream.protocol.render import Render
from stream.protocol.scene import Scene
from stream.settings import FitSettings, RaySettings, RenderSettings, ServeSettings

STORE_BYTES = 100 * 1024 * 1024
FRAME_PERIOD_S = 0.1
TIMEOUT_S = 240.0


class Listener:
    """Notes what a session yields."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.parameters = self.renders = 0
        self.slots: set[Slot] = set()
        self._changed = asyncio.Condition()

    @property
    def rounds(self) -> list[int]:
        return [event.index for event in self.events if isinstance(event, RoundEvent)]

    @property
    def restarts(self) -> int:
        return sum(isinstance(event, ErrorEvent) and event.code == "engine_restarted" for event in self.events)

    def on_event(self, event: Event) -> None:
        self.events.append(event)

    def on_parameters(self, message: bytes) -> None:
        self.parameters += 1

    def on_pieces(self, pieces: Sequence[tuple[Slot, bytes]], dropped: Sequence[Slot]) -> None:
        self.slots |= {slot for slot, _ in pieces}

    def on_render(self, render: Render) -> None:
        self.renders += 1


async def until(condition: Callable[[], bool]) -> float:
    """Seconds until a condition is true."""
    start_s = time.monotonic()
    while not condition():
        assert time.monotonic() - start_s < TIMEOUT_S
        await asyncio.sleep(0.02)
    return time.monotonic() - start_s


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A head without cores, and two nodes with one each."""
    ray = pytest.importorskip("ray", reason="engines on Ray need the extra cluster")
    utils = pytest.importorskip("ray.cluster_utils", reason="engines on Ray need the extra cluster")
    monkeypatch.setenv("RAY_memory_monitor_refresh_ms", "0")
    monkeypatch.setenv("RAY_enable_metrics_collection", "0")
    head = {"num_cpus": 0, "object_store_memory": STORE_BYTES, "include_dashboard": False}
    running = utils.Cluster(initialize_head=True, head_node_args=head)
    try:
        for _ in range(2):
            running.add_node(num_cpus=1, object_store_memory=STORE_BYTES)
        yield running
    finally:
        ray.shutdown()
        running.shutdown()


def settings_of(cluster: Any) -> ServeSettings:
    return ServeSettings(
        engine=f"ray://{cluster.address}",
        ray=RaySettings(workers=2, cpus=1.0),
        render=RenderSettings(size_px=64),
        fit=FitSettings(slice_s=0.5),
    )


@pytest.fixture
async def engine(cluster: Any) -> AsyncIterator[RayEngine]:
    """Two workers that work."""
    running = RayEngine(settings_of(cluster))
    await running.start()
    yield running
    await running.stop()


@pytest.fixture
async def waiting_engine(cluster: Any) -> AsyncIterator[RayEngine]:
    """Two workers that wait instead of working."""
    running = RayEngine(settings_of(cluster), functools.partial(WaitingEngine, round_s=0.2))
    await running.start()
    yield running
    await running.stop()


def test_addresses() -> None:
    for address in ("ray://", "http://127.0.0.1", "locally"):
        with pytest.raises(ConfigError, match="ray://HOST:PORT"):
            RayEngine(ServeSettings(engine=address))


async def show(engine: RayEngine, session: str, images: list[np.ndarray]) -> None:
    """Send frames without end."""
    sink = engine.frame_sink(session)
    start_s = time.monotonic()
    while True:
        for image in images:
            await asyncio.to_thread(sink, image, time.monotonic() - start_s, time.monotonic())
            await asyncio.sleep(FRAME_PERIOD_S)


def kill_node_of(engine: RayEngine, cluster: Any, session: str) -> None:
    """Kill all processes of Ray on the node that has a session's worker."""
    worker = engine._sessions[session].worker
    assert worker is not None
    kill_node(cluster, worker.node)


def kill_node(cluster: Any, lost: str | None) -> None:
    (node,) = [node for node in cluster.worker_nodes if node.node_id == lost]
    cluster.remove_node(node, allow_graceful=False)


def assert_every_round_once(folder: ObjectFolder, last: int) -> None:
    with SessionStore(folder) as store:
        state = store.read()
    assert state is not None
    assert [report.index for report in state.rounds] == list(range(len(state.rounds)))
    assert state.rounds[-1].index >= last


async def test_many_sessions_go_on_when_a_node_is_lost(
    waiting_engine: RayEngine, cluster: Any, object_folder: ObjectFolder
) -> None:
    engine, names = waiting_engine, [f"person-{index}" for index in range(4)]
    await until(lambda: engine.workers == 2)
    listeners = {name: Listener() for name in names}
    for name in names:
        engine.open(name, object_folder / name, Scene(), listeners[name])
    showing = [asyncio.create_task(show(engine, name, [np.zeros((48, 64, 3), np.uint8)])) for name in names]
    await until(lambda: all(len(listener.rounds) >= 2 for listener in listeners.values()))
    assert {len(worker.sessions) for worker in engine._workers} == {2}, "spread"
    with pytest.raises(NotReadyError):
        await engine.export(names[0])
    kill_node_of(engine, cluster, names[0])
    noticed_s = await until(lambda: sum(listener.restarts for listener in listeners.values()) == 2)
    counts = {name: (len(listener.rounds), listener.parameters) for name, listener in listeners.items()}
    again_s = await until(
        lambda: all(
            len(listeners[name].rounds) > rounds and listeners[name].parameters > parameters
            for name, (rounds, parameters) in counts.items()
        )
    )
    print(f"lost node: noticed after {noticed_s:.1f} s, all refine and track again {again_s:.1f} s later")
    cluster.add_node(num_cpus=1, object_store_memory=STORE_BYTES)
    print(f"a node that joins has a worker after {await until(lambda: engine.workers == 2):.1f} s")
    for task in showing:
        task.cancel()
    for name in names:
        await engine.close(name)
        rounds = listeners[name].rounds
        assert rounds == sorted(set(rounds)), "no round is lost or comes twice"
        assert_every_round_once(object_folder / name, rounds[-1])


async def test_workers_stay_apart_when_nodes_are_lost(waiting_engine: RayEngine, cluster: Any) -> None:
    engine = waiting_engine
    await until(lambda: engine.workers == 2)
    for _ in range(4):
        cluster.add_node(num_cpus=4, object_store_memory=STORE_BYTES)
    for _ in range(4):
        lost, kept = (worker.node for worker in engine._workers)
        assert kept is not None
        assert lost != kept
        kill_node(cluster, lost)
        await until(lambda lost=lost: all(worker.node != lost for worker in engine._workers))  # type: ignore[misc]
        await until(lambda: engine.workers == 2)


@pytest.mark.timeout(600)
async def test_sessions_go_on_at_another_node(
    engine: RayEngine, cluster: Any, object_folder: ObjectFolder, face_images: list[np.ndarray]
) -> None:
    print(f"two workers: {await until(lambda: engine.workers == 2):.1f} s more")
    listener, folder = Listener(), object_folder / "session"
    engine.open("session", folder, Scene(), listener)
    with pytest.raises(NotReadyError):
        await engine.export("session")
    showing = asyncio.create_task(show(engine, "session", face_images))
    engine.request_render("session")
    print(f"parameters: {await until(lambda: listener.parameters > 0):.1f} s")
    print(f"first render: {await until(lambda: listener.renders > 0):.1f} s")
    print(f"three rounds: {await until(lambda: len(listener.rounds) >= 3):.1f} s")
    assert engine.shared_piece(engine.model_digest)
    assert listener.slots
    last = listener.rounds[-1]
    kill_node_of(engine, cluster, "session")
    seconds = await until(lambda: listener.restarts > 0)
    print(f"noticed: {seconds:.1f} s")
    count = len(listener.rounds)
    seconds += await until(lambda: len(listener.rounds) > count)
    print(f"refined again: {seconds:.1f} s, round {listener.rounds[count]} after {last}")
    assert listener.rounds[count] in (last + 1, last + 2), "from the last round, of which the event may have been lost"
    parameters = listener.parameters
    await until(lambda: listener.parameters > parameters)
    showing.cancel()
    await engine.close("session")
    assert_every_round_once(folder, listener.rounds[-1])
