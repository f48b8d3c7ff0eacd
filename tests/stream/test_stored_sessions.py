"""What is on disk: owned by one server, erased when it is over, private, and remembered until it is gone."""

import asyncio
import contextlib
import json
import os
import signal
import socket
import stat
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import av
import psutil
import pytest

from fitme.errors import StoreError
from fitme.session.store import SessionStore
from stream.bench.native_peer import ClipTrack, NativePeer, ServerError, offer_sdp, request
from stream.bench.server_process import ServerProcess
from stream.protocol.protocol import PROTOCOL_VERSION
from stream.web.sessions.folders import SessionFolders
from stream.web.sessions.rights import RIGHTS_FILE, SessionRights, write_rights
from stream.web.tokens import digest, new_token, storage_secret


async def until(condition: Callable[[], bool], timeout_s: float = 30.0) -> None:
    deadline_s = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline_s
        await asyncio.sleep(0.05)


def session_ids(store: Path) -> set[str]:
    return {path.name for path in store.iterdir() if SessionFolders.is_id(path.name)}


def files_of(folder: Path) -> list[Path]:
    return [Path(parent) / name for parent, _, names in os.walk(folder) for name in names]


@contextlib.asynccontextmanager
async def fitted(server: ServerProcess, clip: list[av.VideoFrame]) -> AsyncIterator[NativePeer]:
    """A page whose session has a stored round."""
    peer = NativePeer(server.address)
    await peer.send_camera(ClipTrack(clip))
    await peer.watch()
    try:
        await peer.until(lambda: "round" in peer.events, 60.0)
        yield peer
    finally:
        await peer.close()


@contextlib.contextmanager
def unremovable(file: Path) -> Iterator[None]:
    """While the body runs, `file` cannot be removed by this user, not even by root."""
    file.write_text("stays")
    if os.geteuid() != 0:
        file.parent.chmod(0o500)
        yield
        file.parent.chmod(0o700)
        return
    if subprocess.run(["chattr", "+i", str(file)], check=False, capture_output=True).returncode != 0:
        pytest.skip("this file system cannot protect a file from root")
    try:
        yield
    finally:
        subprocess.run(["chattr", "-i", str(file)], check=False)


def refused_server(*options: str) -> str:
    """The one line of a server that does not start."""
    ended = subprocess.run([sys.executable, "-m", "stream", *options], capture_output=True, text=True, check=False)
    assert ended.returncode == 2
    (line,) = ended.stderr.splitlines()
    return line


async def test_second_server_leaves_the_first_alone(server: ServerProcess, face_clip: list[av.VideoFrame]) -> None:
    async with fitted(server, face_clip) as peer:
        folder = server.store / str(peer.session)
        port = server.address.rpartition(":")[2]
        assert f"{port}: Address already in use" in refused_server("--port", port, "--store", str(server.store))
        assert "another server uses this store" in refused_server("--port", "0", "--store", str(server.store))
        assert files_of(folder)
        before = peer.renders
        await peer.until(lambda: peer.renders > before + 2, 20.0)
        await peer.delete()
        assert not folder.exists()


async def test_newcomers_leave_nothing_behind(server: ServerProcess, grey_clip: list[av.VideoFrame]) -> None:
    """Three at once want the slots of two idle sessions: whoever is parked or refused is erased in time."""

    async def come_and_go() -> None:
        peer = NativePeer(server.address)
        with contextlib.suppress(ServerError):
            await peer.send_camera(ClipTrack(grey_clip))
        await peer.close()

    await asyncio.gather(come_and_go(), come_and_go())
    await until(lambda: len(session_ids(server.store)) == 2)
    await asyncio.gather(*(come_and_go() for _ in range(3)))
    await until(lambda: not session_ids(server.store))
    assert json.loads(await request("GET", f"{server.address}/healthz"))["sessions"] == 0


async def test_what_cannot_be_erased_is_erased_later(
    tmp_path: Path, settings_file: Path, face_clip: list[av.VideoFrame]
) -> None:
    """A file that cannot be removed: the server says so, removes the rest, and goes on trying after a restart."""
    options = ("--config", str(settings_file))
    with ServerProcess(tmp_path, *options) as server, contextlib.ExitStack() as protected:
        async with fitted(server, face_clip) as peer:
            folder = tmp_path / str(peer.session)
            stuck = folder / "repository" / "protected" / "stuck"
            stuck.parent.mkdir()
            protected.enter_context(unremovable(stuck))
            for _ in range(2):
                with pytest.raises(ServerError) as caught:
                    await peer.delete()
                assert (caught.value.status, caught.value.code) == (500, "erase_failed")
            await peer.until(lambda: peer.close_code is not None, 10.0)
            assert peer.events["ended"]["reason"] == "not_erased"
            assert files_of(folder) == [stuck]
        offer = {"protocol": PROTOCOL_VERSION, "sdp": await offer_sdp(), "type": "offer", "session": peer.session}
        with pytest.raises(ServerError) as caught:
            await request("POST", f"{server.address}/offer", offer, peer.token)
        assert caught.value.code == "unknown_session"
        await asyncio.to_thread(server.kill)
        with ServerProcess(tmp_path, *options):
            assert stuck.exists()
            protected.close()
            await until(lambda: not folder.exists(), 15.0)
            await until(lambda: not any((tmp_path / "erasing").iterdir()))


async def test_start_erases_what_is_nobodys_and_the_end_is_quiet(
    tmp_path: Path, settings_file: Path, grey_clip: list[av.VideoFrame]
) -> None:
    def folder(digit: str, lifetime_s: float | None) -> Path:
        made = tmp_path / (digit * 48)
        made.mkdir()
        (made / "face.png").write_bytes(b"x")
        if lifetime_s is not None:
            write_rights(made, SessionRights(digest("owner")))
            (made / "expires").write_text(f"{time.time() + lifetime_s:.0f}\n")
        return made

    unknown, expired, alive, kept = folder("a", None), folder("b", -1.0), folder("c", 3600.0), folder("d", -1.0)
    ownerless = folder("e", 3600.0)
    (ownerless / RIGHTS_FILE).unlink()
    (kept / "kept").touch()
    foreign = tmp_path / "holiday"
    foreign.mkdir()
    settings = tmp_path / "serve.yaml"
    # Long enough for a look at what the start has left, on a machine that does more.
    settings.write_text(settings_file.read_text().replace("grace_s: 4.0", "grace_s: 8.0"))
    with ServerProcess(tmp_path, "--config", str(settings)) as server:
        assert not unknown.exists()
        assert not expired.exists()
        assert not ownerless.exists()
        assert alive.exists()
        await until(lambda: not alive.exists(), 30.0)  # nobody came back within the grace time
        host = server.address.removeprefix("http://")
        with socket.create_connection(("127.0.0.1", int(host.partition(":")[2]))) as vanishing:
            vanishing.sendall(f"POST /offer HTTP/1.1\r\nHost: {host}\r\nContent-Length: 9\r\n\r\n{{".encode())
        peer = NativePeer(server.address)
        await peer.send_camera(ClipTrack(grey_clip))
        await peer.watch()
        await peer.until(lambda: peer.renders > 0, 20.0)
        children = server.process.children(recursive=True)
        server.process.send_signal(signal.SIGINT)
        await peer.until(lambda: peer.close_code is not None, 10.0)
        assert peer.events["ended"]["reason"] == "shutdown"
        await peer.close()
        await asyncio.to_thread(server.process.wait, 30.0)
        assert not psutil.wait_procs(children, 30.0)[1]
        assert session_ids(tmp_path) == {kept.name}
        assert foreign.exists()
        for noise in ("Traceback", "Task was destroyed", "never retrieved", "TensorFlow", "inference_feedback"):
            assert noise not in server.log()
        assert server.log().splitlines()[1] == f"ready: {server.address}/"


async def test_files_are_the_owners_alone(tmp_path: Path, settings_file: Path, face_clip: list[av.VideoFrame]) -> None:
    """By their modes, and, where the operator has chosen encryption, by the owner's token."""
    settings = tmp_path / "encrypted.yaml"
    settings.write_text(settings_file.read_text().replace("session: {", "session: {encrypt: true, "))
    before = os.umask(0)
    try:
        server = ServerProcess(tmp_path, "--config", str(settings))
        server.__enter__()
    finally:
        os.umask(before)
    try:
        async with fitted(server, face_clip) as peer:
            folder = tmp_path / str(peer.session)
            await peer.request("POST", "/keep", {"keep": True})
            await peer.until(lambda: peer.events["kept"]["kept"], 5.0)
            for path in [tmp_path / "lock", folder, *folder.rglob("*")]:
                mode = stat.S_IMODE(path.lstat().st_mode)
                assert mode == (0o700 if path.is_dir() else 0o600), path
    finally:
        server.__exit__()
    for stranger in (None, storage_secret(new_token())):
        with pytest.raises(StoreError, match="encrypted"):
            SessionStore(folder, stranger)
    assert peer.token is not None
    with SessionStore(folder, storage_secret(peer.token)) as store:
        assert store.read() is not None


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of its own, of 200 MB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=200m", "tmpfs", str(disk)], check=False)
    if mounted.returncode != 0:
        pytest.skip("mounting a file system is not allowed here")
    yield disk
    # Lazily: a process of the server may hold a file for a moment longer.
    subprocess.run(["umount", "-l", str(disk)], check=True)


async def test_full_disk_is_reported_and_storing_is_tried_again(
    small_disk: Path, settings_file: Path, face_clip: list[av.VideoFrame]
) -> None:
    """A disk that is full when the session begins: what is kept is not stored yet, until there is room."""
    with ServerProcess(small_disk, "--config", str(settings_file)) as server:
        filler = small_disk / "filler"
        with contextlib.suppress(OSError), filler.open("wb", buffering=0) as file:
            while file.write(bytes(1 << 16)):
                pass
        peer = NativePeer(server.address)
        await peer.send_camera(ClipTrack(face_clip))
        await peer.watch()
        await peer.until(lambda: peer.events.get("progress", {}).get("stage") not in (None, "waiting"), 60.0)
        answer = await peer.request("POST", "/keep", {"keep": True})
        assert json.loads(answer)["stored"] is False
        assert peer.events["stored"]["stored"] is False
        filler.unlink()
        await peer.until(lambda: peer.events["stored"]["stored"] is True, 60.0)
        assert files_of(small_disk / str(peer.session) / "repository")
        await peer.delete()
        await peer.close()
