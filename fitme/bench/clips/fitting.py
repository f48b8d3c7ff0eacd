"""Benchmarks of whole fits: `fitme fit` on clips of people, and the baseline on the same frames."""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from fitme.bench.clips.increments import increment_rows
from fitme.bench.clips.photo import photo_rows
from fitme.bench.rows import BenchmarkRow
from fitme.bench.truth.baseline import BaselineFit
from fitme.errors import InputError
from fitme.ingest.candidates import gather
from fitme.ingest.even_spacing import split_holdout
from fitme.ingest.person_tracking import PersonTracker
from fitme.ingest.selection import choose, choose_held_out
from fitme.metrics.frame_scores import FrameScore, median_score
from fitme.shape.model_file import load_default_model
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


def fit() -> list[BenchmarkRow]:
    """Rows of `fitme fit` on every clip, each in its own process, compared with the baseline on the same frames; then
    of one photo and of further keyframes of the first clip."""
    # Each clip: the fit in its own process, the baseline in this one.
    rows, gains_db, shares, distances = [], [], [], []
    for clip in clips():
        median, seconds = _fitted(clip)
        unlit = baseline_score(clip)
        gains_db.append(median["psnr_db"] - unlit.psnr_db)
        shares.append(median["identity"] / unlit.identity)
        distances.append(median["identity"])
        rows += [
            BenchmarkRow(f"{clip.stem}: PSNR, median of held-out frames", median["psnr_db"], "dB", None),
            BenchmarkRow(f"{clip.stem}: PSNR above the baseline's", gains_db[-1], "dB", f">= {SMALLEST_GAIN_DB:g}"),
            BenchmarkRow(f"{clip.stem}: identity distance, median", distances[-1], "L2", None),
            BenchmarkRow(f"{clip.stem}: identity distance over the baseline's", shares[-1], "", None),
            BenchmarkRow(f"{clip.stem}: time, everything included", seconds, "s", f"<= {TIME_LIMIT_S:g}"),
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
    ]  # fmt: skip
    first = clips()[0]
    return rows + photo_rows(first) + increment_rows(first)


def _fitted(clip: Path) -> tuple[dict[str, float], float]:
    """Median scores of `fitme fit` on a clip, and the seconds that it took."""
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        command = [sys.executable, "-m", "fitme.cli", "fit", str(clip), "--out", folder, "--holdout", str(HOLDOUT)]
        run = subprocess.run(command, capture_output=True, text=True, check=False)
        seconds = time.perf_counter() - start
        if run.returncode != 0:
            raise InputError(f"{clip}: the fit failed: {run.stderr.strip().splitlines()[-1]}")
        median: dict[str, float] = json.loads((Path(folder) / "report.json").read_text("utf-8"))["holdout"]["median"]
    return median, seconds


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
    candidates = gather([clip])
    fitted, kept = split_holdout(len(candidates), HOLDOUT)
    model, embedder = load_default_model(), dlib_embedder()
    observer = PersonTracker(model)
    choice = choose(observer, [candidates[index] for index in fitted])
    if not choice.keyframes:
        raise observer.nobody()
    fitting = BaselineFit(model)
    head = fitting.fit([*choice.keyframes, *choice.expression_frames])
    held_out = choose_held_out(observer, [candidates[index] for index in kept])
    return median_score([fitting.score(head, tracked_frame, embedder) for tracked_frame in held_out])
