"""Metrics count what happens, in a format that Prometheus' own parser reads."""

from prometheus_client.parser import text_string_to_metric_families

from stream.protocol.events import ErrorEvent, KeptEvent, RoundEvent
from stream.protocol.parameters import Parameters
from stream.web.monitoring.metrics import Metrics


def samples(metrics: Metrics) -> dict[tuple[str, ...], float]:
    """Values by name and labels."""
    families = text_string_to_metric_families(metrics.text().decode())
    return {(item.name, *item.labels.values()): item.value for family in families for item in family.samples}


def test_events_and_parameters_are_counted() -> None:
    metrics = Metrics()
    metrics.event(RoundEvent(0, "skin", 1.5, 2))
    metrics.event(RoundEvent(1, "skin", 3.0, 2))
    metrics.event(ErrorEvent("store_failed", "no space"))
    metrics.event(KeptEvent(True))
    motion = Parameters(1, True, 0.0, 0.0, 0.04, (0.0, 0.0, 0.0, 1.0), (0.0, 0.0, -0.5), (0.0,) * 4, (0.5,) * 52)
    metrics.parameters(motion.pack())
    metrics.begun(resumed=True)
    metrics.ended("deleted")
    found = samples(metrics)
    assert found["fitme_round_seconds_count",] == 2
    assert found["fitme_round_seconds_sum",] == 4.5
    assert found["fitme_errors_total", "store_failed"] == 1
    assert found["fitme_parameters_delay_seconds_bucket", "0.03"] == 0
    assert found["fitme_parameters_delay_seconds_bucket", "0.05"] == 1
    assert found["fitme_sessions_begun_total", "true"] == 1
    assert found["fitme_sessions_ended_total", "deleted"] == 1


def test_gauges_are_read_when_asked() -> None:
    metrics, people = Metrics(), [1, 2]
    metrics.gauge("fitme_people", "People.", lambda: len(people))
    assert samples(metrics)["fitme_people",] == 2
    people.clear()
    assert samples(metrics)["fitme_people",] == 0
