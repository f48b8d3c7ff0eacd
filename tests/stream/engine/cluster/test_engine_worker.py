"""A worker of a cluster, without a cluster: what its engine yields is handed on in order, the newest alone of what is
outdated by the next, and shared pieces come before the avatars that name them."""

import asyncio
import time
from pathlib import Path

import numpy as np
import pytest

from fitme.arrays import UInt8Array
from fitme.session.folder import SessionFolder
from stream.engine.cluster.engine_worker import CompressedFrame, EngineWorker, compress
from stream.engine.frame_slots import FrameSink
from stream.engine.interface import EngineListener, NotReadyError
from stream.engine.messages import AvatarPieces, SessionEvent, SessionParameters, SharedPiece
from stream.protocol.avatar import PieceKind, Slot
from stream.protocol.events import StoredEvent
from stream.protocol.scene import Scene

SLOT = Slot(PieceKind.MODEL)


class YieldingEngine:
    """`stream.engine.cluster.engine_worker.WorkerEngine` that yields what a test wants."""

    healthy = True
    workers = 1
    model_digest = "head"

    def __init__(self) -> None:
        self.shared_pieces = {"head": b"model"}
        self.listeners: dict[str, EngineListener] = {}
        self.frames: list[tuple[UInt8Array, float, float]] = []
        self.exported: Path | None = None

    async def start(self) -> None: ...

    async def stop(self) -> None: ...

    def open(
        self, session: str, folder: SessionFolder, scene: Scene, listener: EngineListener, secret: str | None = None
    ) -> None:
        self.listeners[session] = listener

    async def close(self, session: str) -> None:
        del self.listeners[session]

    def frame_sink(self, session: str) -> FrameSink:
        return lambda image, captured_s, received_s: self.frames.append((image, captured_s, received_s))

    def set_scene(self, session: str, scene: Scene) -> None: ...

    def drive(self, session: str, parameters: bytes | None) -> None: ...

    def request_render(self, session: str) -> None: ...

    def shared_piece(self, digest: str) -> bytes | None:
        return self.shared_pieces.get(digest)

    async def export(self, session: str) -> Path:
        if self.exported is None:
            raise NotReadyError("there is no avatar yet")
        return self.exported


@pytest.fixture
def engine() -> YieldingEngine:
    return YieldingEngine()


@pytest.fixture
async def worker(engine: YieldingEngine) -> EngineWorker:
    worker = EngineWorker(lambda: engine)
    assert await worker.start() == "head"
    assert await worker.receive() == [SharedPiece("head", b"model", is_model=True)]
    await worker.open("a", Path("a"), Scene(), None)
    return worker


async def test_what_is_outdated_is_left_out(worker: EngineWorker, engine: YieldingEngine) -> None:
    listener = engine.listeners["a"]
    waiting = asyncio.create_task(worker.receive())
    await asyncio.sleep(0.0)
    assert not waiting.done()
    for index in range(3):
        listener.on_event(StoredEvent(index % 2 == 0))
        listener.on_parameters(b"%d" % index)
    assert await waiting == [
        *(SessionEvent("a", StoredEvent(stored)) for stored in (True, False, True)),
        SessionParameters("a", b"2"),
    ]
    listener.on_parameters(b"3")
    await worker.close("a")
    assert await worker.receive() == [], "nothing of a session that has ended"


async def test_shared_pieces_come_first_and_once(worker: EngineWorker, engine: YieldingEngine) -> None:
    engine.shared_pieces["strands"] = b"pattern"
    for _ in range(2):
        engine.listeners["a"].on_pieces([(SLOT, b"piece")], [])
    pieces = AvatarPieces("a", ((SLOT, b"piece"),))
    assert await worker.receive() == [SharedPiece("strands", b"pattern"), pieces, pieces]


async def test_frames_arrive_with_their_age(worker: EngineWorker, engine: YieldingEngine) -> None:
    image = np.zeros((48, 64, 3), np.uint8)
    image[:, :32] = (200, 120, 40)
    frame = compress(image, 1.5, time.monotonic() - 0.25)
    await worker.take_frame("a", frame)
    await worker.take_frame("nobody", frame)
    await worker.take_frame("a", CompressedFrame(b"no image", 0.0, 0.0))
    ((seen, captured_s, received_s),) = engine.frames
    assert seen.shape == image.shape
    assert np.abs(seen.astype(int) - image)[:, [8, 56]].max() < 8, "colours stay in their order"
    assert captured_s == 1.5
    assert time.monotonic() - received_s >= 0.25


async def test_an_exported_file_is_handed_over_and_removed(
    worker: EngineWorker, engine: YieldingEngine, tmp_path: Path
) -> None:
    with pytest.raises(NotReadyError):
        await worker.export("a")
    engine.exported = tmp_path / "avatar.glb"
    engine.exported.write_bytes(b"glTF")
    assert await worker.export("a") == b"glTF"
    assert not engine.exported.exists()
