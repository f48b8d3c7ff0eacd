"""The start of `fitme fit`: from its first line to the first step of the fit, on two cores.

Most of it is work that only one thread at a time can do, since it holds the interpreter's lock: importing torch above
all. What does not hold that lock is done beside it::

    main thread                                     beside it
    ---------------------------------------------   ---------------------------------------------
    Pillow, OpenCV and MediaPipe are imported
    torch and numba are imported                    the first photo is read and looked at
    the fit is imported, the generator read         numba's kernels are loaded, and the head's
    pose and identity of the face are found         ambient occlusion and its texels drawn with them

Whatever is imported before the models are read, here and in `fitme.ingest.prefetch`, does without torch.
"""

import gc
from collections.abc import Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

from fitme.commands.fit.output_check import check_folder, check_inputs
from fitme.commands.fit.quiet import quiet_libraries
from fitme.commands.fit.request import FitRequest, Models, Pictures
from fitme.commands.fit.stopwatch import Stopwatch
from fitme.errors import BackendError
from fitme.ingest.gather import gather
from fitme.ingest.prefetch import Prefetcher
from fitme.ingest.spread import split_holdout

if TYPE_CHECKING:
    from fitme.reflectance.generator import ReflectanceGenerator
    from fitme.shape import MorphableModel


@contextmanager
def started(request: FitRequest, watch: Stopwatch) -> Iterator[tuple[Pictures, Models]]:
    """Pictures and models of a fit, for as long as the context lasts; the pictures are being looked at.

    Raises FitmeError, with nothing written, if the inputs or the device cannot be used.
    """
    if request.device != "cpu":
        raise BackendError(f"--device {request.device}: fits run on the processor so far; use --device cpu")
    check_folder(request.out)
    check_inputs(request.inputs, request.out)
    with ExitStack() as stack:
        stack.enter_context(quiet_libraries())
        beside = stack.enter_context(ThreadPoolExecutor(1, "drawing"))
        with uncollected(), watch.measuring("start"):
            pictures = _pictures(request)
            stack.enter_context(pictures.prefetcher)
            head = _head(beside)  # Imports torch and numba.
            models = _models(head, beside)
        yield pictures, models


@contextmanager
def uncollected() -> Iterator[None]:
    """Collect no garbage inside, and look at nothing that was made there again.

    Modules and models come by the hundred thousand objects and stay: to look for garbage among them, again and again
    while they grow, takes a fifth of the time that they take to be imported.
    """
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()


def _pictures(request: FitRequest) -> Pictures:
    """What there is to look at; the first of it is being looked at."""
    candidates = gather(request.inputs) if request.inputs else []
    check_inputs((candidate.path for candidate in candidates), request.out)
    fitted, held_out = split_holdout(len(candidates), request.holdout)
    first = tuple(candidates[index] for index in fitted)
    return Pictures(first, tuple(candidates[index] for index in held_out), Prefetcher(first))


def _head(beside: Executor) -> "MorphableModel":
    """The head, whose occlusion is being drawn, and is kept for whoever asks for it."""
    from fitme.render.occlusion import head_occlusion
    from fitme.shape import load_default_model

    head = load_default_model()
    beside.submit(head_occlusion, head)
    return head


def _models(head: "MorphableModel", beside: Executor) -> Models:
    """What is still to be read, while the head's texels are being drawn."""
    from fitme.fit.settings import FitSettings
    from fitme.fit.texture.unprojection import texel_table
    from fitme.reflectance.weights import DEFAULT_WEIGHTS, load_generator
    from fitme.track.tracker import default_embedder

    beside.submit(texel_table, head, FitSettings.map_resolution)
    generator = load_generator(DEFAULT_WEIGHTS)
    return Models(head, generator, default_embedder(), beside.submit(_prepare, head, generator))


def _prepare(head: "MorphableModel", generator: "ReflectanceGenerator") -> None:
    """Draw the texels of a generator's maps, and a face once, since the first takes four times as long as others."""
    import torch

    from fitme.fit.texture.unprojection import texel_table

    texel_table(head, generator.config.resolution)
    with torch.no_grad():
        generator.synthesize(generator.broadcast(generator.mean_w[None]))
