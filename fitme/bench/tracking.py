"""Benchmark `track`: what live driving costs, how still a still face is, and how far a moving one is behind itself.

The face is that of `fitme.synthetic.clip`, whose poses and expressions are known; the tracker is given its identity and
focal length, as a fit gives them to it.
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
"""Frames after which filters and checks have come to rest."""
LONGEST_LAG_FRAMES = 6
LAG_STEP_FRAMES = 0.1
CLOSED = 0.9
"""Blink coefficient from which an eye is closed."""
CLOSING_FRAMES = 2
"""Frames around a closed eye within which the tracker must have closed it."""
FRAME_TARGET, JITTER_TARGET, LIDS_TARGET = "<= 12", "<= 0.3", ">= 0.9"
BLINKS = tuple(EXPRESSION_NAMES.index(name) for name in ("eyeBlinkLeft", "eyeBlinkRight"))


@dataclass(frozen=True)
class TrackedFrame:
    """A frame, what the tracker made of it, and what that cost."""

    truth: SyntheticFrame
    found: FaceObservation
    wall_s: float
    processor_s: float


def tracking(settings: ClipSettings | None = None) -> list[BenchmarkRow]:
    """Cost and lag over a clip of a turning, talking head, jitter on its first picture under fresh sensor noise."""
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
    driven, seen = driven_landmarks(still, model, settings), np.stack([f.found.landmarks for f in still])
    return [
        BenchmarkRow(f"{what}: processor time, mean", processor_ms, "ms", FRAME_TARGET),
        BenchmarkRow(f"{what}: wall-clock time, median", float(np.median(wall_ms)), "ms"),
        BenchmarkRow(f"{what}: wall-clock time, 95th percentile", float(np.quantile(wall_ms, 0.95)), "ms"),
        BenchmarkRow("still face: jitter of the driven landmarks", jitter_px(driven), "px", JITTER_TARGET),
        BenchmarkRow("still face: jitter of the landmarks seen", jitter_px(seen), "px"),
        BenchmarkRow("turning head: lag", lag_ms, "ms"),
        BenchmarkRow("closed eyes: lid coefficient reached, median", lids_reached(moving), "", LIDS_TARGET),
        BenchmarkRow("frames without a face", float(missing), ""),
    ]


def track_frames(
    frames: Iterable[SyntheticFrame], model: MorphableModel, settings: ClipSettings
) -> Sequence[TrackedFrame]:
    """The frames of a video on which a face was found, in order."""
    tracked = []
    with closing(FrameTracker(model, settings=TrackerSettings())) as tracker:
        tracker.set_identity(clip_identity(settings.seed, model).numpy())
        for index, frame in enumerate(frames):
            tracker.set_focal(frame.camera.focal_px / max(settings.width, settings.height))
            begin = time.perf_counter(), time.process_time()
            found = tracker.track(frame.image, index / settings.rate_hz)
            spent = time.perf_counter() - begin[0], time.process_time() - begin[1]
            if found is not None:
                tracked.append(TrackedFrame(frame, found, *spent))
    return tracked


def still_frames(settings: ClipSettings, model: MorphableModel, count: int) -> Iterable[SyntheticFrame]:
    """The clip's first picture again and again, each time with noise of its own."""
    first = next(iter(islice(clip_frames(replace(settings, noise=0.0), model), 1)))
    draw = np.random.default_rng(SEED)
    for _ in range(count):
        noise = CAMERA_NOISE * draw.standard_normal(first.image.shape, np.float32)
        yield replace(first, image=np.clip(np.rint(first.image + noise), 0, 255).astype(np.uint8))


def driven_landmarks(frames: Sequence[TrackedFrame], model: MorphableModel, settings: ClipSettings) -> Float64Array:
    """(T, 478, 2) px: where the tracker's poses and expressions put the landmarks of the clip's head."""
    identity = clip_identity(settings.seed, model)[None]
    places = []
    for frame in frames:
        pose = frame.found.pose
        points = model.landmarks(model.vertices(identity, torch.from_numpy(frame.found.expression)[None]))
        posed = transform(torch.from_numpy(pose.rotation)[None], torch.from_numpy(pose.translation)[None], points)
        places.append(frame.truth.camera.project(posed)[0].double().numpy())
    driven = np.stack(places)
    valid: Float64Array = driven[:, model.mediapipe_valid.numpy()]
    return valid


def jitter_px(places: npt.NDArray[np.floating[Any]]) -> float:
    """Root mean square distance of places (T, P, 2) from their means over time."""
    away = places.astype(np.float64) - places.mean(0, dtype=np.float64)
    return float(np.sqrt((away**2).sum(-1).mean()))


def lag_of(truth: Float64Array, found: Float64Array) -> float:
    """Frames by which a signal (T,) found follows the true one: the shift that leaves the least difference."""
    times = np.arange(LONGEST_LAG_FRAMES, len(truth))
    lags = np.arange(0.0, LONGEST_LAG_FRAMES, LAG_STEP_FRAMES)
    errors = []
    for lag in lags:
        difference = found[times] - np.interp(times - lag, np.arange(len(truth)), truth)
        errors.append(float(difference.var()))
    return float(lags[int(np.argmin(errors))])


def lids_reached(frames: Sequence[TrackedFrame]) -> float:
    """Median over frames with both eyes closed of how far the tracker closes them, at most two frames away."""
    true, found = (
        np.array([expression[list(BLINKS)].min() for expression in expressions])
        for expressions in ([f.truth.expression for f in frames], [f.found.expression for f in frames])
    )
    near = [found[max(0, k - CLOSING_FRAMES) : k + CLOSING_FRAMES + 1].max() for k in np.flatnonzero(true >= CLOSED)]
    return float(np.median(near)) if near else float("nan")
