"""MediaPipe, imported without its libraries for plotting and recording: half a second of every start."""

import sys
from types import ModuleType
from typing import Any

PLOTTING = ("matplotlib", "matplotlib.pyplot")
"""Modules that `drawing_utils` imports, whether or not anything is plotted."""
RECORDING = "sounddevice"
"""Module that `audio_record` imports if it is there; its search for a library starts processes."""


def _lean_mediapipe() -> Any:  # noqa: ANN401 (MediaPipe is untyped)
    """Import MediaPipe with empty modules in the place of matplotlib's and none in that of sounddevice, unless they are
    loaded already.

    Afterwards both can be imported as usual; only MediaPipe's own plotting and recording are disabled.
    """
    stand_ins: dict[str, ModuleType | None] = {}
    if PLOTTING[0] not in sys.modules:
        stand_ins |= {name: ModuleType(name) for name in PLOTTING}
    if RECORDING not in sys.modules:
        stand_ins[RECORDING] = None  # Makes `import` raise ImportError.
    modules: dict[str, Any] = sys.modules
    modules |= stand_ins
    try:
        import mediapipe
    finally:
        for name in stand_ins:
            del modules[name]
    return mediapipe


mediapipe: Any = _lean_mediapipe()
"""The package."""
