"""Row of a benchmark's results."""

from dataclasses import dataclass


@dataclass(frozen=True)
class BenchmarkRow:
    """One measured figure."""

    name: str
    """Quantity that was measured."""
    value: float
    """The figure."""
    unit: str
    """Unit of the figure, as printed."""
    target: str | None = None
    """Target of the figure, such as '>= 40'; None without one."""
