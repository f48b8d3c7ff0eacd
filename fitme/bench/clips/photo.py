"""Time from one photo to its avatars: by `fitme fit` from the start of its process, and in a warm process."""

import json
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from fitme.bench.rows import BenchmarkRow
from fitme.bench.truth.heads import FitResources, keyframe_of, load_resources, new_fitter
from fitme.commands.fit.pipeline import FINAL_AVATAR, FIRST_AVATAR
from fitme.errors import InputError
from fitme.ingest.candidates import gather
from fitme.ingest.person_tracking import PersonTracker, TrackedFrame
from fitme.shape.model_file import load_default_model
from fitme.stage import Stage
from fitme.track.factory import dlib_embedder

FIRST_TARGET, FINAL_TARGET = "<= 3", "<= 20"


@dataclass(frozen=True)
class Elapsed:
    """Seconds from the photo to its avatars."""

    first_s: float
    """Until the first relightable avatar."""
    final_s: float
    """Until the fit has converged."""


def photo_rows(clip: Path) -> list[BenchmarkRow]:
    """Rows of the most frontal frame of a clip. Raises InputError if the fit fails."""
    resources = load_resources(load_default_model(), dlib_embedder())
    with tempfile.TemporaryDirectory() as folder:
        photo = Path(folder) / "photo.png"
        Image.fromarray(frontal(clip, resources).frame.image).save(photo)
        cold, warm = by_command(photo, Path(folder) / "avatar"), in_process(photo, resources)
    rows = []
    for what, elapsed in (("from the start of the process", cold), ("in a warm process", warm)):
        rows += [
            BenchmarkRow(f"one photo of {clip.stem}: first avatar, {what}", elapsed.first_s, "s", FIRST_TARGET),
            BenchmarkRow(f"one photo of {clip.stem}: final avatar, {what}", elapsed.final_s, "s", FINAL_TARGET),
        ]
    return rows


def frontal(clip: Path, resources: FitResources) -> TrackedFrame:
    """Tracked frame whose head turns least away from the camera. Raises InputError without a face."""
    tracked_frames = [
        tracked_frame for _, tracked_frame in PersonTracker(resources.model).tracked_frames(gather([clip]))
    ]
    if not tracked_frames:
        raise InputError(f"{clip}: no face found")
    return min(
        tracked_frames,
        key=lambda tracked_frame: sum(abs(a) for a in tracked_frame.observation.pose.yaw_pitch_roll()[:2]),
    )


def by_command(photo: Path, folder: Path) -> Elapsed:
    """Time of `fitme fit`, imports and detection included."""
    command = [sys.executable, "-m", "fitme.cli", "fit", str(photo), "--out", str(folder)]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    if run.returncode != 0:
        raise InputError(f"{photo}: the fit failed: {run.stderr.strip().splitlines()[-1]}")
    seconds = json.loads((folder / "report.json").read_text("utf-8"))["timings_s"]
    return Elapsed(seconds[FIRST_AVATAR], seconds[FINAL_AVATAR])


def in_process(photo: Path, resources: FitResources) -> Elapsed:
    """Time from reading the file, with models loaded and kernels compiled by a first, discarded fit."""
    for _ in range(2):
        begin = time.perf_counter()
        observer = PersonTracker(resources.model)
        tracked_frames = [tracked_frame for _, tracked_frame in observer.tracked_frames(gather([photo]))]
        if not tracked_frames:
            raise observer.nobody()
        fitter = new_fitter(resources)
        fitter.add_keyframe(keyframe_of("photo", tracked_frames[0], resources.embedder))
        while not fitter.stage.has_reached(Stage.SKIN):
            fitter.refine(0.0)
        first = time.perf_counter() - begin
        while not fitter.converged:
            fitter.refine(0.0)
        elapsed = Elapsed(first, time.perf_counter() - begin)
    return elapsed
