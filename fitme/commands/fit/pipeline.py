"""Pipeline of `fitme fit`: read, track, select keyframes, refine, write."""

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

from fitme.arrays import Float32Array
from fitme.commands.fit.request import FitRequest, InputFrames, Models
from fitme.commands.fit.stopwatch import Stopwatch
from fitme.fit.fitter import IncrementalFitter
from fitme.fit.keyframe import Keyframe
from fitme.fit.settings import FitSettings
from fitme.fit.state import FitState
from fitme.fit.texture.expression_distance import expression_gram, farthest_expressions
from fitme.ingest.person_tracking import PersonTracker, TrackedFrame
from fitme.ingest.selection import EXPRESSION_FRAMES, choose, choose_held_out
from fitme.shape.morphable_model import MorphableModel
from fitme.stage import Stage
from fitme.track.factory import identity_embedder
from fitme.track.identity import DlibEmbedder

if TYPE_CHECKING:
    from fitme.commands.fit.output_folder import Json
    from fitme.session.store import SessionStore

SLICE_S = 2.0
"""Seconds of refinement between two checks of the time and, with a session, two commits."""
FIRST_AVATAR, FINAL_AVATAR = "until the first avatar", "until the final avatar"
"""Times since the start of the process: of the first avatar with skin, which can be relit, and of the final one, before
anything is written."""
KEY_BYTES = 8
"""Bytes of a keyframe's key, which is hexadecimal."""


def run_fit(request: FitRequest, frames: InputFrames, models: Models, watch: Stopwatch) -> bool:
    """Fit and write; returns whether Ctrl-C ended the refinement early.

    :raises FitmeError: with nothing written, if the images or the session cannot be used.
    """
    with ExitStack() as stack:
        console = Console(stderr=True)
        progress = stack.enter_context(_progress(console))
        with watch.measuring("start"):
            store = None if request.session is None else stack.enter_context(_store(request.session))
            state = None if store is None else store.read()
        embedder = identity_embedder(request.networks)
        person = PersonTracker(models.head, _reference(state, request), request.networks, request.tracker)
        with watch.measuring("read and track"):
            task = progress.add_task("reading and tracking", total=len(frames.fitted))
            choice = choose(
                person,
                frames.fitted,
                lambda done: progress.update(task, completed=done),
                frames.prefetcher,
            )
            progress.update(task, completed=len(frames.fitted))
            chosen = choice.keyframes
            if not chosen and (state is None or not state.keyframes):
                raise person.nobody()
            for warning in person.warnings:
                console.print(f"warning: {warning}", markup=False)
        with watch.measuring("refine"):
            keyframes = [_keyframe(entry, request, models.embedder) for entry in chosen]
            fitter = _fitter(models, state, _fit_settings(request, chosen), keyframes)
            expression_frames = [_expression_frame(entry, request) for entry in choice.expression_frames]
            _add_expression_frames(fitter, expression_frames, models.head)
            interrupted = _refine(fitter, request.seconds, store, progress, watch)
        with watch.measuring("read held-out frames"):
            # Tracked only now, so that they cannot influence the fit.
            held_out = choose_held_out(person, frames.held_out)
        # Imported only now, so that the first avatar does not wait for it.
        from fitme.commands.fit.output_folder import PARTS, Outcome, write_folder

        named = {_key(tracked_frame): tracked_frame.frame.source for tracked_frame in chosen}
        outcome = Outcome(
            model=models.head,
            fitter=fitter,
            state=fitter.state(),
            avatar=fitter.avatar().named(_avatar_name(request.out)),
            held_out=held_out,
            embedder=embedder,
            inputs=[path.name for path in request.inputs],
            sources=named,
            warnings=person.warnings,
            skipped=person.skipped | {named.get(key, key): why for key, why in fitter.dropped.items()},
        )
        task = progress.add_task("writing", total=len(PARTS))
        report = write_folder(outcome, request.out.resolve(), watch, lambda: progress.advance(task))
        progress.stop()
        _summarize(console, report, request.out, interrupted)
    return interrupted


def _avatar_name(folder: Path) -> str:
    """Name of the folder, with each byte that is no UTF-8 replaced, since avatar files hold UTF-8."""
    return folder.resolve().name.encode("utf-8", "replace").decode("utf-8")


def _store(folder: Path) -> "SessionStore":
    # Zarr takes half a second to import, and most fits keep no session.
    from fitme.session.store import SessionStore

    return SessionStore(folder)


def _reference(state: FitState | None, request: FitRequest) -> Float32Array | None:
    """Identity embedding (D,) of a session's person by the chosen network; None without a session.

    A session stores embeddings of dlib's network; another network's are computed from its keyframes.
    """
    if state is None or request.networks.identity == "dlib":
        return None if state is None else state.reference_embedding
    embedder = identity_embedder(request.networks)
    embeddings = [embedder.embed(entry.image, entry.observation.landmarks) for entry in state.keyframes]
    return np.mean(embeddings, 0).astype(np.float32) if embeddings else None


def _fit_settings(request: FitRequest, chosen: Sequence[TrackedFrame]) -> FitSettings:
    """The request's settings, with the median focal length of the images' metadata as prior."""
    settings = request.fit or FitSettings()
    noted = [entry.frame.focal for entry in chosen if entry.frame.focal is not None]
    if not noted:
        return settings
    solver = replace(settings.alignment.solver, focal_prior=float(np.median(noted)))
    return replace(settings, alignment=replace(settings.alignment, solver=solver))


def _fitter(
    models: Models, state: FitState | None, settings: FitSettings, keyframes: Sequence[Keyframe]
) -> IncrementalFitter:
    """Fitter that continues `state`, with the keyframes added."""
    models.prepared.result()
    if state is None:
        fitter = IncrementalFitter(models.head, models.generator, settings, models.embedder)
    else:
        fitter = IncrementalFitter.from_state(state, models.head, models.generator, settings, models.embedder)
    held = {keyframe.key for keyframe in fitter.keyframes}
    for keyframe in keyframes:
        if keyframe.key not in held:
            held.add(keyframe.key)
            fitter.add_keyframe(keyframe)
    return fitter


def _add_expression_frames(fitter: IncrementalFitter, frames: Sequence[Keyframe], model: MorphableModel) -> None:
    """Add expression frames, and keep at most `EXPRESSION_FRAMES`, by farthest-point sampling of expressions."""
    held = {frame.key for frame in (*fitter.keyframes, *fitter.expression_frames)}
    for frame in frames:
        if frame.key not in held:
            held.add(frame.key)
            fitter.add_expression_frame(frame)
    added = fitter.expression_frames
    if len(added) > EXPRESSION_FRAMES:
        expressions = np.stack([frame.observation.expression for frame in added]).astype(np.float64)
        kept = farthest_expressions(expressions, expression_gram(model).double().numpy(), EXPRESSION_FRAMES)
        for index in set(range(len(added))) - set(kept):
            fitter.remove_expression_frame(added[index].key)


def _keyframe(tracked_frame: TrackedFrame, request: FitRequest, embedder: DlibEmbedder) -> Keyframe:
    """Keyframe with an embedding of dlib's network, which the tracker computes only periodically."""
    keyframe = _expression_frame(tracked_frame, request)
    if keyframe.observation.embedding is not None:
        return keyframe
    embedding = embedder.embed(keyframe.image, keyframe.observation.landmarks)
    return replace(keyframe, observation=replace(keyframe.observation, embedding=embedding))


def _expression_frame(tracked_frame: TrackedFrame, request: FitRequest) -> Keyframe:
    """Frame for the fit, without the embedding of a network other than dlib's, which the fit compares."""
    frame, observation = tracked_frame.frame, tracked_frame.observation
    if request.networks.identity != "dlib":
        observation = replace(observation, embedding=None)
    return Keyframe(_key(tracked_frame), frame.image, observation, frame.timestamp_s)


def _key(tracked_frame: TrackedFrame) -> str:
    """Key of a keyframe: digest of its pixels, so that a session never holds an image twice."""
    return hashlib.blake2b(tracked_frame.frame.image.tobytes(), digest_size=KEY_BYTES).hexdigest()


def _refine(
    fitter: IncrementalFitter, seconds: float, store: "SessionStore | None", progress: Progress, watch: Stopwatch
) -> bool:
    """Refine until the time is over, convergence or Ctrl-C, then extract correctives; returns whether by Ctrl-C."""
    task = progress.add_task("fitting", total=max(seconds, SLICE_S))
    deadline = time.monotonic() + seconds
    with _interruption() as interrupted:
        while True:
            left = deadline - time.monotonic()
            # One task at a time up to the stage SKIN, so that the time of the first avatar is exact.
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
            progress.update(task, description="extracting expression correctives")
            while fitter.correctives_pending and not interrupted() and time.monotonic() < deadline:
                fitter.extract_corrective()
            fitter.apply_correctives()
        watch.note(FINAL_AVATAR)
        progress.update(task, completed=max(seconds, SLICE_S))
        return interrupted()


@contextmanager
def _interruption() -> Iterator[Callable[[], bool]]:
    """Context in which the first Ctrl-C requests a stop at the next step, and a second one stops at once."""
    requested = False

    def request(_signal: int, _frame: FrameType | None) -> None:
        nonlocal requested
        requested = True
        signal.signal(signal.SIGINT, signal.default_int_handler)

    previous = signal.signal(signal.SIGINT, request)
    try:
        yield lambda: requested
    finally:
        signal.signal(signal.SIGINT, previous)


def _progress(console: Console) -> Progress:
    return Progress(TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn(), console=console)


def _summarize(console: Console, report: "Json", folder: Path, interrupted: bool) -> None:
    """Print the result in a few lines."""
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
        console.print(f"{len(report['skipped'])} images were left out: {', '.join(reasons)}")
    console.print(f"written to {folder}", markup=False)
