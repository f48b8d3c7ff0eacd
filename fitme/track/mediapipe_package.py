"""MediaPipe, imported without matplotlib: half a second of every start that only its own plots would use."""

import sys
from types import ModuleType
from typing import Any

PLOTTING = ("matplotlib", "matplotlib.pyplot")


def _without_plotting() -> Any:  # noqa: ANN401 (MediaPipe is untyped)
    """Import MediaPipe with empty modules in the place of matplotlib's, unless that is loaded already.

    Afterwards matplotlib can be imported as ever; only what MediaPipe's `drawing_utils` plots with it cannot be used.
    """
    empty = [] if PLOTTING[0] in sys.modules else [ModuleType(name) for name in PLOTTING]
    sys.modules |= {module.__name__: module for module in empty}
    try:
        import mediapipe
    finally:
        for module in empty:
            del sys.modules[module.__name__]
    return mediapipe


mediapipe: Any = _without_plotting()
"""The package."""
