"""`fitme bench chaos`: disasters at random moments against a real server that serves two people.

Two native peers play the sample clip, one of them with little red, so that every stored picture names its session.
At a random moment of the fit a process is killed, stands still or finds a damaged file; then the figures say whether
a committed round was lost, a folder stayed behind, a picture got into the other session, and how long renders stood.

With a file named in the environment variable `FITME_CHAOS_RECORD`, what each pair of sessions saw is appended to it,
and the figures are of all that it holds: runs add up, also one that was stopped.
"""

import asyncio
import contextlib
import random
import secrets
import tempfile
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import av
import numpy as np
import yaml

from fitme.bench.record import add_to_record, read_record, record_file
from fitme.bench.rows import BenchmarkRow
from fitme.errors import StoreError
from fitme.session.store import SessionStore
from stream.bench.clock import SteppedClock
from stream.bench.native_peer import ClipTrack, NativePeer, ServerError
from stream.bench.sample import RATE, sample_frames
from stream.bench.server_process import ServerProcess
from stream.web.sessions.folders import SessionFolders

RECORD_VARIABLE = "FITME_CHAOS_RECORD"
CYCLES = 24
"""Disasters of a run."""
KINDS = {"fit": 12, "live": 12, "web": 6, "web and chunk": 1, "clock": 2, "stop": 1}
"""Process that is killed; the whole server, with a byte of a stored file flipped; the clock set forwards or back; the
server stopped in good order. With each, how often it is drawn."""
DISASTERS_PER_PAIR = 24
"""Disasters on one pair of sessions at most; damage and a stop are always the last."""
LONGEST_WAIT_S = 6.0
"""Longest time from the first round, or from when both pictures move again, to the next disaster."""
ROUND_TIMEOUT_S = 120.0
RENDER_TIMEOUT_S = 60.0
RENDERS = 3
"""Renders after the disaster that show that the picture moves again."""
ERASE_TIMEOUT_S = 60.0
POLL_PERIOD_S = 0.1
FRAMES_PER_CAMERA_FRAME = 6
"""Frames of the clip for each that a camera sends: what is measured is not how many frames a server carries."""
RENDERING = {"size_px": 128, "per_second": 5.0}
"""Small renders, and few, for the same reason."""
CONFIGURATION = "serve.yaml"
CLOCK_STEP_S = 300.0
"""Icechunk refuses commits whose time is more than ten minutes from the file system's, which the step leaves alone."""
LITTLE_RED = 0.6
"""Factor on the red channel, of sRGB values, of the second person's frames."""
LEAST_REDNESS = 0.8
"""Mean red over mean green of the first person's pictures is above it, of the second one's below."""
LONGEST_STANDSTILL_S = 6.0
LONGEST_STOP_S = 5.0


@dataclass
class _Tally:
    """Counts over the disasters of one or more pairs of sessions."""

    disasters: dict[str, int] = field(default_factory=dict)
    stuck: list[str] = field(default_factory=list)
    """What came before one session of a pair did not go on: a disaster, or nothing but its beginning; and the error."""
    lost_rounds: int = 0
    orphaned_folders: int = 0
    foreign_images: int = 0
    checked_images: int = 0
    unharmed: int = 0
    """Sessions beside a damaged one that went on."""
    uninformed: int = 0
    """Pages that the end of a stopped server was not reported to."""
    stop_s: list[float] = field(default_factory=list)
    standstill_s: dict[str, list[float]] = field(default_factory=dict)

    def note_standstill(self, kind: str, begun_s: float) -> None:
        """Note that both pictures move again since a disaster at `begun_s` of the monotonic clock."""
        self.standstill_s.setdefault(kind, []).append(time.monotonic() - begun_s)

    def add(self, other: "_Tally") -> None:
        """Add the counts of other pairs."""
        for kind, count in other.disasters.items():
            self.disasters[kind] = self.disasters.get(kind, 0) + count
        self.stuck += other.stuck
        self.lost_rounds += other.lost_rounds
        self.orphaned_folders += other.orphaned_folders
        self.foreign_images += other.foreign_images
        self.checked_images += other.checked_images
        self.unharmed += other.unharmed
        self.uninformed += other.uninformed
        self.stop_s += other.stop_s
        for kind, seconds in other.standstill_s.items():
            self.standstill_s.setdefault(kind, []).extend(seconds)


class _Person:
    """One page with a camera, and what it was told of rounds and errors."""

    def __init__(self, server: ServerProcess, frames: list[av.VideoFrame]) -> None:
        self._server, self._frames = server, frames
        self.peer = NativePeer(server.address)
        self.round = -1
        """Index of the last round that the server has reported as stored."""
        self.lost_rounds = 0
        """Rounds that were reported as stored, and then begun anew."""
        self.errors: list[str] = []

    async def begin(self) -> None:
        """Begin a session, or go on with it after the server has been replaced."""
        before, self.peer = self.peer, NativePeer(self._server.address, self.peer.token)
        self.peer.on_event = self._note
        await self._send_camera(before.session)
        await self.peer.watch()

    async def _send_camera(self, session: str | None) -> None:
        """Send the camera; as a page does, try again while the server has no engine."""
        deadline_s = time.monotonic() + ROUND_TIMEOUT_S
        while True:
            try:
                await self.peer.send_camera(ClipTrack(self._frames, RATE / FRAMES_PER_CAMERA_FRAME), session)
                return
            except ServerError as error:
                if error.retry_after is None or time.monotonic() > deadline_s:
                    raise
                await asyncio.sleep(float(error.retry_after))

    def _note(self, event: dict[str, Any]) -> None:
        if event["type"] == "round":
            index = int(event["index"])
            self.lost_rounds += max(0, self.round - index + 1)
            self.round = index
        elif event["type"] == "error":
            self.errors.append(str(event["code"]))

    async def until_round(self, after: int) -> None:
        """Wait for the report of a round with a larger index."""
        await self.peer.until(lambda: self.round > after, ROUND_TIMEOUT_S)

    async def until_it_goes_on(self) -> None:
        """Wait for the report of another round, unless the fit has converged."""
        before = self.round
        await self.peer.until(
            lambda: self.round > before or bool(self.peer.events.get("progress", {}).get("converged")), ROUND_TIMEOUT_S
        )

    async def until_it_moves(self) -> None:
        """Wait for `RENDERS` more renders."""
        renders = self.peer.renders
        await self.peer.until(lambda: self.peer.renders >= renders + RENDERS, RENDER_TIMEOUT_S)

    async def until_it_moves_again(self) -> None:
        """Wait for the report that the engine was replaced, then for renders."""
        await self.peer.until(lambda: "engine_restarted" in self.errors, RENDER_TIMEOUT_S)
        await self.until_it_moves()


def chaos(count: int = CYCLES) -> list[BenchmarkRow]:
    """Run `count` disasters, `DISASTERS_PER_PAIR` on each pair of sessions, and tally what they did."""
    frames = sample_frames()[::FRAMES_PER_CAMERA_FRAME]
    seed = secrets.randbelow(2**31)
    with record_file(RECORD_VARIABLE) as record:
        asyncio.run(_run(frames, random.Random(seed), count, record))
        tally = _Tally()
        for pair in read_record(record, _Tally):
            tally.add(pair)
    return [BenchmarkRow("seed", seed, "", None), *_rows(tally)]


async def _run(frames: list[av.VideoFrame], rng: random.Random, count: int, record: Path) -> None:
    """Run `count` disasters; the tally of each pair of sessions is added to `record`."""
    redless = [_without_red(frame) for frame in frames]
    with contextlib.ExitStack() as running:
        folder = Path(running.enter_context(tempfile.TemporaryDirectory()))
        (folder / CONFIGURATION).write_text(yaml.safe_dump({"render": RENDERING}))
        clock = running.enter_context(SteppedClock())
        server = running.enter_context(ServerProcess(folder, "--config", str(folder / CONFIGURATION)))
        kinds = {kind: often for kind, often in KINDS.items() if kind != "clock" or clock.available}
        left = rng.choices(list(kinds), list(kinds.values()), k=count)
        while left:
            tally = _Tally()
            last = "beginning"
            try:
                async with _two_people(server, frames, redless, tally) as people:
                    async for last in _strikes(server, clock, people, tally, rng, left):
                        tally.disasters[last] = tally.disasters.get(last, 0) + 1
            except (TimeoutError, ServerError) as error:
                tally.stuck.append(f"{last}: {error or 'no answer in time'}")
            tally.orphaned_folders += await _left_behind(server.store)
            add_to_record(record, tally)


async def _strikes(
    server: ServerProcess,
    clock: SteppedClock,
    people: tuple[_Person, _Person],
    tally: _Tally,
    rng: random.Random,
    left: list[str],
) -> AsyncIterator[str]:
    """Some disasters on two sessions, each at a random moment; yields the kind of each before it comes.

    :param left: kinds of the disasters of this run that are still to come; those that came are taken from it.
    """
    for _ in range(min(DISASTERS_PER_PAIR, len(left))):
        kind = left.pop()
        await asyncio.sleep(rng.uniform(0.0, LONGEST_WAIT_S))
        yield kind
        if kind == "clock":
            await _step_clock(clock, people, tally, rng.choice((-CLOCK_STEP_S, CLOCK_STEP_S)))
        elif kind == "web and chunk":
            await _replace_server(server, people, tally, rng)
            return
        elif kind == "stop":
            await _stop_server(server, people, tally)
            return
        elif kind == "web":
            await _replace_server(server, people, tally, None)
        else:
            await _kill_engine(server, people, tally, kind)
    for person in people:
        await person.until_it_goes_on()


@contextlib.asynccontextmanager
async def _two_people(
    server: ServerProcess, frames: list[av.VideoFrame], redless: list[av.VideoFrame], tally: _Tally
) -> AsyncIterator[tuple[_Person, _Person]]:
    """Two sessions of which each has a stored round; deleted at the end, when what they lost is tallied."""
    people = _Person(server, frames), _Person(server, redless)
    try:
        for person in people:
            await person.begin()
        for person in people:
            await person.until_round(-1)
        yield people
    finally:
        tally.lost_rounds += sum(person.lost_rounds for person in people)
        for person in people:
            with contextlib.suppress(ServerError):
                await person.peer.delete()
            await person.peer.close()


async def _kill_engine(server: ServerProcess, people: tuple[_Person, _Person], tally: _Tally, name: str) -> None:
    """Kill one process of the engine; both sessions go on from their last rounds."""
    for person in people:
        person.errors.clear()
    server.processes()[name].kill()
    start_s = time.monotonic()
    await asyncio.gather(*(person.until_it_moves_again() for person in people))
    tally.note_standstill(name, start_s)


async def _replace_server(
    server: ServerProcess, people: tuple[_Person, _Person], tally: _Tally, rng: random.Random | None
) -> None:
    """Kill the whole server, look at what it has stored, and start it again.

    :param rng: chooses the byte of the first session's repository that is flipped meanwhile; None for no damage.
    """
    await asyncio.to_thread(server.kill)
    start_s = time.monotonic()
    for redless, person in enumerate(people):
        await person.peer.close()
        stored = await asyncio.to_thread(_read, server.store / str(person.peer.session))
        tally.lost_rounds += max(0, person.round - stored.last_round)
        tally.checked_images += len(stored.redness)
        tally.foreign_images += sum((redness < LEAST_REDNESS) != bool(redless) for redness in stored.redness)
    if rng is not None:
        _flip_byte(server.store / str(people[0].peer.session), rng)
    await asyncio.to_thread(server.__enter__)
    damaged, *whole = people if rng is not None else (None, *people)
    if damaged is not None:
        # It comes back whole, since the byte was of no consequence, or as an average head with a reason.
        await damaged.begin()
        await damaged.until_it_moves()
    for person in whole:
        await person.begin()
        await person.until_it_moves()
    tally.note_standstill("web", start_s)
    if damaged is not None:
        for person in whole:
            await person.until_it_goes_on()
            tally.unharmed += 1


async def _stop_server(server: ServerProcess, people: tuple[_Person, _Person], tally: _Tally) -> None:
    """Stop the server as an operator does, and start it again; its sessions are over."""
    start_s = time.monotonic()
    await asyncio.to_thread(server.__exit__)
    tally.stop_s.append(time.monotonic() - start_s)
    for person in people:
        await person.peer.close()
        tally.uninformed += "ended" not in person.peer.events
    tally.orphaned_folders += await _left_behind(server.store)
    await asyncio.to_thread(server.__enter__)


async def _step_clock(clock: SteppedClock, people: tuple[_Person, _Person], tally: _Tally, seconds: float) -> None:
    """Set the server's clock; rounds go on being stored."""
    clock.step(seconds)
    start_s = time.monotonic()
    await asyncio.gather(*(person.until_it_moves() for person in people))
    tally.note_standstill("clock", start_s)
    for person in people:
        await person.until_it_goes_on()


@dataclass(frozen=True)
class _Stored:
    """What is in a session's folder."""

    last_round: int
    redness: list[float]
    """Mean red over mean green of each stored picture."""


def _read(folder: Path) -> _Stored:
    with SessionStore(folder) as store:
        state = store.read()
    if state is None:
        return _Stored(-1, [])
    images = [keyframe.image for keyframe in (*state.keyframes, *state.expression_frames)]
    means = [image.reshape(-1, 3).mean(0) for image in images]
    return _Stored(state.rounds[-1].index, [float(red / green) for red, green, _ in means])


def _flip_byte(folder: Path, rng: random.Random) -> None:
    """Flip one bit of one stored file, chosen by its size."""
    files = [path for path in (folder / "repository").rglob("*") if path.is_file() and path.stat().st_size > 0]
    if not files:
        raise StoreError(f"{folder}: nothing is stored")
    chosen = rng.choices(files, [path.stat().st_size for path in files])[0]
    content = bytearray(chosen.read_bytes())
    content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
    chosen.write_bytes(content)


def _without_red(frame: av.VideoFrame) -> av.VideoFrame:
    image = frame.to_ndarray(format="rgb24")
    image[..., 0] = (image[..., 0] * np.float32(LITTLE_RED)).astype(np.uint8)
    return av.VideoFrame.from_ndarray(image, format="rgb24").reformat(format="yuv420p")


async def _left_behind(store: Path) -> int:
    """Folders of sessions that are still there some time after all sessions were deleted."""
    deadline_s = time.monotonic() + ERASE_TIMEOUT_S
    while left := [path for path in store.iterdir() if SessionFolders.is_id(path.name)]:
        if time.monotonic() > deadline_s:
            break
        await asyncio.sleep(POLL_PERIOD_S)
    return len(left)


def _rows(tally: _Tally) -> list[BenchmarkRow]:
    damaged = tally.disasters.get("web and chunk")
    rows = [
        BenchmarkRow(f"disasters: {kind}", tally.disasters[kind], "", None) for kind in KINDS if kind in tally.disasters
    ]
    rows += [
        BenchmarkRow(f"did not go on after {what}", tally.stuck.count(what), "", None)
        for what in sorted({*tally.stuck})
    ]
    rows += [
        BenchmarkRow("sessions that did not go on", len(tally.stuck), "", "<= 0"),
        BenchmarkRow("committed rounds lost", tally.lost_rounds, "", "<= 0"),
        BenchmarkRow("folders left behind", tally.orphaned_folders, "", "<= 0"),
        BenchmarkRow("stored pictures looked at", tally.checked_images, "", None),
        BenchmarkRow("pictures of the other person", tally.foreign_images, "", "<= 0"),
    ]
    if damaged:
        rows.append(BenchmarkRow("sessions that went on beside a damaged one", tally.unharmed, "", f">= {damaged}"))
    if tally.stop_s:
        rows += [
            BenchmarkRow("pages that a stop was not reported to", tally.uninformed, "", "<= 0"),
            BenchmarkRow("server stops, longest", max(tally.stop_s), "s", f"<= {LONGEST_STOP_S:g}"),
        ]
    for kind, seconds in tally.standstill_s.items():
        target = f"<= {LONGEST_STANDSTILL_S:g}" if kind in ("fit", "live") else None
        rows.append(BenchmarkRow(f"{kind}: both pictures move again, median", float(np.median(seconds)), "s", target))
        rows.append(BenchmarkRow(f"{kind}: both pictures move again, longest", max(seconds), "s", None))
    return rows
