"""Benchmarks of whole fits: `fitme fit` on clips of people, and the baseline on the same frames of the same clips."""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fitme.bench.baseline import BaselineFit
from fitme.bench.increments import increment_rows
from fitme.bench.photo import photo_rows
from fitme.bench.rows import BenchmarkRow
from fitme.bench.scores import FrameScore, median_score
from fitme.errors import InputError
from fitme.ingest.gather import gather
from fitme.ingest.observe import Observer
from fitme.ingest.selection import choose_held_out, choose_keyframes
from fitme.ingest.spread import split_holdout
from fitme.shape import load_default_model
from fitme.track.tracker import default_embedder

CLIPS_VARIABLE = "FITME_CLIPS"
"""Environment variable that names the folder of clips."""
DEFAULT_CLIPS = Path("../shared/data/clips")
CLIP_PATTERN = "*.mp4"
HOLDOUT = 0.25
"""Share of the frames held out."""
TIME_LIMIT_S = 90.0
"""Seconds that a fit may take on two cores, everything included."""
LARGEST_PSNR_LOSS_DB = 1.5
LARGEST_IDENTITY_LOSS = 0.06
"""How far below the mark a fit may score."""
MARKS = {
    "liveportrait_d18": (30.3, 0.37),
    "liveportrait_d20": (26.0, 0.32),
    "liveportrait_d6": (22.2, 0.37),
    "liveportrait_s32": (26.9, 0.36),
    "pyfeat_WolfgangLanger_Pexels": (20.5, 0.51),
    "pyfeat_single_face": (24.7, 0.23),
}
"""PSNR in dB and identity distance that an early prototype of the baseline reached on clips of these names."""


def fit() -> list[BenchmarkRow]:
    """`fitme fit` on every clip, each in a process of its own, targets following from `MARKS`; then, of the first clip,
    one photo, and further keyframes."""
    rows = []
    for clip in clips():
        with tempfile.TemporaryDirectory() as folder:
            start = time.perf_counter()
            command = [sys.executable, "-m", "fitme.cli", "fit", str(clip), "--out", folder, "--holdout", str(HOLDOUT)]
            run = subprocess.run(command, capture_output=True, text=True, check=False)
            seconds = time.perf_counter() - start
            if run.returncode != 0:
                raise InputError(f"{clip}: the fit failed: {run.stderr.strip().splitlines()[-1]}")
            median = json.loads((Path(folder) / "report.json").read_text("utf-8"))["holdout"]["median"]
        rows += _rows(clip.stem, median)
        rows.append(BenchmarkRow(f"{clip.stem}: time, everything included", seconds, "s", f"<= {TIME_LIMIT_S:g}"))
    first = clips()[0]
    return rows + photo_rows(first) + increment_rows(first)


def baseline() -> list[BenchmarkRow]:
    """The baseline on every clip."""
    rows = []
    for clip in clips():
        score = baseline_score(clip)
        rows += [
            BenchmarkRow(f"{clip.stem}: PSNR, median of held-out frames", score.psnr_db, "dB", None),
            BenchmarkRow(f"{clip.stem}: identity distance, median", score.identity, "L2", None),
        ]
    return rows


def clips() -> Sequence[Path]:
    """The clips to fit. Raises InputError if there are none."""
    folder = Path(os.environ.get(CLIPS_VARIABLE, DEFAULT_CLIPS))
    found = sorted(folder.glob(CLIP_PATTERN))
    if not found:
        raise InputError(f"{folder}: no clips there; name a folder of {CLIP_PATTERN} in {CLIPS_VARIABLE}")
    return found


def baseline_score(clip: Path) -> FrameScore:
    """Median of the baseline's scores on the frames that `fitme fit --holdout` holds out of a clip."""
    candidates = gather([clip])
    fitted, kept = split_holdout(len(candidates), HOLDOUT)
    model, embedder = load_default_model(), default_embedder()
    observer = Observer(model)
    chosen = choose_keyframes(observer, [candidates[index] for index in fitted])
    if not chosen:
        raise observer.nobody()
    fitting = BaselineFit(model)
    head = fitting.fit(chosen)
    held_out = choose_held_out(observer, [candidates[index] for index in kept])
    return median_score([fitting.score(head, sighting, embedder) for sighting in held_out])


def _rows(clip: str, median: dict[str, Any]) -> list[BenchmarkRow]:
    psnr_target = identity_target = None
    if clip in MARKS:
        psnr_db, identity = MARKS[clip]
        psnr_target = f">= {psnr_db - LARGEST_PSNR_LOSS_DB:.1f}"
        identity_target = f"<= {identity + LARGEST_IDENTITY_LOSS:.2f}"
    return [
        BenchmarkRow(f"{clip}: PSNR, median of held-out frames", median["psnr_db"], "dB", psnr_target),
        BenchmarkRow(f"{clip}: identity distance, median", median["identity"], "L2", identity_target),
    ]
