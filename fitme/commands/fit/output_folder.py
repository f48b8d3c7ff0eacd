"""Output folder of `fitme fit`.

::

    avatar.safetensors        the avatar, for `fitme render` and `fitme export`
    avatar.glb                the avatar for game engines
    diffuse.png specular.png normal.png    reflectance maps
    observed.png              white where images decide on the diffuse map, black where it was guessed
    turntable.mp4             the avatar under a moving light
    report.json               figures: see `fitme.commands.fit.report` and `report` below
    NNN.obj                   keyframe NNN: the posed mesh in OpenCV's camera space, metres
    NNN_{input,render,mask}.png            its image, the avatar's render over black, and the render's mask
    holdout/NNN_{input,render,mask}.png    image, render and mask of held-out frame NNN
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
from fitme.export.frame_images import write_frame_images
from fitme.export.gltf.avatar import write_glb
from fitme.export.obj import write_obj
from fitme.export.observed import OBSERVED_FILE, observed_share, write_observed
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
from fitme.shape.face_regions import medians_by_region
from fitme.shape.morphable_model import MorphableModel
from fitme.track.identity import IdentityEmbedder

PARTS = AVATAR, KEYFRAMES, HELD_OUT, TURNTABLE = (
    "write avatar",
    "write keyframes",
    "explain held-out frames",
    "wait for the turntable",
)
"""Names of the parts of the writing, in the report's timings."""
Json = dict[str, Any]


@dataclass(frozen=True)
class Outcome:
    """Outcome of a fit, from which the folder is written."""

    model: MorphableModel
    fitter: IncrementalFitter
    state: FitState
    avatar: Avatar
    held_out: Sequence[TrackedFrame]
    """Held-out frames, to be fitted with identity and reflectance fixed."""
    embedder: IdentityEmbedder
    inputs: Sequence[str]
    """Names of the user's files."""
    sources: Mapping[str, str]
    """File and frame of a keyframe, by its key."""
    skipped: Mapping[str, str]
    """Reason, by the name of each skipped image."""
    warnings: Sequence[str]


def write_folder(outcome: Outcome, folder: Path, watch: Stopwatch, advance: Callable[[], None]) -> Json:
    """Write all files, the turntable on a separate thread; returns the report.

    `advance` is called after each of `PARTS`.
    """
    files = planned_files(len(outcome.state.keyframes), len(outcome.held_out))
    _prepare(folder, files)
    with ThreadPoolExecutor(1, "turntable") as executor:
        movie = executor.submit(_write_movie, outcome, folder)
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
    """Create the folder, and remove the files of an earlier fit's report and no others.

    A report that lists the new fit's `files` as well is written first: after an interruption the next run can
    distinguish them from the user's files.
    """
    folder.mkdir(parents=True, exist_ok=True)
    earlier = written_files(folder)
    listed = {"version": VERSION, "fitme": version("fitme"), "files": sorted(earlier.union(files))}
    _write_json(listed, folder / REPORT_FILE)
    for name in earlier - {REPORT_FILE}:
        (folder / name).unlink(missing_ok=True)


def _write_avatar(outcome: Outcome, folder: Path) -> None:
    """Write avatar, GLB and textures."""
    outcome.avatar.save(folder / FILE_NAME)
    write_glb(outcome.avatar, outcome.model, folder / "avatar.glb")
    write_textures(outcome.avatar.maps, folder)
    write_observed(outcome.avatar, folder)


def _write_movie(outcome: Outcome, folder: Path) -> None:
    """Write the turntable."""
    write_turntable(outcome.avatar, outcome.model, folder / "turntable.mp4")


def _write_keyframes(outcome: Outcome, folder: Path) -> list[Json]:
    """Write mesh, image, render and mask of every keyframe; returns their part of the report."""
    entries = []
    for index, keyframe in enumerate(outcome.state.keyframes):
        name, estimate = frame_name(index), outcome.state.estimates[keyframe.key]
        render, mask = outcome.fitter.render_estimate(estimate, keyframe.observation.camera)
        write_frame_images(folder, name, keyframe.image, render, mask)
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
    """Fit, render, score and write every held-out frame; returns their part of the report."""
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
        write_frame_images(folder / HOLDOUT_FOLDER, name, image, render, mask)
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

    `timings` are seconds of wall time by activity, `files` paths relative to the folder.
    """
    return {
        "version": VERSION,
        "fitme": version("fitme"),
        "files": list(files),
        "inputs": list(outcome.inputs),
        "stage": outcome.avatar.stage,
        "observed": {"map": OBSERVED_FILE, "share_of_face": observed_share(outcome.avatar, outcome.model)},
        "form": _form(outcome),
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


def _form(outcome: Outcome) -> Json:
    """Standard deviations of the neutral head's vertices, medians over regions of the face; none before all images are
    fitted."""
    sigma = outcome.avatar.shape_sigma
    if sigma is None:
        return {}
    by_region = medians_by_region(outcome.model, 1e3 * sigma.numpy())
    return {"sigma_mm": {region.value: round(value, 3) for region, value in by_region.items()}}


def _write_json(content: Json, path: Path) -> None:
    """Write a JSON file atomically."""
    with atomic_file(path) as partial:
        partial.write_text(json.dumps(content, indent=1, allow_nan=False) + "\n", encoding="utf-8")


def _estimate_json(outcome: Outcome, estimate: KeyframeEstimate, camera: Camera) -> Json:
    return frame_json(estimate, camera_of(camera, outcome.avatar.focal))


def _finite_values(figures: Mapping[str, float]) -> Json:
    return {name: finite(value) for name, value in figures.items()}
