"""Start of `fitme fit`, up to the first step of the fit, on two cores.

Most of it holds the interpreter's lock, above all the import of torch. Work that does not hold that lock runs on other
threads meanwhile::

    main thread                                     other threads
    ---------------------------------------------   ---------------------------------------------
    Pillow, OpenCV and MediaPipe are imported
    torch and numba are imported                    the first photo is read, its face detected
    the fit is imported, the generator read         numba's kernels are loaded, and the head's
    pose and identity of the face are found         ambient occlusion and texels computed by them

Modules that are imported before the models are read, here and in `fitme.ingest.prefetch`, do not import torch.
"""

import gc
from collections.abc import Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

from fitme.commands.fit.output_check import check_folder, check_inputs
from fitme.commands.fit.request import FitRequest, InputFrames, Models
from fitme.commands.fit.stopwatch import Stopwatch
from fitme.ingest.candidates import gather
from fitme.ingest.even_spacing import split_holdout
from fitme.ingest.prefetch import Prefetcher
from fitme.quiet import quiet_libraries
from fitme.track.factory import check_networks, dlib_embedder

if TYPE_CHECKING:
    from fitme.fit.settings import FitSettings
    from fitme.reflectance.generator import ReflectanceGenerator
    from fitme.shape.morphable_model import MorphableModel


@contextmanager
def started(request: FitRequest, watch: Stopwatch) -> Iterator[tuple[InputFrames, Models]]:
    """Context of a fit's candidates and models; the first candidate is being read.

    :raises FitmeError: with nothing written, if inputs, output folder, networks or device cannot be used.
    """
    if request.device != "cpu":
        from fitme.render.rasterizer import check_device

        check_device(request.device)
    check_folder(request.out)
    check_inputs(request.inputs, request.out)
    with ExitStack() as stack:
        stack.enter_context(quiet_libraries())
        executor = stack.enter_context(ThreadPoolExecutor(1, "drawing"))
        with uncollected(), watch.measuring("start"):
            check_networks(request.networks)
            frames = _input_frames(request)
            stack.enter_context(frames.prefetcher)
            head = _head(executor)  # Imports torch and numba.
            models = _models(head, request.fit, executor)
        yield frames, models


@contextmanager
def uncollected() -> Iterator[None]:
    """Context without garbage collection; all objects created in it are exempt from later collections.

    Modules and models are hundreds of thousands of permanent objects: searching them for garbage repeatedly takes a
    fifth of the time of their import.
    """
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()


def _input_frames(request: FitRequest) -> InputFrames:
    """Candidates for the fit and held-out ones; the first is being read."""
    candidates = gather(request.inputs) if request.inputs else []
    check_inputs((candidate.path for candidate in candidates), request.out)
    fitted, held_out = split_holdout(len(candidates), request.holdout)
    first = tuple(candidates[index] for index in fitted)
    prefetcher = Prefetcher(first, request.networks)
    return InputFrames(first, tuple(candidates[index] for index in held_out), prefetcher)


def _head(executor: Executor) -> "MorphableModel":
    """Morphable model; its ambient occlusion is being computed and cached on `executor`."""
    from fitme.render.occlusion import head_occlusion
    from fitme.shape.model_file import load_default_model

    head = load_default_model()
    executor.submit(head_occlusion, head)
    return head


def _models(head: "MorphableModel", settings: "FitSettings | None", executor: Executor) -> Models:
    """Models of a fit, read while the head's texels are being rasterized on `executor`."""
    from fitme.fit.settings import FitSettings
    from fitme.fit.texture.unprojection import texel_table
    from fitme.reflectance.packaged_models import packaged_generator

    chosen = settings or FitSettings()
    executor.submit(texel_table, head, chosen.map_resolution)
    generator = packaged_generator(chosen.reflectance_model)
    return Models(head, generator, dlib_embedder(), executor.submit(_prepare, head, generator))


def _prepare(head: "MorphableModel", generator: "ReflectanceGenerator") -> None:
    """Compute the texel table of a generator's maps, and synthesize once: the first time takes four times as long."""
    import torch

    from fitme.fit.texture.unprojection import texel_table

    texel_table(head, generator.config.resolution)
    with torch.no_grad():
        generator.synthesize(generator.broadcast(generator.mean_w[None]))
