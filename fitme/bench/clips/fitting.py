"""Benchmarks of whole fits: `fitme fit` on clips of people, and the baseline on the same frames."""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fitme.bench.clips.envelope_baseline import envelope_score
from fitme.bench.clips.head_scores import held_out_frames, held_out_scores
from fitme.bench.clips.increments import increment_rows
from fitme.bench.clips.photo import photo_rows
from fitme.bench.rows import BenchmarkRow
from fitme.bench.truth.baseline import BaselineFit
from fitme.errors import InputError
from fitme.ingest.candidates import gather
from fitme.ingest.even_spacing import split_holdout
from fitme.ingest.fit_outputs import REPORT_FILE
from fitme.ingest.person_tracking import PersonTracker, TrackedFrame
from fitme.ingest.selection import Choice, choose, choose_held_out
from fitme.metrics.frame_scores import FrameScore, median_score
from fitme.metrics.head_scores import HeadScore, median_head_score
from fitme.shape.model_file import load_default_model
from fitme.shape.morphable_model import MorphableModel
from fitme.track.factory import dlib_embedder

CLIPS_VARIABLE = "FITME_CLIPS"
"""Environment variable that names the folder of clips."""
DEFAULT_CLIPS = Path("../shared/data/clips")
CLIP_PATTERN = "*.mp4"
HOLDOUT = 0.25
"""Share of the frames held out."""
TIME_LIMIT_S = 90.0
"""Seconds that a fit may take on two cores, everything included."""
SMALLEST_MEDIAN_GAIN_DB, SMALLEST_GAIN_DB = 2.0, 0.0
"""Targets of PSNR above the baseline's on the same frames and mask: median over clips, and minimum."""
LARGEST_IDENTITY_SHARE, LARGEST_IDENTITY = 0.7, 0.25
"""Targets of the median over clips of the identity distance: relative to the baseline's, and absolute."""
SMALLEST_MEDIAN_OVERLAP, SMALLEST_OVERLAP = 0.955, 0.92
"""Targets of the intersection over union of heads in render and frame: median over clips, and minimum."""
SMALLEST_HEAD_PSNR_DB, SMALLEST_HEAD_GAIN_DB = 24.0, 1.5
"""Targets of the median PSNR over the head, and of each clip's above the envelope baseline's."""


@dataclass(frozen=True)
class ClipScores:
    """Medians over the held-out frames of one clip."""

    face: dict[str, float]
    """By the names of `fitme.metrics.frame_scores.FrameScore`."""
    head: HeadScore
    """Of the fit."""
    envelope: HeadScore
    """Of the envelope baseline on the same head."""
    seconds: float
    """That the fit took, everything included."""


def fit() -> list[BenchmarkRow]:
    """Rows of `fitme fit` on every clip, each in its own process, compared with the baseline on the same frames; then
    of one photo and of further keyframes of the first clip."""
    # Each clip: the fit in its own process, the baseline in this one.
    rows, gains_db, shares, distances, unseen, heads = [], [], [], [], [], []
    for clip in clips():
        scores = _fitted(clip)
        median = scores.face
        heads.append(scores.head)
        unlit = baseline_score(clip)
        gains_db.append(median["psnr_db"] - unlit.psnr_db)
        shares.append(median["identity"] / unlit.identity)
        distances.append(median["identity"])
        unseen.append(median["unseen_identity"])
        rows += [
            BenchmarkRow(f"{clip.stem}: PSNR, median of held-out frames", median["psnr_db"], "dB", None),
            BenchmarkRow(f"{clip.stem}: PSNR above the baseline's", gains_db[-1], "dB", f">= {SMALLEST_GAIN_DB:g}"),
            BenchmarkRow(f"{clip.stem}: identity distance, median", distances[-1], "L2", None),
            BenchmarkRow(f"{clip.stem}: identity distance over the baseline's", shares[-1], "", None),
            BenchmarkRow(f"{clip.stem}: identity distance by a network unseen, median", unseen[-1], "L2", None),
            BenchmarkRow(f"{clip.stem}: time, everything included", scores.seconds, "s", f"<= {TIME_LIMIT_S:g}"),
            *head_rows(clip.stem, scores.head, scores.envelope),
        ]
    # Targets are medians over clips.
    rows += [
        BenchmarkRow(
            "all clips: PSNR above the baseline's, median", float(np.median(gains_db)), "dB",
            f">= {SMALLEST_MEDIAN_GAIN_DB:g}",
        ),
        BenchmarkRow(
            "all clips: identity distance over the baseline's, median", float(np.median(shares)), "",
            f"<= {LARGEST_IDENTITY_SHARE:g}",
        ),
        BenchmarkRow(
            "all clips: identity distance, median", float(np.median(distances)), "L2", f"<= {LARGEST_IDENTITY:g}"
        ),
        BenchmarkRow(
            "all clips: identity distance by a network unseen, median", float(np.median(unseen)), "L2", None
        ),
        BenchmarkRow(
            "all clips: head, intersection over union, median", median_head_score(heads).overlap, "",
            f">= {SMALLEST_MEDIAN_OVERLAP:g}",
        ),
        BenchmarkRow(
            "all clips: head, PSNR, median", median_head_score(heads).psnr_db, "dB", f">= {SMALLEST_HEAD_PSNR_DB:g}"
        ),
    ]  # fmt: skip
    first = clips()[0]
    return rows + photo_rows(first) + increment_rows(first)


def head_rows(name: str, fitted: HeadScore, envelope: HeadScore) -> list[BenchmarkRow]:
    """Rows of the whole head of a clip, hair and outline included, and of the envelope baseline."""
    gain_db = fitted.psnr_db - envelope.psnr_db
    return [
        BenchmarkRow(f"{name}: head, intersection over union", fitted.overlap, "", f">= {SMALLEST_OVERLAP:g}"),
        BenchmarkRow(f"{name}: head, PSNR", fitted.psnr_db, "dB", None),
        BenchmarkRow(f"{name}: head, envelope baseline's intersection over union", envelope.overlap, "", None),
        BenchmarkRow(
            f"{name}: head, PSNR above the envelope baseline's", gain_db, "dB", f">= {SMALLEST_HEAD_GAIN_DB:g}"
        ),
    ]


def _fitted(clip: Path) -> ClipScores:
    """Scores of `fitme fit` on a clip."""
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        command = [sys.executable, "-m", "fitme.cli", "fit", str(clip), "--out", folder, "--holdout", str(HOLDOUT)]
        run = subprocess.run(command, capture_output=True, text=True, check=False)
        seconds = time.perf_counter() - start
        if run.returncode != 0:
            raise InputError(f"{clip}: the fit failed: {run.stderr.strip().splitlines()[-1]}")
        median: dict[str, float] = json.loads((Path(folder) / REPORT_FILE).read_text("utf-8"))["holdout"]["median"]
        model = load_default_model()
        frames = held_out_frames(Path(folder), model)
        head, envelope = held_out_scores(Path(folder), frames), envelope_score(Path(folder), frames, model)
    return ClipScores(median, head, envelope, seconds)


def baseline() -> list[BenchmarkRow]:
    """Rows of the baseline on every clip."""
    rows = []
    for clip in clips():
        score = baseline_score(clip)
        rows += [
            BenchmarkRow(f"{clip.stem}: PSNR, median of held-out frames", score.psnr_db, "dB", None),
            BenchmarkRow(f"{clip.stem}: identity distance, median", score.identity, "L2", None),
        ]
    return rows


def clips() -> Sequence[Path]:
    """Paths of the clips to fit. Raises InputError if there are none."""
    folder = Path(os.environ.get(CLIPS_VARIABLE, DEFAULT_CLIPS))
    found = sorted(folder.glob(CLIP_PATTERN))
    if not found:
        raise InputError(f"{folder}: no clips; name a folder of {CLIP_PATTERN} in {CLIPS_VARIABLE}")
    return found


def baseline_score(clip: Path) -> FrameScore:
    """Median of the baseline's scores on the frames that `fitme fit --holdout` holds out of a clip."""
    model, embedder = load_default_model(), dlib_embedder()
    choice, held_out = choose_frames(clip, model)
    fitting = BaselineFit(model)
    head = fitting.fit([*choice.keyframes, *choice.expression_frames])
    return median_score([fitting.score(head, tracked_frame, embedder) for tracked_frame in held_out])


def choose_frames(clip: Path, model: MorphableModel) -> tuple[Choice, Sequence[TrackedFrame]]:
    """Frames of a clip to fit, and those that `fitme fit --holdout` holds out.

    :raises NoFaceError: no frame shows one face.
    """
    candidates = gather([clip])
    fitted, kept = split_holdout(len(candidates), HOLDOUT)
    person = PersonTracker(model)
    choice = choose(person, [candidates[index] for index in fitted])
    if not choice.keyframes:
        raise person.nobody()
    return choice, choose_held_out(person, [candidates[index] for index in kept])
