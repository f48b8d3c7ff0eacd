"""Defaults that the command line shares with the Python interface. Free of torch."""

from typing import Final

DEFAULT_SECONDS: Final = 50.0
"""Seconds of refinement, in which the fit of a short clip converges on two cores."""
