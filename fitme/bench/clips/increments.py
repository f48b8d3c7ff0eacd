"""Incremental fits: cost of a further keyframe, time to absorb it, and whether held-out errors rise.

The loss is the dense stages': colour difference between render and frame, in units of white, and identity distance,
by their weights. It is computed on held-out frames, each fitted with fixed identity. Costs are processor time without
scoring.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np

from fitme.bench.rows import BenchmarkRow
from fitme.bench.truth.heads import FitResources, keyframe_of, load_resources, new_fitter
from fitme.errors import InputError
from fitme.fit.fitter import IncrementalFitter
from fitme.fit.keyframe import Keyframe
from fitme.ingest.candidates import gather
from fitme.ingest.even_spacing import even_indices, split_holdout
from fitme.ingest.person_tracking import PersonTracker, TrackedFrame
from fitme.metrics.frame_scores import score_frame
from fitme.sampling import farthest_points
from fitme.shape.model_file import load_default_model
from fitme.track.factory import dlib_embedder

FEW, MANY = 8, 32
"""Numbers of keyframes of a fit at which the cost of adding one more is compared."""
BATCH = 5
"""Keyframes added per round between `FEW` and `MANY`, as many as the live service adds."""
HOLDOUT = 0.25
"""Share of the frames held out."""
HELD_OUT = 8
"""Number of held-out frames that score the avatar."""
WARM_TARGET, COST_TARGET, RISE_TARGET = "<= 0.2", "<= 1.25", "<= 1.02"


@dataclass(frozen=True)
class ClipSubject:
    """Keyframes and held-out frames of the person of one clip, with the resources of a fit."""

    resources: FitResources
    keyframes: Sequence[Keyframe]
    """Ordered so that each is farthest in time from all before it."""
    held_out: Sequence[TrackedFrame]

    def fitter(self, count: int) -> IncrementalFitter:
        """Unrefined fit with the first `count` keyframes added."""
        fitter = new_fitter(self.resources)
        for keyframe in self.keyframes[:count]:
            fitter.add_keyframe(keyframe)
        return fitter

    def score(self, fitter: IncrementalFitter) -> "HeldOutError":
        """Error of the fit's current avatar on the held-out frames."""
        errors, distances = [], []
        for tracked_frame in self.held_out:
            observation, image = tracked_frame.observation, tracked_frame.frame.image
            estimate = fitter.fit_frame(observation, image)
            render, mask = fitter.render_estimate(estimate, observation.camera)
            score = score_frame(observation, image, render, mask, self.resources.embedder)
            errors.append(10.0 ** (-score.psnr_db / 20.0))
            distances.append(score.identity)
        weights = self.resources.settings.inversion
        error, identity = float(np.sqrt(np.mean(np.square(errors)))), float(np.mean(distances))
        return HeldOutError(error, identity, weights.photometric_weight * error + weights.identity_weight * identity)


@dataclass(frozen=True)
class HeldOutError:
    """Error of an avatar on the held-out frames."""

    color: float
    """Root mean square of the colour difference over faces and frames, in units of white (sRGB-encoded)."""
    identity: float
    """Mean L2 distance of identity embeddings."""
    loss: float
    """Sum of both, by the weights of the dense stages."""


@dataclass(frozen=True)
class RefinementCurve:
    """Errors of a fit while it was refined to convergence."""

    processor_s: float
    """Processor time to convergence."""
    curve: Sequence[tuple[float, HeldOutError]]
    """Processor time so far and error, of avatars that include all keyframes."""

    @property
    def end(self) -> HeldOutError:
        """Error after convergence."""
        return self.curve[-1][1]

    def seconds_to(self, loss: float) -> float:
        """Processor time until the loss is at most `loss`; infinite if it stays above."""
        return next((seconds for seconds, error in self.curve if error.loss <= loss), float("inf"))


def increment_rows(clip: Path) -> list[BenchmarkRow]:
    """Rows of one clip. Raises InputError if too few of its frames show the person."""
    subject = load_subject(clip)
    # One keyframe at a time up to `FEW`: errors after each, for the rises.
    growing = subject.fitter(1)
    scores = [refine_and_score(growing, subject, every_step=False).end]
    for keyframe in subject.keyframes[1:FEW]:
        growing.add_keyframe(keyframe)
        scores.append(refine_and_score(growing, subject, every_step=False).end)
    # The next keyframe on the grown fit (warm) and with all its predecessors on a new fit (cold).
    growing.add_keyframe(subject.keyframes[FEW])
    warm = refine_and_score(growing, subject, every_step=True)
    scores.append(warm.end)
    cold = refine_and_score(subject.fitter(FEW + 1), subject, every_step=False)
    # Grow on to `MANY`; one more keyframe there costs what marginalisation leaves.
    for begin in range(FEW + 1, MANY, BATCH):
        for keyframe in subject.keyframes[begin : min(begin + BATCH, MANY)]:
            growing.add_keyframe(keyframe)
        refine_to_convergence(growing)
    growing.add_keyframe(subject.keyframes[MANY])
    many_s = refine_to_convergence(growing)
    pairs = list(pairwise(scores))
    rises = [b.color / a.color for a, b in pairs], [b.identity / a.identity for a, b in pairs]
    what, further = f"{clip.stem}: keyframe {FEW + 1}", f"{clip.stem}: keyframes 2 to {FEW + 1}"
    return [
        BenchmarkRow(f"{what}: cold start, processor time", cold.processor_s, "s"),
        BenchmarkRow(f"{what}: cold start, loss", cold.end.loss, ""),
        BenchmarkRow(f"{what}: warm start, processor time to that loss", warm.seconds_to(cold.end.loss), "s"),
        BenchmarkRow(
            f"{what}: warm start over cold start", warm.seconds_to(cold.end.loss) / cold.processor_s, "", WARM_TARGET
        ),
        BenchmarkRow(f"{what}: warm start until idle, processor time", warm.processor_s, "s"),
        BenchmarkRow(f"{what}: warm start until idle, loss", warm.end.loss, ""),
        BenchmarkRow(
            f"{clip.stem}: cost of a round, {MANY} keyframes over {FEW}", many_s / warm.processor_s, "", COST_TARGET
        ),
        BenchmarkRow(f"{further}: held-out error, worst over the one before", max(rises[0]), "", RISE_TARGET),
        BenchmarkRow(f"{further}: identity distance, worst over the one before", max(rises[1]), "", RISE_TARGET),
    ]


def load_subject(clip: Path) -> ClipSubject:
    """Track a clip and choose its keyframes and held-out frames. Raises InputError if too few show the person."""
    resources = load_resources(load_default_model(), dlib_embedder())
    candidates = gather([clip])
    fitted, kept = split_holdout(len(candidates), HOLDOUT)
    observer = PersonTracker(resources.model)
    tracked = [tracked_frame for _, tracked_frame in observer.tracked_frames([candidates[index] for index in fitted])]
    held_out = [tracked_frame for _, tracked_frame in observer.tracked_frames([candidates[index] for index in kept])]
    if len(tracked) <= MANY or not held_out:
        raise InputError(f"{clip}: {len(tracked)} frames of the person are too few: {MANY + 1} are needed")
    chosen = [tracked[index] for index in even_indices(len(tracked), MANY + 1)]
    return ClipSubject(
        resources,
        [keyframe_of(str(index), chosen[index], resources.embedder) for index in farthest_first_order(len(chosen))],
        [held_out[index] for index in even_indices(len(held_out), HELD_OUT)],
    )


def farthest_first_order(count: int) -> list[int]:
    """Numbers below `count` in farthest-point order, starting from the middle."""
    return farthest_points(lambda index: np.abs(np.arange(count) - index), count // 2, count)


def refine_and_score(fitter: IncrementalFitter, subject: ClipSubject, *, every_step: bool) -> RefinementCurve:
    """Refine to convergence and score the avatar there; with `every_step`, also after each step that includes all
    keyframes."""
    spent, curve = 0.0, []
    while not fitter.converged:
        begin = time.process_time()
        fitter.refine(0.0)
        spent += time.process_time() - begin
        if (every_step and fitter.displays_all_keyframes) or fitter.converged:
            curve.append((spent, subject.score(fitter)))
    return RefinementCurve(spent, curve)


def refine_to_convergence(fitter: IncrementalFitter) -> float:
    """Refine to convergence; returns the processor time in seconds."""
    begin = time.process_time()
    while not fitter.converged:
        fitter.refine(0.0)
    return time.process_time() - begin
