"""Scores of one subject of the benchmark: every method against ground truth, and the fit during refinement."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import cv2
import numpy as np
import torch

from fitme.arrays import BoolArray, Float64Array, IndexArray, Int64Array, UInt8Array
from fitme.bench.truth.dataset import SubjectTruth, frame_file, load_mask, load_relit, load_truth
from fitme.bench.truth.heads import (
    FitResources,
    FittedHead,
    Head,
    UnlitHead,
    fitter_of,
    keyframe_of,
    landmarks_only,
    load_resources,
    mean_face,
    new_fitter,
    relight,
)
from fitme.bench.truth.metrics import (
    AlbedoScore,
    ShapeScore,
    Similarity,
    pose_error_deg,
    score_albedo,
    score_shape,
)
from fitme.bench.truth.recovery import Recovery, score_recovery
from fitme.bench.truth.visibility import visible_vertices
from fitme.color import linear_to_bytes
from fitme.errors import NoFaceError
from fitme.fit.estimate import KeyframeEstimate
from fitme.fit.fitter import IncrementalFitter
from fitme.ingest.candidates import gather
from fitme.ingest.person_tracking import PersonTracker, TrackedFrame
from fitme.metrics.frame_scores import face_region, score_frame
from fitme.metrics.head_scores import HeldOutFrame, head_mask, score_head
from fitme.metrics.similarity import image_psnr, image_ssim
from fitme.shape.face_regions import FaceRegion
from fitme.shape.landmark_groups import FACE_OVAL
from fitme.shape.model_file import load_default_model
from fitme.shape.morphable_model import MorphableModel
from fitme.shape.normals import vertex_normals
from fitme.shape.raster import uv_raster
from fitme.shape.regions import Region
from fitme.stage import Stage
from fitme.track.factory import dlib_embedder

FIRST_SEMANTIC_LANDMARK = 27
"""iBUG's landmarks from the nose on have a fixed place on every face."""
SLICE_S = 1.0
"""Seconds of refinement per slice."""
CURVE_STEP_S = 4.0
"""Seconds of refinement between two points of a curve; a new stage always adds one."""
KEYFRAME_COUNTS = (1, 2, 4, 8)
"""Numbers of keyframes at which an incremental fit is scored."""
CURVE_HELD_OUT = 3
"""Number of held-out frames that score an incremental fit."""
TIME_LIMIT_S = 600.0
"""Time limit of refinement."""

Metrics = Mapping[str, float]


@dataclass(frozen=True)
class HeadScore:
    """Errors of one method on one subject; means over frames, NaN where no frame has a value."""

    scan_mm: float
    scan_free_mm: float
    landmark_mm: float
    normal_deg: float
    pose_deg: float
    """Rotation error on held-out frames."""
    albedo: float
    albedo_bias: float
    albedo_hue: float
    albedo_relative: float
    albedo_ita_deg: float
    psnr_db: float
    """PSNR of held-out frames over the eroded face oval."""
    ssim: float
    identity: float
    unseen_identity: float
    """Identity distance by a network that no loss sees."""
    relit_psnr_db: float
    overlap: float
    """Intersection over union of the head above the chin, hair included, in the true mask and in the render's."""
    head_psnr_db: float
    """PSNR of held-out frames over that head; uncovered pixels count as black."""
    head_relit_psnr_db: float
    """The same under the unseen light."""
    held_out: int
    """Number of frames that were scored."""


@dataclass(frozen=True)
class CurvePoint:
    """Scores of a fit during refinement."""

    seconds: float
    """Seconds of refinement so far."""
    keyframes: int
    stage: Stage
    metrics: Metrics


@dataclass(frozen=True)
class SubjectReport:
    """Results of one subject."""

    number: int
    tone: str
    methods: Mapping[str, HeadScore]
    """Scores by the names of `fitme.bench.truth.heads.METHODS`."""
    fit_s: float
    """Seconds of refinement."""
    over_seconds: Sequence[CurvePoint]
    over_keyframes: Sequence[CurvePoint]
    undetected_frames: int
    """Number of frames in which the tracker found no face."""
    recovery: Mapping[FaceRegion, Recovery]
    """How much of the deviation from the mean face the fit recovers."""


class SubjectBench:
    """Tracked frames and ground truth of one subject, against which heads are scored."""

    def __init__(self, folder: Path, number: int, frames: int, resources: FitResources) -> None:
        self._resources = resources
        self._folder, self._number = folder, number
        self.truth: SubjectTruth = load_truth(folder, number, frames)
        self._allowed = outer_triangles(resources.model)
        self._skin = skin_texels(resources.model, self.truth.albedo.shape[0])
        observer = PersonTracker(resources.model)
        self.fitted = self._tracked_frames(observer, np.flatnonzero(~self.truth.held_out))
        if not self.fitted:
            raise NoFaceError(f"subject {number}: the tracker found no face in its {frames} frames; render it again")
        self.held_out = self._tracked_frames(observer, np.flatnonzero(self.truth.held_out))
        self.undetected_frames = len(observer.skipped)
        self._shapes: dict[bytes, tuple[ShapeScore, Similarity]] = {}
        """What `shape` has found, by the heads' identities."""

    def shape(self, head: Head) -> tuple[ShapeScore, Similarity]:
        """Shape errors of the neutral head, and the rigid motion from the scan's frame to the head's."""
        key = head.identity.tobytes()
        if key not in self._shapes:
            self._shapes[key] = self._score_shape(head)
        return self._shapes[key]

    def _score_shape(self, head: Head) -> tuple[ShapeScore, Similarity]:
        model = self._resources.model
        vertices, normals = self._neutral(head)
        landmarks = model.ibug_landmarks(torch.from_numpy(vertices)[None].float())[0].double().numpy()
        return score_shape(
            self.truth.scan,
            self.truth.scan_normals,
            self.truth.landmarks[FIRST_SEMANTIC_LANDMARK:],
            vertices,
            normals,
            model.triangles.numpy().astype(np.int64),
            self._allowed,
            landmarks[FIRST_SEMANTIC_LANDMARK:],
        )

    def recovery(self, head: Head) -> dict[FaceRegion, Recovery]:
        """How much of the deviation from the mean face a head recovers, by region."""
        model, average = self._resources.model, mean_face(self._resources)
        (mean, mean_normals), (fitted, _) = self._neutral(average), self._neutral(head)
        landmarks = model.landmarks(torch.from_numpy(mean)[None].float())[0].double().numpy()
        return score_recovery(
            self.truth.scan, self.shape(average)[1], self.shape(head)[1], mean, mean_normals, fitted,
            model.triangles.numpy().astype(np.int64), self._allowed, landmarks,
        )  # fmt: skip

    def _neutral(self, head: Head) -> tuple[Float64Array, Float64Array]:
        """Vertices (V, 3), metres, and normals (V, 3) of the neutral head."""
        model = self._resources.model
        with torch.no_grad():
            vertices = model.neutral(torch.from_numpy(np.ascontiguousarray(head.identity))[None])
            normals = vertex_normals(vertices, model.triangles)
        return vertices[0].double().numpy(), normals[0].double().numpy()

    def albedo(self, head: Head) -> AlbedoScore:
        """Albedo errors of the diffuse map over the face's skin."""
        found = head.maps.diffuse[0].numpy()
        side = self.truth.albedo.shape[0]
        if found.shape[0] != side:
            found = np.asarray(cv2.resize(found, (side, side), interpolation=cv2.INTER_LINEAR))
        return score_albedo(found[self._skin], self.truth.albedo[self._skin])

    def score(self, head: Head, held_out: int | None = None) -> HeadScore:
        """All errors of a head, on at most `held_out` held-out frames."""
        shape, motion = self.shape(head)
        albedo = self.albedo(head)
        rows = []
        for frame, tracked_frame in list(self.held_out.items())[:held_out]:
            estimate = head.fit_frame_pose(tracked_frame)
            rows.append(self._frame_row(head, frame, tracked_frame, estimate, motion))
        mean = {key: _nan_mean([row[key] for row in rows]) for key in _FRAME_KEYS}
        return HeadScore(
            shape.scan_mm, shape.scan_free_mm, shape.landmark_mm, shape.normal_deg, mean["pose"], albedo.error,
            albedo.bias, albedo.hue, albedo.relative, albedo.ita_deg, mean["psnr"], mean["ssim"], mean["identity"],
            mean["unseen identity"], mean["relit"], mean["overlap"], mean["head psnr"], mean["head relit"], len(rows),
        )  # fmt: skip

    def metrics(self, head: Head) -> Metrics:
        """Errors that need no held-out frame: shape and albedo."""
        shape, _ = self.shape(head)
        return asdict(shape) | {"albedo": self.albedo(head).error}

    def relit_image(self, frame: int) -> UInt8Array:
        """Ground truth (H, W, 3), sRGB, of a frame under the unseen light."""
        return load_relit(self._folder, self._number, frame)

    def _frame_row(
        self, head: Head, frame: int, tracked_frame: TrackedFrame, estimate: KeyframeEstimate, motion: Similarity
    ) -> Metrics:
        """Errors of one head on one held-out frame, by `_FRAME_KEYS`."""
        observation, image = tracked_frame.observation, tracked_frame.frame.image
        render, mask = head.draw(estimate, observation.camera)
        agreement = score_frame(observation, image, render, mask, self._resources.embedder)
        region = face_region(observation)
        person = load_mask(self._folder, self._number, frame)
        inside, chin_px = head_mask(person, observation.landmarks[list(FACE_OVAL)])
        whole = score_head(HeldOutFrame(str(frame), image, inside, chin_px), render, mask)
        relit = head_relit = float("nan")
        if frame in self.truth.relit:
            truth = HeldOutFrame(str(frame), self.relit_image(frame), inside, chin_px)
            head_relit = score_head(truth, *head.draw_relit(estimate, observation.camera, self.truth.unseen)).psnr_db
            lit = relight(head, self._resources.model, estimate, observation.camera, self.truth.unseen)
            relit = image_psnr(linear_to_bytes(lit.image[0].numpy()), self.relit_image(frame), region)
        return {
            "pose": pose_error_deg(estimate.pose, self.truth.pose(frame), motion),
            "psnr": agreement.psnr_db,
            "ssim": image_ssim(np.where(mask[..., None] > 0, render, np.uint8(0)), image, region),
            "identity": agreement.identity,
            "unseen identity": agreement.unseen_identity,
            "relit": relit,
            "overlap": whole.overlap,
            "head psnr": whole.psnr_db,
            "head relit": head_relit,
        }

    def _tracked_frames(self, observer: PersonTracker, frames: IndexArray) -> dict[int, TrackedFrame]:
        files = {frame_file(self._folder, self._number, int(frame)): int(frame) for frame in frames}
        return {
            files[candidate.path]: tracked_frame
            for candidate, tracked_frame in observer.tracked_frames(gather(list(files)))
        }


_FRAME_KEYS = (
    "pose", "psnr", "ssim", "identity", "unseen identity", "relit", "overlap", "head psnr", "head relit",
)  # fmt: skip


def bench_subject(folder: Path, number: int, frames: int, growing: bool) -> tuple[SubjectReport, IncrementalFitter]:
    """Score all methods on a subject; with `growing`, also an incremental fit at `KEYFRAME_COUNTS`."""
    resources = load_resources(load_default_model(), dlib_embedder())
    bench = SubjectBench(folder, number, frames, resources)
    fitted = list(bench.fitted.values())
    methods = {
        "mean face": bench.score(mean_face(resources)),
        "landmarks only": bench.score(landmarks_only(resources, fitted)),
        "unlit texture": bench.score(UnlitHead(resources.model, fitted)),
    }
    fitter = fitter_of(fitted, resources)
    curve, seconds = _refine(bench, fitter)
    methods["fit"] = bench.score(FittedHead(fitter))
    over_keyframes = _grow(bench, resources) if growing else []
    report = SubjectReport(
        number, bench.truth.tone, methods, seconds, curve, over_keyframes, bench.undetected_frames,
        bench.recovery(FittedHead(fitter)),
    )  # fmt: skip
    return report, fitter


def outer_triangles(model: MorphableModel) -> Int64Array:
    """Indices of the triangles that a scan of a face can contain: visible skin."""
    inside = (Region.EYES, Region.MOUTH_INTERIOR, Region.TEETH, Region.LASHES)
    triangles = model.triangles.numpy().astype(np.int64)
    visible = visible_vertices(model.mean.double().numpy(), triangles)
    return np.flatnonzero(~np.isin(model.triangle_region.numpy(), inside) & visible[triangles].all(1))


def skin_texels(model: MorphableModel, resolution: int) -> BoolArray:
    """Mask (R, R) of the texels of skin inside the face's oval."""
    coverage = uv_raster(model, resolution)
    skin = (model.face_triangles & (model.triangle_region == int(Region.SKIN))).numpy()
    return np.asarray((coverage.triangle >= 0) & skin[coverage.triangle])


def _refine(bench: SubjectBench, fitter: IncrementalFitter) -> tuple[list[CurvePoint], float]:
    """Refine to convergence; returns the curve of scores, and the seconds of refinement without scoring."""
    curve: list[CurvePoint] = []
    seconds = last = 0.0
    while not fitter.converged and seconds < TIME_LIMIT_S:
        start = time.perf_counter()
        stage = fitter.refine(SLICE_S if curve else 0.0).stage
        seconds += time.perf_counter() - start
        if not curve or stage != curve[-1].stage or seconds - last >= CURVE_STEP_S or fitter.converged:
            last = seconds
            curve.append(CurvePoint(seconds, len(fitter.keyframes), stage, bench.metrics(FittedHead(fitter))))
    return curve, seconds


def _grow(bench: SubjectBench, resources: FitResources) -> list[CurvePoint]:
    """Scores of a fit that is refined to convergence at each of `KEYFRAME_COUNTS`."""
    fitter = new_fitter(resources)
    curve = []
    waiting = list(bench.fitted.values())
    for count in KEYFRAME_COUNTS:
        while waiting and len(fitter.keyframes) < count:
            key = str(len(fitter.keyframes))
            fitter.add_keyframe(keyframe_of(key, waiting.pop(0), resources.embedder))
        start = time.perf_counter()
        report = fitter.refine(TIME_LIMIT_S)
        seconds = time.perf_counter() - start
        score = asdict(bench.score(FittedHead(fitter), CURVE_HELD_OUT))
        curve.append(CurvePoint(seconds, len(fitter.keyframes), report.stage, score))
    return curve


def _nan_mean(values: Sequence[float]) -> float:
    finite = [value for value in values if np.isfinite(value)]
    return float(np.mean(finite)) if finite else float("nan")
