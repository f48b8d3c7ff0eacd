"""The folder that `fitme fit` writes.

::

    avatar.safetensors        the avatar, for `fitme render` and `fitme export`
    avatar.glb                the avatar for engines
    diffuse.png specular.png normal.png    its maps
    turntable.mp4             the avatar under a moving light
    report.json               figures: see `fitme.commands.fit.report` and `report` below
    NNN.obj                   keyframe NNN: the posed mesh in OpenCV's camera space, metres
    NNN_{input,render,mask}.png            its picture, the avatar drawn over black, and where that is
    holdout/NNN_{input,render,mask}.png    the same for frames that the fit never saw
"""

import json
import platform
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from fitme.atomic_file import atomic_file
from fitme.avatar import FILE_NAME, Avatar
from fitme.commands.fit.report import VERSION, finite, frame_json, round_json
from fitme.commands.fit.stopwatch import Stopwatch
from fitme.export.gltf import write_glb
from fitme.export.obj import write_obj
from fitme.export.pictures import write_triple
from fitme.export.textures import write_textures
from fitme.export.turntable import write_turntable
from fitme.fit.alignment.aligner import camera_of
from fitme.fit.estimate import KeyframeEstimate
from fitme.fit.fitter import IncrementalFitter
from fitme.fit.state import FitState
from fitme.geometry import Camera
from fitme.ingest.fit_outputs import HOLDOUT_FOLDER, REPORT_FILE, frame_name, planned_files, written_files
from fitme.ingest.person_tracking import TrackedFrame
from fitme.metrics.frame_scores import FrameScore, median_score, score_frame
from fitme.shape.morphable_model import MorphableModel
from fitme.track.identity import IdentityEmbedder

PARTS = AVATAR, KEYFRAMES, HELD_OUT, TURNTABLE = (
    "write avatar",
    "write keyframes",
    "explain held-out frames",
    "wait for the turntable",
)
"""What is written, as the report's timings name it."""
Json = dict[str, Any]


@dataclass(frozen=True)
class Outcome:
    """All that the folder is written from."""

    model: MorphableModel
    fitter: IncrementalFitter
    state: FitState
    avatar: Avatar
    held_out: Sequence[TrackedFrame]
    """Frames to be explained with identity and reflectance frozen."""
    embedder: IdentityEmbedder
    inputs: Sequence[str]
    """Names of the files that the user gave."""
    sources: Mapping[str, str]
    """By the keyframe's key: file and frame that it came from."""
    skipped: Mapping[str, str]
    """Reason by the name of each image that was left out."""
    warnings: Sequence[str]


def write_folder(outcome: Outcome, folder: Path, watch: Stopwatch, advance: Callable[[], None]) -> Json:
    """Write everything, the turntable on a core of its own; returns the report.

    `advance` is called after each of `PARTS`.
    """
    files = planned_files(len(outcome.state.keyframes), len(outcome.held_out))
    _prepare(folder, files)
    with ThreadPoolExecutor(1, "turntable") as beside:
        movie = beside.submit(_write_movie, outcome, folder)
        with watch.measuring(AVATAR):
            _write_avatar(outcome, folder)
            advance()
        with watch.measuring(KEYFRAMES):
            keyframes = _write_keyframes(outcome, folder)
            advance()
        with watch.measuring(HELD_OUT):
            held_out = _write_held_out(outcome, folder)
            advance()
        with watch.measuring(TURNTABLE):
            movie.result()
            advance()
    report = _report(outcome, keyframes, held_out, {**watch.seconds, "total": watch.total}, files)
    _write_json(report, folder / REPORT_FILE)
    return report


def _prepare(folder: Path, files: Sequence[str]) -> None:
    """Make the folder, and remove what an earlier fit's report lists and nothing else.

    A report that lists the new fit's `files` as well is written first: should this run break off, the next one can
    tell its files from the user's.
    """
    folder.mkdir(parents=True, exist_ok=True)
    earlier = written_files(folder)
    listed = {"version": VERSION, "fitme": version("fitme"), "files": sorted(earlier.union(files))}
    _write_json(listed, folder / REPORT_FILE)
    for name in earlier - {REPORT_FILE}:
        (folder / name).unlink(missing_ok=True)


def _write_avatar(outcome: Outcome, folder: Path) -> None:
    """Write the avatar's own files."""
    outcome.avatar.save(folder / FILE_NAME)
    write_glb(outcome.avatar, outcome.model, folder / "avatar.glb")
    write_textures(outcome.avatar.maps, folder)


def _write_movie(outcome: Outcome, folder: Path) -> None:
    """Write the turntable."""
    write_turntable(outcome.avatar, outcome.model, folder / "turntable.mp4")


def _write_keyframes(outcome: Outcome, folder: Path) -> list[Json]:
    """Write mesh and pictures of every keyframe; their part of the report."""
    entries = []
    for index, keyframe in enumerate(outcome.state.keyframes):
        name, estimate = frame_name(index), outcome.state.estimates[keyframe.key]
        render, mask = outcome.fitter.render_estimate(estimate, keyframe.observation.camera)
        write_triple(folder, name, keyframe.image, render, mask)
        with torch.no_grad():
            expression = torch.from_numpy(estimate.expression)[None]
            vertices = outcome.model.vertices(outcome.avatar.identity[None], expression)[0].numpy()
        write_obj(outcome.model, vertices, estimate.pose, folder / f"{name}.obj")
        entries.append(
            {
                "name": name,
                "source": outcome.sources.get(keyframe.key, keyframe.key),
                "timestamp_s": keyframe.timestamp_s,
                "quality": _finite_values(asdict(keyframe.observation.quality)),
                **_estimate_json(outcome, estimate, keyframe.observation.camera),
            }
        )
    return entries


def _write_held_out(outcome: Outcome, folder: Path) -> Json:
    """Explain, draw and score every held-out frame; their part of the report."""
    if not outcome.held_out:
        return {"frames": [], "median": None}
    (folder / HOLDOUT_FOLDER).mkdir(exist_ok=True)
    entries: list[Json] = []
    scores: list[FrameScore] = []
    for index, tracked_frame in enumerate(outcome.held_out):
        image, observation = tracked_frame.frame.image, tracked_frame.observation
        estimate = outcome.fitter.fit_frame(observation, image)
        render, mask = outcome.fitter.render_estimate(estimate, observation.camera)
        name = frame_name(index)
        write_triple(folder / HOLDOUT_FOLDER, name, image, render, mask)
        score = score_frame(observation, image, render, mask, outcome.embedder)
        scores.append(score)
        entries.append(
            {
                "name": name,
                "source": tracked_frame.frame.source,
                "timestamp_s": tracked_frame.frame.timestamp_s,
                "score": _finite_values(asdict(score)),
                **_estimate_json(outcome, estimate, observation.camera),
            }
        )
    return {"frames": entries, "median": _finite_values(asdict(median_score(scores)))}


def _report(
    outcome: Outcome, keyframes: list[Json], held_out: Json, timings: Mapping[str, float], files: Sequence[str]
) -> Json:
    """Content of `report.json`.

    `timings` are seconds of wall time by what they were spent on, `files` paths relative to the folder.
    """
    return {
        "version": VERSION,
        "fitme": version("fitme"),
        "files": list(files),
        "inputs": list(outcome.inputs),
        "stage": outcome.avatar.stage,
        "focal_over_longer_side": outcome.avatar.focal,
        "identity": [round(value, 6) for value in outcome.avatar.identity.tolist()],
        "keyframes": keyframes,
        "holdout": held_out,
        "rounds": [round_json(entry) for entry in outcome.state.rounds],
        "skipped": dict(outcome.skipped),
        "warnings": list(outcome.warnings),
        "timings_s": {name: round(seconds, 3) for name, seconds in timings.items()},
        "machine": {"platform": platform.platform(), "threads": torch.get_num_threads()},
    }


def _write_json(content: Json, path: Path) -> None:
    """Write a JSON file, replacing an earlier one only once all is written."""
    with atomic_file(path) as partial:
        partial.write_text(json.dumps(content, indent=1, allow_nan=False) + "\n", encoding="utf-8")


def _estimate_json(outcome: Outcome, estimate: KeyframeEstimate, camera: Camera) -> Json:
    return frame_json(estimate, camera_of(camera, outcome.avatar.focal))


def _finite_values(figures: Mapping[str, float]) -> Json:
    return {name: finite(value) for name, value in figures.items()}
