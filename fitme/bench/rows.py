"""The value that every benchmark returns."""

from dataclasses import dataclass


@dataclass(frozen=True)
class BenchmarkRow:
    """One measured figure."""

    name: str
    """What was measured."""
    value: float
    """The figure."""
    unit: str
    """Unit of the figure, as printed."""
    target: str | None = None
    """What the figure should be, in words such as '>= 40'; None where nothing is promised."""
