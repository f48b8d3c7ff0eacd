"""People are added until a promise breaks, at a server whose engine waits instead of working."""

from dataclasses import replace

from stream.bench import waiting_server
from stream.bench.encoded_camera import sample_packets
from stream.bench.load import Served, add_people, carried
from stream.bench.sample import SMALL_PX
from stream.bench.served_engine import LOCAL, served_by

KEPT = Served(people=1, rate_hz=29.0, total_rate_hz=29.0, delay_s=0.05, skin_s=3.0, cores=0.5, resident_bytes=2**30)


def test_each_promise_counts() -> None:
    assert KEPT.kept
    assert replace(KEPT, rate_hz=23.5).kept, "a frame is lost at times"
    assert not replace(KEPT, rate_hz=20.0).kept
    assert not replace(KEPT, delay_s=0.13).kept
    assert not replace(KEPT, skin_s=float("inf")).kept
    steps = [KEPT, replace(KEPT, people=2), replace(KEPT, people=3, rate_hz=16.0)]
    assert carried(steps) == 2
    assert carried(steps[2:]) == 0


async def test_people_are_added_to_a_real_server() -> None:
    with served_by(LOCAL, 2, waiting_server.__name__) as server:
        (step,) = await add_people(server, sample_packets(SMALL_PX), 1, window_s=1.0)
    assert step.people == 1
    assert 0.0 < step.rate_hz <= 31.0
    assert step.rate_hz == step.total_rate_hz
    assert 0.0 < step.delay_s < float("inf")
    assert 1.0 < step.skin_s < float("inf")
    assert step.cores > 0.0
    assert step.resident_bytes > 2**20
