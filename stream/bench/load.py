"""`fitme bench load` and `fitme bench load-scale-out`: people are added until a promised rate breaks.

Each person is a native peer with a camera of 30 frames a second and a page that draws for itself, at a real server. The
promises: a face is tracked 24 times a second, its parameters are with the page within 120 ms, and each person has their
own skin within 10 s. The environment variable `FITME_ENGINE` names the engine: ``local`` (the default), ``ray`` for a
cluster of two nodes on this machine, or ``ray://HOST:PORT``.

`load-scale-out` compares one engine node with two, whose engines wait as long as measured work takes: the cores of one
machine do not suffice for the work itself. Their cameras are small, since nobody looks at the frames.
"""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from fitme.bench.rows import BenchmarkRow
from fitme.stage import Stage
from stream.bench import waiting_server
from stream.bench.encoded_camera import Arrivals, PacketTrack, sample_packets
from stream.bench.native_peer import NativePeer
from stream.bench.sample import SMALL_PX
from stream.bench.served_engine import ENGINE_ON_THIS_MACHINE, chosen_engine, served_by
from stream.bench.server_process import ServerProcess
from stream.protocol.protocol import Feed

PEOPLE = 8
"""Most people that are added."""
CAMERA_RATE_HZ = 30.0
DRAWING = (Feed.AVATAR, Feed.PARAMETERS)
PROMISED_RATE_HZ = 24.0
LOST_FRAMES = 0.05
"""Share of the promised frames that may be missing in one window: a tracker that just suffices loses one at times."""
PROMISED_DELAY_S = 0.12
PROMISED_SKIN_S = 10.0
SKIN_TIMEOUT_S = 3.0 * PROMISED_SKIN_S
SETTLE_S = 2.0
WINDOW_S = 10.0
"""In which rates and delays are measured, after each person who came."""
WINDOWS = 2
"""A promise is broken once it is in as many windows running: other work of the machine breaks it at times."""
LEAST_SCALING = 1.9


@dataclass(frozen=True)
class Served:
    """What a number of people got at the same time."""

    people: int
    rate_hz: float
    """Tracked frames a second of whoever got the fewest."""
    total_rate_hz: float
    """Of all together."""
    delay_s: float
    """95th percentile from camera frame to parameters, of whoever waited longest."""
    skin_s: float
    """Time from the newest person's camera to their own skin; infinity if it did not come in time."""
    cores: float
    """Processor time of the server and of what it has started, in cores: without workers on a Ray cluster."""
    resident_bytes: int
    """Memory of the same processes."""

    @property
    def kept(self) -> bool:
        """Whether every promise was kept."""
        enough = self.rate_hz >= (1.0 - LOST_FRAMES) * PROMISED_RATE_HZ
        return enough and self.delay_s <= PROMISED_DELAY_S and self.skin_s <= PROMISED_SKIN_S


class _Person:
    """One person: a camera, and a page that draws for itself."""

    def __init__(self, server: ServerProcess, packets: list[bytes]) -> None:
        self._track = PacketTrack(packets, CAMERA_RATE_HZ)
        self.peer = NativePeer(server.address)
        self.arrivals = Arrivals(CAMERA_RATE_HZ, self._track)
        self.peer.on_parameters, self.peer.on_event = self.arrivals.note, self._note
        self._has_skin = False

    def _note(self, event: dict[str, Any]) -> None:
        self._has_skin = self._has_skin or (event["type"] == "round" and Stage(event["stage"]).has_reached(Stage.SKIN))

    async def until_own_skin(self) -> float:
        """Begin, and return the time until the first round with the person's own skin; infinity after the time-out."""
        start_s = time.monotonic()
        await self.peer.send_camera(self._track)
        await self.peer.watch(DRAWING)
        try:
            await self.peer.until(lambda: self._has_skin, SKIN_TIMEOUT_S)
        except TimeoutError:
            return float("inf")
        return time.monotonic() - start_s


async def add_people(
    server: ServerProcess, packets: list[bytes], most: int, window_s: float = WINDOW_S
) -> list[Served]:
    """Add one person after the other, up to `most`, or until a promise breaks; what they got, after each.

    :param window_s: in which rates and delays are measured.
    """
    people: list[_Person] = []
    steps: list[Served] = []
    try:
        while len(people) < most and (not steps or steps[-1].kept):
            people.append(_Person(server, packets))
            skin_s = await people[-1].until_own_skin()
            await asyncio.sleep(SETTLE_S)
            for _ in range(WINDOWS):
                step = await _measure(server, people, skin_s, window_s)
                if step.kept:
                    break
            steps.append(step)
    finally:
        for person in people:
            await person.peer.close()
    return steps


async def _measure(server: ServerProcess, people: Sequence[_Person], skin_s: float, window_s: float) -> Served:
    for person in people:
        person.arrivals.clear()
    used_s, start_s = server.processor_s(), time.monotonic()
    await asyncio.sleep(window_s)
    used_s, passed_s = server.processor_s() - used_s, time.monotonic() - start_s
    rates = [len(person.arrivals.arrived_s) / passed_s for person in people]
    delays_s = [float(np.percentile(person.arrivals.delays_s(), 95)) for person in people]
    return Served(
        len(people), min(rates), sum(rates), max(delays_s), skin_s, used_s / passed_s, server.resident_bytes()
    )


def load(count: int = PEOPLE) -> list[BenchmarkRow]:
    """Add up to `count` people to a server with the engine that `FITME_ENGINE` names."""
    packets = sample_packets()
    with served_by(chosen_engine(), count) as server:
        steps = asyncio.run(add_people(server, packets, count))
    return [BenchmarkRow("people with all that is promised", carried(steps), "", ">= 1"), *_rows(steps)]


def load_scale_out(count: int = PEOPLE) -> list[BenchmarkRow]:
    """Add up to `count` people to one engine node, and to two, with engines that wait."""
    packets = sample_packets(SMALL_PX)
    found = {}
    for nodes in (1, 2):
        with served_by(ENGINE_ON_THIS_MACHINE, count, waiting_server.__name__, nodes) as server:
            found[nodes] = asyncio.run(add_people(server, packets, count))
    one, two = (carried(steps) for steps in found.values())
    return [
        BenchmarkRow("people at two nodes, over one node", two / one if one else 0.0, "", f">= {LEAST_SCALING}"),
        BenchmarkRow(
            "most tracked frames a second, of all, over one node's",
            max(step.total_rate_hz for step in found[2]) / max(step.total_rate_hz for step in found[1]),
            "",
        ),
        *(
            row
            for nodes, steps in found.items()
            for row in [BenchmarkRow(f"nodes: {nodes}; people", carried(steps), ""), *_rows(steps)]
        ),
    ]


def carried(steps: Sequence[Served]) -> int:
    """The most people who got all that is promised."""
    return max((step.people for step in steps if step.kept), default=0)


def _rows(steps: Sequence[Served]) -> list[BenchmarkRow]:
    rows = []
    for step in steps:
        name = f"{step.people} {'person' if step.people == 1 else 'people'}"
        rows += [
            BenchmarkRow(f"{name}: tracked frames of the least", step.rate_hz, "1/s", f">= {PROMISED_RATE_HZ:g}"),
            BenchmarkRow(
                f"{name}: camera frame to parameters, p95 of the worst",
                1e3 * step.delay_s,
                "ms",
                f"<= {1e3 * PROMISED_DELAY_S:g}",
            ),
            BenchmarkRow(f"{name}: own skin of the newest", step.skin_s, "s", f"<= {PROMISED_SKIN_S:g}"),
            BenchmarkRow(f"{name}: processor time of the server", step.cores, "cores"),
            BenchmarkRow(f"{name}: memory of the server", step.resident_bytes / 2**20, "MiB"),
        ]
    return rows
