"""The course of `fitme fit`: read, track, choose keyframes, refine, write."""

import hashlib
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from fitme.commands.fit.request import FitRequest, Models, Pictures
from fitme.commands.fit.stopwatch import Stopwatch
from fitme.fit.fitter import IncrementalFitter
from fitme.fit.keyframe import Keyframe
from fitme.fit.settings import FitSettings
from fitme.fit.state import FitState
from fitme.fit.texture.expression_distance import expression_gram, farthest_expressions
from fitme.ingest.observe import Observer, TrackedFrame
from fitme.ingest.selection import EXPRESSION_FRAMES, choose, choose_held_out
from fitme.shape import MorphableModel
from fitme.stage import Stage
from fitme.track.identity import DlibEmbedder

if TYPE_CHECKING:
    from fitme.commands.fit.output_folder import Json
    from fitme.session.store import SessionStore

SLICE_S = 2.0
"""Seconds of refinement between two looks at the clock and, with a session, two commits."""
FIRST_AVATAR, FINAL_AVATAR = "until the first avatar", "until the final avatar"
"""What was found at these times after the start of the process: an avatar with skin, that can be relit; the last one,
before anything was written."""
KEY_BYTES = 8
"""Length of a keyframe's name before it is written in hexadecimal."""


def run_fit(request: FitRequest, pictures: Pictures, models: Models, watch: Stopwatch) -> bool:
    """Fit and write. Returns whether Ctrl-C cut the refinement short.

    Raises FitmeError, with nothing written, if the pictures or the session cannot be used.
    """
    with ExitStack() as stack:
        console = Console(stderr=True)
        progress = stack.enter_context(_progress(console))
        with watch.measuring("start"):
            store = None if request.session is None else stack.enter_context(_store(request.session))
            state = None if store is None else store.read()
        observer = Observer(models.head, None if state is None else state.reference_embedding)
        with watch.measuring("read and track"):
            task = progress.add_task("reading and tracking", total=len(pictures.fitted))
            choice = choose(
                observer,
                pictures.fitted,
                lambda done: progress.update(task, completed=done),
                pictures.prefetcher,
            )
            progress.update(task, completed=len(pictures.fitted))
            chosen = choice.keyframes
            if not chosen and (state is None or not state.keyframes):
                raise observer.nobody()
        with watch.measuring("refine"):
            fitter = _fitter(models, state, chosen)
            _add_expression_frames(fitter, choice.expression_frames, models.head)
            interrupted = _refine(fitter, request.seconds, store, progress, watch)
        with watch.measuring("read held-out frames"):
            # Tracked only now, so that nothing of them can have been known before.
            held_out = choose_held_out(observer, pictures.held_out)
        # Imported only now, since the first avatar need not wait for it.
        from fitme.commands.fit.output_folder import PARTS, Outcome, write_folder

        named = {_key(tracked_frame): tracked_frame.frame.source for tracked_frame in chosen}
        outcome = Outcome(
            model=models.head,
            fitter=fitter,
            state=fitter.state(),
            avatar=fitter.avatar().named(_avatar_name(request.out)),
            held_out=held_out,
            embedder=models.embedder,
            inputs=[path.name for path in request.inputs],
            sources=named,
            skipped=observer.skipped | {named.get(key, key): why for key, why in fitter.dropped.items()},
        )
        task = progress.add_task("writing", total=len(PARTS))
        report = write_folder(outcome, request.out.resolve(), watch, lambda: progress.advance(task))
        progress.stop()
        _summarize(console, report, request.out, interrupted)
    return interrupted


def _avatar_name(folder: Path) -> str:
    """Name of the folder, with a replacement for each byte that is no UTF-8, since files of avatars cannot hold it."""
    return folder.resolve().name.encode("utf-8", "replace").decode("utf-8")


def _store(folder: Path) -> "SessionStore":
    # Zarr takes half a second to import, and most fits keep no session.
    from fitme.session.store import SessionStore

    return SessionStore(folder)


def _fitter(models: Models, state: FitState | None, chosen: Sequence[TrackedFrame]) -> IncrementalFitter:
    """A fitter that goes on from `state` and holds the chosen sightings."""
    settings = FitSettings()
    noted = [tracked_frame.frame.focal for tracked_frame in chosen if tracked_frame.frame.focal is not None]
    if noted:
        solver = replace(settings.alignment.solver, focal_prior=float(np.median(noted)))
        settings = replace(settings, alignment=replace(settings.alignment, solver=solver))
    models.prepared.result()
    if state is None:
        fitter = IncrementalFitter(models.head, models.generator, settings, models.embedder)
    else:
        fitter = IncrementalFitter.from_state(state, models.head, models.generator, settings, models.embedder)
    held = {keyframe.key for keyframe in fitter.keyframes}
    for tracked_frame in chosen:
        key = _key(tracked_frame)
        if key not in held:
            held.add(key)
            fitter.add_keyframe(_keyframe(key, tracked_frame, models.embedder))
    return fitter


def _add_expression_frames(
    fitter: IncrementalFitter, tracked_frames: Sequence[TrackedFrame], model: MorphableModel
) -> None:
    """Have further sightings studied; with those of earlier runs `EXPRESSION_FRAMES` at most, whose expressions differ
    most."""
    held = {picture.key for picture in (*fitter.keyframes, *fitter.expression_frames)}
    for tracked_frame in tracked_frames:
        key = _key(tracked_frame)
        if key not in held:
            held.add(key)
            fitter.add_expression_frame(
                Keyframe(key, tracked_frame.frame.image, tracked_frame.observation, tracked_frame.frame.timestamp_s)
            )
    pictures = fitter.expression_frames
    if len(pictures) > EXPRESSION_FRAMES:
        expressions = np.stack([picture.observation.expression for picture in pictures]).astype(np.float64)
        kept = farthest_expressions(expressions, expression_gram(model).double().numpy(), EXPRESSION_FRAMES)
        for index in set(range(len(pictures))) - set(kept):
            fitter.remove_expression_frame(pictures[index].key)


def _keyframe(key: str, tracked_frame: TrackedFrame, embedder: DlibEmbedder) -> Keyframe:
    """A keyframe that knows its identity embedding, which a tracker computes only now and then."""
    image, observation = tracked_frame.frame.image, tracked_frame.observation
    if observation.embedding is None:
        observation = replace(observation, embedding=embedder.embed(image, observation.landmarks))
    return Keyframe(key, image, observation, tracked_frame.frame.timestamp_s)


def _key(tracked_frame: TrackedFrame) -> str:
    """Name of a keyframe by its content, so that a session never holds one picture twice."""
    return hashlib.blake2b(tracked_frame.frame.image.tobytes(), digest_size=KEY_BYTES).hexdigest()


def _refine(
    fitter: IncrementalFitter, seconds: float, store: "SessionStore | None", progress: Progress, watch: Stopwatch
) -> bool:
    """Refine until the time is up, nothing is left to do, or Ctrl-C, then study expressions; whether it was Ctrl-C."""
    task = progress.add_task("fitting", total=max(seconds, SLICE_S))
    deadline = time.monotonic() + seconds
    with _interruption() as interrupted:
        while True:
            left = deadline - time.monotonic()
            # One piece of work at a time until there is skin to relight: then the first avatar stands.
            early = not fitter.stage.has_reached(Stage.SKIN)
            report = fitter.refine(0.0 if early else min(SLICE_S, max(left, 0.0)))
            if report.stage.has_reached(Stage.SKIN):
                watch.note(FIRST_AVATAR)
            if store is not None:
                store.write_round(fitter.state())
            progress.update(task, description=f"fitting: {report.stage}", completed=seconds - max(left, 0.0))
            if fitter.converged or interrupted() or time.monotonic() >= deadline:
                break
        if fitter.correctives_pending:
            progress.update(task, description="studying expressions")
            while fitter.correctives_pending and not interrupted() and time.monotonic() < deadline:
                fitter.extract_corrective()
            fitter.apply_correctives()
        watch.note(FINAL_AVATAR)
        progress.update(task, completed=max(seconds, SLICE_S))
        return interrupted()


@contextmanager
def _interruption() -> Iterator[Callable[[], bool]]:
    """Turn the first Ctrl-C inside into a request to stop at the next step; a second one stops at once."""
    asked = False

    def ask(_signal: int, _frame: FrameType | None) -> None:
        nonlocal asked
        asked = True
        signal.signal(signal.SIGINT, signal.default_int_handler)

    previous = signal.signal(signal.SIGINT, ask)
    try:
        yield lambda: asked
    finally:
        signal.signal(signal.SIGINT, previous)


def _progress(console: Console) -> Progress:
    return Progress(TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn(), console=console)


def _summarize(console: Console, report: "Json", folder: Path, interrupted: bool) -> None:
    """Tell in a few lines what came of it."""
    keyframes, median = report["keyframes"], report["holdout"]["median"]
    ended = "interrupted in" if interrupted else "reached"
    seconds = report["timings_s"]
    console.print(f"{len(keyframes)} keyframes, {ended} stage {report['stage']}, {seconds['total']:.0f} s")
    if FIRST_AVATAR in seconds:
        console.print(f"first avatar after {seconds[FIRST_AVATAR]:.1f} s, final after {seconds[FINAL_AVATAR]:.1f} s")
    if median is not None:
        console.print(
            f"held out: {len(report['holdout']['frames'])} frames, "
            f"PSNR {median['psnr_db']:.1f} dB, identity {median['identity']:.2f}"
        )
    if report["skipped"]:
        reasons = sorted(set(report["skipped"].values()))
        console.print(f"{len(report['skipped'])} pictures were of no use: {', '.join(reasons)}")
    console.print(f"written to {folder}", markup=False)
