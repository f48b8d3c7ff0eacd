"""`fitme bench chaos-cluster`: disasters at random moments against two web servers, a Ray cluster and an object store.

Native peers play people who come back at the other server when their own goes. Engines wait instead of working
(`stream.bench.waiting_engine`), and add each committed round to a journal, from which it is seen whether a session had
two owners, and whether the store has lost one of its rounds. The object store's server keeps its objects in memory: not
it is killed, but the link to it is, which is the same for all who use it (`stream.bench.network_link`).
"""

import asyncio
import contextlib
import random
import secrets
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from websockets.exceptions import WebSocketException

from fitme.bench.rows import BenchmarkRow
from fitme.session.folder import delete_session
from fitme.session.lease import BusyError
from fitme.session.object_folder import ObjectFolder, ObjectStoreSettings
from fitme.session.store import SessionStore
from stream.bench import waiting_server
from stream.bench.encoded_camera import PacketTrack, sample_packets
from stream.bench.native_peer import NativePeer, ServerError, request
from stream.bench.network_link import NetworkLink
from stream.bench.object_server import BUCKET, ObjectServer
from stream.bench.ray_cluster import RayCluster
from stream.bench.sample import SMALL_PX
from stream.bench.server_process import ServerProcess, free_port
from stream.protocol.protocol import Feed

DISASTERS = 20
DISASTERS_PER_GROUP = 10
"""After as many, servers are stopped and everything stored is read; then new people come."""
KINDS = {"engine node": 4, "object store": 3, "web server": 2, "drained web server": 1, "slow network": 2}
"""What ends, is out of reach or is slow; with each, how often it is drawn."""
PEOPLE = 4
SERVERS, NODES, WORKERS_PER_SERVER = 2, 3, 2
NODE_CORES = 2
"""Workers of one core that fit on a node: those of a lost one fit on the others."""
ROUND_S = 0.5
CAMERA_RATE_HZ = 5.0
LONGEST_WAIT_S = 4.0
"""Longest time from when everybody's session goes on to the next disaster."""
SHORTEST_OUTAGE_S, LONGEST_OUTAGE_S = 1.0, 15.0
SLOW_DELAY_S, SLOW_BYTES_PER_SECOND = 0.2, 50_000.0
DRAIN_S = 1.0
ROUNDS_AFTER = 2
"""Further rounds that show that a session goes on: one may have been on its way already."""
RECOVERY_TIMEOUT_S = 120.0
RETRY_PAUSE_S = 0.5
READ_TIMEOUT_S = 60.0
LONGEST_RECOVERY_S = {"engine node": 15.0, "drained web server": 10.0}
PREFIX = "chaos"


@dataclass
class Tally:
    """Counts over all disasters."""

    disasters: Counter[str] = field(default_factory=Counter)
    recovery_s: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    """Time until everybody's session goes on."""
    stuck: Counter[str] = field(default_factory=Counter)
    """Disasters after which a session did not go on in time."""
    other_workers: int = 0
    """How often a session went on at another worker."""
    returns: int = 0
    """How often a page that was sent away, or cut off, was taken by a server again."""
    sessions: int = 0
    rounds: int = 0
    """Committed rounds, by the journal."""
    lost_rounds: int = 0
    owned_twice: int = 0
    """Sessions that two engines wrote in turn, or one round of which was committed twice."""


class _Person:
    """A person whose page comes back, at the next server, whenever it is sent away or its server is gone."""

    def __init__(self, addresses: list[str], packets: list[bytes]) -> None:
        self._addresses, self._packets = addresses, packets
        self._token: str | None = None
        self.session: str | None = None
        self.rounds = 0
        """How many reports of stored rounds have come."""
        self.wanted = 0
        """Number of reports from which the session counts as going on."""
        self.last_round = -1
        self.other_workers = 0
        self.returns = 0
        self._turn = 0
        self._running = asyncio.create_task(self._run())

    @property
    def goes_on(self) -> bool:
        """Whether enough rounds were reported since `wanted` was set."""
        return self.rounds >= self.wanted

    async def end(self) -> None:
        """Leave; the session stays in the store."""
        self._running.cancel()
        await asyncio.gather(self._running, return_exceptions=True)

    def _note(self, event: dict[str, Any]) -> None:
        if event["type"] == "round":
            self.rounds += 1
            self.last_round = max(self.last_round, int(event["index"]))
        elif event["type"] == "error" and event["code"] == "engine_restarted":
            self.other_workers += 1

    async def _run(self) -> None:
        while True:
            peer = NativePeer(self._addresses[self._turn % len(self._addresses)], self._token)
            peer.on_event = self._note
            with contextlib.suppress(ServerError, OSError, WebSocketException):
                try:
                    await peer.send_camera(PacketTrack(self._packets, CAMERA_RATE_HZ), self.session)
                    self.returns += self.session is not None
                    self._token, self.session = peer.token, peer.session
                    await peer.watch((Feed.PARAMETERS,))
                    await peer.until(lambda peer=peer: peer.close_code is not None, float("inf"))  # type: ignore[misc]
                finally:
                    await peer.close()
            self._turn += 1
            await asyncio.sleep(RETRY_PAUSE_S)


@dataclass
class _Site:
    """All that is struck."""

    cluster: RayCluster
    store_link: NetworkLink
    servers: list[ServerProcess]
    page_links: list[NetworkLink]
    journal: Path
    settings: ObjectStoreSettings

    async def start(self) -> None:
        """Start the servers."""
        await asyncio.gather(*(asyncio.to_thread(server.__enter__) for server in self.servers))

    async def stop(self) -> None:
        """Stop the servers in good order."""
        await asyncio.gather(*(asyncio.to_thread(server.__exit__) for server in self.servers))


def cluster_chaos(count: int = DISASTERS) -> list[BenchmarkRow]:
    """Run `count` disasters, `DISASTERS_PER_GROUP` on each group of sessions, and tally what they did."""
    seed = secrets.randbelow(2**31)
    tally = Tally()
    asyncio.run(_run(random.Random(seed), count, tally))
    return [BenchmarkRow("seed", seed, ""), *rows_of(tally)]


async def _run(rng: random.Random, count: int, tally: Tally) -> None:
    packets = sample_packets(SMALL_PX)
    left = rng.choices(list(KINDS), list(KINDS.values()), k=count)
    async with _site() as site:
        while left:
            group, left = left[:DISASTERS_PER_GROUP], left[DISASTERS_PER_GROUP:]
            await site.start()
            try:
                people = [_Person([link.address for link in site.page_links], packets) for _ in range(PEOPLE)]
                try:
                    await _until_all_go_on(people)
                    for kind in group:
                        await asyncio.sleep(rng.uniform(0.0, LONGEST_WAIT_S))
                        await _strike(site, people, kind, rng, tally)
                finally:
                    await asyncio.gather(*(person.end() for person in people))
            finally:
                await site.stop()
            await asyncio.to_thread(_check, site, people, tally)


@contextlib.asynccontextmanager
async def _site() -> AsyncIterator[_Site]:
    """The servers are not started yet."""
    async with contextlib.AsyncExitStack() as running:
        folder = Path(running.enter_context(tempfile.TemporaryDirectory()))
        objects = await asyncio.to_thread(running.enter_context, ObjectServer())
        cluster = await asyncio.to_thread(running.enter_context, RayCluster(NODES, NODE_CORES))
        link = await running.enter_async_context(NetworkLink(objects.port, free_port()))
        settings = {
            "engine": cluster.address,
            "ray": {"workers": WORKERS_PER_SERVER, "cpus": 1.0},
            "object_store": {"endpoint": link.address},
            "session": dict.fromkeys(("limit", "per_address_limit"), PEOPLE),
            "drain_s": DRAIN_S,
        }
        (folder / "serve.yaml").write_text(yaml.safe_dump(settings))
        journal = folder / "journal"
        journal.touch()
        servers, page_links = [], []
        for index in range(SERVERS):
            (folder / str(index)).mkdir()
            options = ["--config", str(folder / "serve.yaml"), "--store", f"s3://{BUCKET}/{PREFIX}"]
            options += ["--journal", str(journal), "--round-s", str(ROUND_S)]
            servers.append(ServerProcess(folder / str(index), *options, module=waiting_server.__name__))
            port = int(servers[-1].address.rpartition(":")[2])
            page_links.append(await running.enter_async_context(NetworkLink(port, free_port())))
        yield _Site(cluster, link, servers, page_links, journal, ObjectStoreSettings(objects.address))


async def _strike(site: _Site, people: list[_Person], kind: str, rng: random.Random, tally: Tally) -> None:
    """One disaster; returns once everything that it struck is back, and everybody's session goes on or is stuck."""
    tally.disasters[kind] += 1
    outage_s = rng.uniform(SHORTEST_OUTAGE_S, LONGEST_OUTAGE_S)
    server = rng.choice(site.servers)
    start_s = time.monotonic()
    match kind:
        case "engine node":
            await asyncio.to_thread(site.cluster.kill_node, rng)
        case "web server":
            await asyncio.to_thread(server.kill)
        case "drained web server":
            await request("POST", f"{server.address}/admin/drain")
            start_s += DRAIN_S
            await asyncio.sleep(DRAIN_S)
        case "object store":
            site.store_link.cut()
            await asyncio.sleep(outage_s)
            await site.store_link.mend()
            start_s = time.monotonic()
        case "slow network":
            for link in (site.store_link, *site.page_links):
                link.delay_s, link.bytes_per_second = SLOW_DELAY_S, SLOW_BYTES_PER_SECOND
            await asyncio.sleep(outage_s)
            for link in (site.store_link, *site.page_links):
                link.delay_s, link.bytes_per_second = 0.0, None
            start_s = time.monotonic()
    try:
        await _until_all_go_on(people)
        tally.recovery_s[kind].append(time.monotonic() - start_s)
    except TimeoutError:
        tally.stuck[kind] += 1
        silent = [person.session for person in people if not person.goes_on]
        print(f"after {kind}: {', '.join(map(str, silent))} did not go on", flush=True)
    if kind == "engine node":
        await asyncio.to_thread(site.cluster.add_node)
    elif "web server" in kind:
        await asyncio.to_thread(server.__exit__)
        await asyncio.to_thread(server.__enter__)


async def _until_all_go_on(people: list[_Person]) -> None:
    """Wait until each session has stored `ROUNDS_AFTER` more rounds.

    :raises TimeoutError: if one has not in time.
    """
    for person in people:
        person.wanted = person.rounds + ROUNDS_AFTER
    async with asyncio.timeout(RECOVERY_TIMEOUT_S):
        while not all(person.goes_on for person in people):
            await asyncio.sleep(RETRY_PAUSE_S / 10)


def _check(site: _Site, people: list[_Person], tally: Tally) -> None:
    """Compare what is stored with the journal and with what pages were told, and erase it."""
    journal = read_journal(site.journal.read_text().splitlines())
    site.journal.write_text("")
    for person in people:
        if person.session is None:
            continue
        folder = ObjectFolder(BUCKET, f"{PREFIX}/{person.session}", site.settings, "check")
        stored = _stored_rounds(folder)
        written = journal.get(person.session, [])
        tally.sessions += 1
        tally.other_workers += person.other_workers
        tally.returns += person.returns
        tally.rounds += len(written)
        tally.lost_rounds += count_lost(written, stored, person.last_round)
        tally.owned_twice += is_owned_twice(written)
        delete_session(folder)


@dataclass(frozen=True)
class JournalEntry:
    """A round that an engine has committed."""

    owner: str
    """The engine, and its opening of the session."""
    index: int


def read_journal(lines: Iterable[str]) -> dict[str, list[JournalEntry]]:
    """Entries of each session, in the order of time."""
    found: dict[str, list[JournalEntry]] = defaultdict(list)
    for line in lines:
        session, owner, index = line.split()
        found[session].append(JournalEntry(owner, int(index)))
    return found


def is_owned_twice(entries: list[JournalEntry]) -> bool:
    """Whether a round was committed twice, or an owner committed another one after somebody else had."""
    indices = [entry.index for entry in entries]
    owners = [owner for owner, _ in groupby(entry.owner for entry in entries)]
    return len(set(indices)) < len(indices) or len(set(owners)) < len(owners)


def count_lost(entries: list[JournalEntry], stored: list[int], told: int) -> int:
    """Committed rounds that the store does not have.

    :param stored: indices of the rounds in the store.
    :param told: the last one that a page was told of; -1 for none.
    """
    committed = {entry.index for entry in entries} | set(range(told + 1))
    return len(committed - set(stored))


def _stored_rounds(folder: ObjectFolder) -> list[int]:
    """Indices of the rounds of a session that is in nobody's hands, or soon will be."""
    deadline_s = time.monotonic() + READ_TIMEOUT_S
    while True:
        try:
            with SessionStore(folder) as store:
                state = store.read()
            return [] if state is None else [report.index for report in state.rounds]
        except BusyError:
            if time.monotonic() > deadline_s:
                raise
            time.sleep(RETRY_PAUSE_S)


def rows_of(tally: Tally) -> list[BenchmarkRow]:
    """The table."""
    rows = [BenchmarkRow(f"disasters: {kind}", tally.disasters[kind], "") for kind in KINDS if tally.disasters[kind]]
    rows += [
        BenchmarkRow("sessions looked at", tally.sessions, ""),
        BenchmarkRow("times that one went on at another worker", tally.other_workers, ""),
        BenchmarkRow("times that a page came to a server again", tally.returns, ""),
        BenchmarkRow("committed rounds", tally.rounds, ""),
        BenchmarkRow("committed rounds lost", tally.lost_rounds, "", "<= 0"),
        BenchmarkRow("sessions owned twice", tally.owned_twice, "", "<= 0"),
        BenchmarkRow("disasters after which a session did not go on", tally.stuck.total(), "", "<= 0"),
        *(BenchmarkRow(f"did not go on after: {kind}", count, "") for kind, count in tally.stuck.items()),
    ]
    for kind, seconds in tally.recovery_s.items():
        target = f"<= {LONGEST_RECOVERY_S[kind]:g}" if kind in LONGEST_RECOVERY_S else None
        rows.append(BenchmarkRow(f"{kind}: everybody refined again, median", float(np.median(seconds)), "s", target))
        rows.append(BenchmarkRow(f"{kind}: everybody refined again, longest", max(seconds), "s", target))
    return rows
