"""MediaPipe, imported without its libraries for plotting and recording: half a second of every start.

The files of its networks (Apache-2.0) are part of this package.
"""

import atexit
import sys
import weakref
from pathlib import Path
from types import ModuleType
from typing import Any, Final

import numpy as np

from fitme.arrays import UInt8Array
from fitme.errors import ModelFileError
from fitme.native_libraries import check_native_libraries, check_processor_list
from fitme.quiet import quiet_libraries

WEIGHTS_FOLDER: Final = Path(__file__).parent / "weights"
"""Folder of the networks' files."""
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
EMPTY_SIZE: Final = (48, 64)
"""Height and width of an empty image, pixels."""
_open: "weakref.WeakKeyDictionary[Any, Any]" = weakref.WeakKeyDictionary()
"""Networks that may not have been closed, and the thread pool that each of them calls its library in.

A network's finaliser closes it in that pool. Were both garbage of one cycle of references, the pool's thread would end
first, and the finaliser would wait for it for ever: so the pool is kept here for as long as the network is there."""


def create_network(
    network: Any,  # noqa: ANN401 (MediaPipe is untyped)
    options: Any,  # noqa: ANN401
    file: Path,
    method: str,
    *arguments: int,
    **settings: Any,  # noqa: ANN401
) -> Any:  # noqa: ANN401
    """New network of a class of `mediapipe.tasks.vision`, with its class of options, from a model file.

    It is run once on an empty image, by the method of this name with these arguments after the image, so that
    MediaPipe's messages on standard error are dropped.

    :raises ModelFileError: if the file is none that MediaPipe can read.
    :raises BackendError: if the system lacks libraries or the list of processors, which MediaPipe needs.
    """
    check_processor_list()
    base = mediapipe.tasks.BaseOptions(model_asset_path=str(file))
    with quiet_libraries():
        try:
            created = network.create_from_options(options(base_options=base, **settings))
        except (RuntimeError, ValueError, OSError) as error:
            check_native_libraries()
            raise ModelFileError(f"{file} is not a model that MediaPipe can read: {error}") from error
        getattr(created, method)(mediapipe_image(np.zeros((*EMPTY_SIZE, 3), np.uint8)), *arguments)
    _open[created] = created._lib._executor
    return created


def close_network(network: Any) -> None:  # noqa: ANN401 (MediaPipe is untyped)
    """Release a network, which may be None."""
    if network is not None:
        with quiet_libraries():
            network.close()


def mediapipe_image(image: UInt8Array) -> Any:  # noqa: ANN401 (MediaPipe is untyped)
    """MediaPipe's image of an array (H, W, 3) uint8 sRGB."""
    return mediapipe.Image(image_format=mediapipe.ImageFormat.SRGB, data=np.ascontiguousarray(image))


@atexit.register
def _abandon_all() -> None:
    """Keep MediaPipe's finalisers of networks that were not closed from raising errors: their threads have ended."""
    for network in list(_open):
        network._handle = None
