"""Benchmark `track`: cost per frame, jitter on a still face and lag on a moving one.

The face is the one of `fitme.synthetic.clip`, whose poses and expressions are known; the tracker takes its identity and
focal length, as it takes them from a fit.
"""

import time
from collections.abc import Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from fitme.arrays import Float64Array
from fitme.bench.rows import BenchmarkRow
from fitme.bench.run import SEED
from fitme.geometry import transform
from fitme.shape.expressions import EXPRESSION_NAMES
from fitme.shape.model_file import load_default_model
from fitme.shape.morphable_model import MorphableModel
from fitme.synthetic.clip import CAMERA_NOISE, ClipSettings, SyntheticFrame, clip_frames, clip_identity
from fitme.track.observation import FaceObservation
from fitme.track.settings import TrackerSettings
from fitme.track.tracker import FrameTracker

STILL_FRAMES = 150
SETTLING_FRAMES = 30
"""Frames after which the tracker's filters have settled."""
LONGEST_LAG_FRAMES = 6
LAG_STEP_FRAMES = 0.1
CLOSED = 0.9
"""Blink coefficient from which an eye counts as closed."""
CLOSING_FRAMES = 2
"""Frames around a closed eye within which the tracker must have closed it."""
FRAME_TARGET, JITTER_TARGET, LIDS_TARGET = "<= 12", "<= 0.3", ">= 0.9"
BLINKS = tuple(EXPRESSION_NAMES.index(name) for name in ("eyeBlinkLeft", "eyeBlinkRight"))


@dataclass(frozen=True)
class TimedTracking:
    """A frame with its ground truth, the tracker's observation, and its cost in seconds."""

    truth: SyntheticFrame
    found: FaceObservation
    wall_s: float
    processor_s: float


def tracking(settings: ClipSettings | None = None) -> list[BenchmarkRow]:
    """Rows of cost and lag over a clip of a turning, talking head, and of jitter on its first frame with fresh
    noise."""
    # Both sequences run through a fresh tracker; its first frames, while filters settle, are not measured.
    model, settings = load_default_model(), settings or ClipSettings()
    moving = track_frames(clip_frames(settings, model), model, settings)
    still = track_frames(still_frames(settings, model, STILL_FRAMES), model, settings)[SETTLING_FRAMES:]
    settled = moving[SETTLING_FRAMES:]
    wall_ms = [1e3 * frame.wall_s for frame in settled]
    true_yaw, found_yaw = (
        np.array([pose.yaw_pitch_roll()[0] for pose in poses])
        for poses in ([f.truth.pose for f in moving], [f.found.pose for f in moving])
    )
    lag_ms = 1e3 * lag_of(true_yaw, found_yaw) / settings.rate_hz
    processor_ms = 1e3 * float(np.mean([frame.processor_s for frame in settled]))
    missing = round(settings.seconds * settings.rate_hz) - len(moving)
    what = f"tracking a frame of {settings.width}x{settings.height}"
    driven, detected = driven_landmarks(still, model, settings), np.stack([f.found.landmarks for f in still])
    return [
        BenchmarkRow(f"{what}: processor time, mean", processor_ms, "ms", FRAME_TARGET),
        BenchmarkRow(f"{what}: wall-clock time, median", float(np.median(wall_ms)), "ms"),
        BenchmarkRow(f"{what}: wall-clock time, 95th percentile", float(np.quantile(wall_ms, 0.95)), "ms"),
        BenchmarkRow("still face: jitter of the driven landmarks", jitter_px(driven), "px", JITTER_TARGET),
        BenchmarkRow("still face: jitter of the detected landmarks", jitter_px(detected), "px"),
        BenchmarkRow("turning head: lag", lag_ms, "ms"),
        BenchmarkRow("closed eyes: lid coefficient reached, median", lid_closure(moving), "", LIDS_TARGET),
        BenchmarkRow("frames without a face", float(missing), ""),
    ]


def track_frames(
    frames: Iterable[SyntheticFrame], model: MorphableModel, settings: ClipSettings
) -> Sequence[TimedTracking]:
    """Track a video; frames without a face are left out."""
    tracked = []
    with closing(FrameTracker(model, settings=TrackerSettings())) as tracker:
        tracker.set_identity(clip_identity(settings.seed, model).numpy())
        for index, frame in enumerate(frames):
            tracker.set_focal(frame.camera.focal_px / max(settings.width, settings.height))
            begin = time.perf_counter(), time.process_time()
            found = tracker.track(frame.image, index / settings.rate_hz)
            spent = time.perf_counter() - begin[0], time.process_time() - begin[1]
            if found is not None:
                tracked.append(TimedTracking(frame, found, *spent))
    return tracked


def still_frames(settings: ClipSettings, model: MorphableModel, count: int) -> Iterable[SyntheticFrame]:
    """Repeat the clip's first frame, each time with independent sensor noise."""
    first = next(iter(islice(clip_frames(replace(settings, noise=0.0), model), 1)))
    draw = np.random.default_rng(SEED)
    for _ in range(count):
        noise = CAMERA_NOISE * draw.standard_normal(first.image.shape, np.float32)
        yield replace(first, image=np.clip(np.rint(first.image + noise), 0, 255).astype(np.uint8))


def driven_landmarks(frames: Sequence[TimedTracking], model: MorphableModel, settings: ClipSettings) -> Float64Array:
    """Landmarks (T, L, 2), pixels, of the clip's head under the tracker's poses and expressions; valid ones only."""
    identity = clip_identity(settings.seed, model)[None]
    projected = []
    for frame in frames:
        pose = frame.found.pose
        points = model.landmarks(model.vertices(identity, torch.from_numpy(frame.found.expression)[None]))
        posed = transform(torch.from_numpy(pose.rotation)[None], torch.from_numpy(pose.translation)[None], points)
        projected.append(frame.truth.camera.project(posed)[0].double().numpy())
    driven = np.stack(projected)
    valid: Float64Array = driven[:, model.mediapipe_valid.numpy()]
    return valid


def jitter_px(points: npt.NDArray[np.floating[Any]]) -> float:
    """Root mean square distance of points (T, P, 2), pixels, from their means over time."""
    away = points.astype(np.float64) - points.mean(0, dtype=np.float64)
    return float(np.sqrt((away**2).sum(-1).mean()))


def lag_of(truth: Float64Array, found: Float64Array) -> float:
    """Lag in frames of a tracked signal (T,) behind the true one: the shift of least variance of their difference."""
    times = np.arange(LONGEST_LAG_FRAMES, len(truth))
    lags = np.arange(0.0, LONGEST_LAG_FRAMES, LAG_STEP_FRAMES)
    errors = []
    for lag in lags:
        difference = found[times] - np.interp(times - lag, np.arange(len(truth)), truth)
        errors.append(float(difference.var()))
    return float(lags[int(np.argmin(errors))])


def lid_closure(frames: Sequence[TimedTracking]) -> float:
    """Largest tracked blink coefficient within `CLOSING_FRAMES` of a frame with both eyes closed; median over such
    frames, NaN without any."""
    true, found = (
        np.array([expression[list(BLINKS)].min() for expression in expressions])
        for expressions in ([f.truth.expression for f in frames], [f.found.expression for f in frames])
    )
    near = [found[max(0, k - CLOSING_FRAMES) : k + CLOSING_FRAMES + 1].max() for k in np.flatnonzero(true >= CLOSED)]
    return float(np.median(near)) if near else float("nan")
