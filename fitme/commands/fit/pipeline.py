"""Pipeline of `fitme fit`: read, track, select keyframes, refine, write."""

import signal
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from fitme.api.keyframes import (
    add_choice,
    begun_fitter,
    frame_key,
    reference_embedding,
    settings_with_focal,
)
from fitme.commands.fit.request import FitRequest, InputFrames, Models
from fitme.commands.fit.stopwatch import Stopwatch
from fitme.fit.fitter import IncrementalFitter
from fitme.fit.settings import FitSettings
from fitme.ingest.person_tracking import PersonTracker
from fitme.ingest.selection import choose, choose_held_out
from fitme.stage import Stage
from fitme.track.factory import identity_embedder

if TYPE_CHECKING:
    from fitme.commands.fit.output_folder import Json
    from fitme.session.store import SessionStore

SLICE_S = 2.0
"""Seconds of refinement between two checks of the time and, with a session, two commits."""
FIRST_AVATAR, FINAL_AVATAR = "until the first avatar", "until the final avatar"
"""Times since the start of the process: of the first avatar with skin, which can be relit, and of the final one, before
anything is written."""


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
        reference = reference_embedding(() if state is None else state.keyframes, request.networks)
        person = PersonTracker(models.head, reference, request.networks, request.tracker)
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
            settings = settings_with_focal(request.fit or FitSettings(), chosen)
            models.prepared.result()
            fitter = begun_fitter(state, models.head, models.generator, settings, models.embedder, request.device)
            add_choice(fitter, choice, request.networks, models.embedder, models.head)
            interrupted = _refine(fitter, request.seconds, store, progress, watch)
        with watch.measuring("read held-out frames"):
            # Tracked only now, so that they cannot influence the fit.
            held_out = choose_held_out(person, frames.held_out)
        # Imported only now, so that the first avatar does not wait for it.
        from fitme.commands.fit.output_folder import PARTS, Outcome, write_folder

        named = {frame_key(tracked_frame): tracked_frame.frame.source for tracked_frame in chosen}
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
            fitter.finish_correctives(lambda: not interrupted() and time.monotonic() < deadline)
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
    counted = "1 keyframe" if len(keyframes) == 1 else f"{len(keyframes)} keyframes"
    console.print(f"{counted}, {ended} stage {report['stage']}, {seconds['total']:.0f} s")
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
