"""Metrics of one server in Prometheus' words, without anything that names a person or a session."""

import struct
from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

from stream.protocol.events import ErrorEvent, Event, RoundEvent
from stream.protocol.parameters import DELAY_OFFSET, DELAY_STEP_S

CONTENT_TYPE = CONTENT_TYPE_LATEST
DELAY_BUCKETS_S = (0.01, 0.02, 0.03, 0.05, 0.08, 0.12, 0.2, 0.5, 1.0, 2.0)
ROUND_BUCKETS_S = (0.1, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0)
_DELAY = struct.Struct("<H")


class Metrics:
    """Counts what happens in all sessions; `gauge` adds figures that are read when they are asked for."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)
        self._begun = self._counter("fitme_sessions_begun", "Sessions that became active, new or resumed.", "resumed")
        self._ended = self._counter("fitme_sessions_ended", "Sessions that ended, by reason.", "reason")
        self._errors = self._counter("fitme_errors", "Error events sent to pages, by code.", "code")
        self._rounds = Histogram(
            "fitme_round_seconds",
            "Time that stored rounds of fits took.",
            buckets=ROUND_BUCKETS_S,
            registry=self._registry,
        )
        self._delays = Histogram(
            "fitme_parameters_delay_seconds",
            "Time from a decoded camera frame to its parameters; one observation a tracked frame.",
            buckets=DELAY_BUCKETS_S,
            registry=self._registry,
        )

    def gauge(self, name: str, text: str, value: Callable[[], float]) -> None:
        """Add a figure that `value` gives when it is asked for."""
        Gauge(name, text, registry=self._registry).set_function(value)

    def begun(self, *, resumed: bool) -> None:
        """Count a session that becomes active."""
        self._begun.labels(str(resumed).lower()).inc()

    def ended(self, reason: str) -> None:
        """Count a session that ends."""
        self._ended.labels(reason).inc()

    def event(self, event: Event) -> None:
        """Count an event of the engine."""
        if isinstance(event, RoundEvent):
            self._rounds.observe(event.seconds)
        elif isinstance(event, ErrorEvent):
            self._errors.labels(event.code).inc()

    def parameters(self, message: bytes) -> None:
        """Count packed parameters (`stream.protocol.parameters`)."""
        (delay,) = _DELAY.unpack_from(message, DELAY_OFFSET)
        self._delays.observe(delay * DELAY_STEP_S)

    def text(self) -> bytes:
        """All metrics in Prometheus' text format, of `CONTENT_TYPE`."""
        return generate_latest(self._registry)

    def _counter(self, name: str, text: str, label: str) -> Counter:
        return Counter(name, text, (label,), registry=self._registry)
