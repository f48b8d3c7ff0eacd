"""Tracking a face through a video, or analysing single pictures: the door to this package."""

from dataclasses import dataclass
from functools import cache
from typing import Final

import numpy as np

from fitme.arrays import Float32Array, UInt8Array
from fitme.geometry import Camera, HeadPose
from fitme.shape.morphable_model import MorphableModel
from fitme.track.blink import close_eyes
from fitme.track.detections import Detections, look
from fitme.track.identity import DlibEmbedder, IdentityEmbedder
from fitme.track.landmarks import DetectedFace, FaceFinder, LandmarkBackend
from fitme.track.mediapipe_solutions import SolutionsBackend
from fitme.track.observation import FaceObservation, FaceStatus, FrameQuality
from fitme.track.pose import PoseEstimate, PoseSolver
from fitme.track.quality import picture_quality
from fitme.track.segmentation import HandOcclusion
from fitme.track.smoothing import OneEuroFilter, OneEuroSettings

ROTATION_SMOOTHING: Final = OneEuroSettings(rest_cutoff_hz=2.0, speed_gain=8.0)
"""Of the rotation, radians."""
TRANSLATION_SMOOTHING: Final = OneEuroSettings(rest_cutoff_hz=1.5, speed_gain=40.0)
"""Of the translation, metres."""
EXPRESSION_SMOOTHING: Final = OneEuroSettings(rest_cutoff_hz=2.5, speed_gain=1.5)
"""Of the expression coefficients."""


@dataclass(frozen=True)
class TrackerSettings:
    """How often the dearer checks of a video are made."""

    focal: float = 1.1
    """Focal length over the longer side of the picture, until another is set: a webcam of about 50 degrees across."""
    several_period_s: float = 0.3
    """Time between two looks for a second face (2 ms)."""
    occlusion_period_s: float = 0.4
    """Time between two looks for a hand in front of the face (10 ms)."""
    embedding_period_s: float = 1.0
    """Time between two identity embeddings (12 ms) of a face that stays."""
    doubt_period_s: float = 0.1
    """Time between two embeddings while the face is not the reference's."""
    doubtful_matches: int = 3
    """Embeddings in a row that must differ from the reference before the person counts as another."""
    doubt_factor: float = 1.08
    """Distance, in units of the embedder's threshold, from which an embedding differs: grimaces reach the threshold."""
    certain_factor: float = 1.25
    """The same for a difference of which one embedding is enough."""
    jump: float = 0.5
    """Motion between two frames, as a share of the face's size, that could be another face taking over."""
    iterations: int = 2
    """Gauss-Newton steps for a frame that follows another."""
    still_iterations: int = 20
    """Gauss-Newton steps without a frame before."""


class FrameTracker:
    """Observes one person's face. Frames of a video go to `track` in their order, single photos to `analyse`."""

    def __init__(
        self,
        model: MorphableModel,
        *,
        settings: TrackerSettings | None = None,
        backend: LandmarkBackend | None = None,
        embedder: IdentityEmbedder | None = None,
    ) -> None:
        """`backend` and `embedder` are MediaPipe's face mesh and dlib's ResNet unless others are given."""
        self._settings = settings or TrackerSettings()
        self._finder = FaceFinder(backend or SolutionsBackend())
        self._embedder = embedder or default_embedder()
        self._hands = HandOcclusion()
        self._solver = PoseSolver(model)
        self._focal = self._settings.focal
        self._reference: Float32Array | None = None
        self._rotation = OneEuroFilter(ROTATION_SMOOTHING)
        self._translation = OneEuroFilter(TRANSLATION_SMOOTHING)
        self._expression = OneEuroFilter(EXPRESSION_SMOOTHING)
        self._face: DetectedFace | None = None
        self._estimate: PoseEstimate | None = None
        self._mismatches = 0
        self._several, self._several_due_s = False, -np.inf
        self._occlusions = (0.0, 0.0)
        self._occlusion_due_s = self._embedding_due_s = -np.inf

    def reset(self) -> None:
        """Forget the video so far, such as when its size changes; identity and reference stay."""
        self._finder.reset()
        self._lose()
        self._several, self._several_due_s = False, -np.inf

    def set_identity(self, identity: Float32Array) -> None:
        """Use the fitted head with coefficients (K,) for pose and expression from now on."""
        self._solver.set_identity(identity)

    def set_focal(self, focal: float) -> None:
        """Use the fitted focal length, relative to the longer side of the picture, from now on."""
        self._focal = focal

    def set_reference_embedding(self, embedding: Float32Array) -> None:
        """The person to expect: a face whose embedding is too far from this one is `OTHER_PERSON`."""
        self._reference = embedding
        self._embedding_due_s = -np.inf

    def track(self, image: UInt8Array, timestamp_s: float) -> FaceObservation | None:
        """Observe the next frame of a video; None if it shows nobody.

        Pose and expression are smoothed over time. Occlusion is the larger of its last two checks, since a hand is now
        and then missed; it and the status carry over between checks. Only frames on which an embedding was computed
        have one.

        :param image: (H, W, 3) uint8 sRGB; all frames until `reset` have one size.
        :param timestamp_s: seconds, growing.
        :raises InputError: if the picture has another layout.
        """
        settings = self._settings
        face = self._finder.follow(image)
        if face is None:
            self._lose()
            return None
        if self._face is not None and _motion(self._face, face) > settings.jump:
            self._lose()
        if timestamp_s >= self._several_due_s:
            self._several = self._finder.several(image, face)
            self._several_due_s = timestamp_s + settings.several_period_s
        if timestamp_s >= self._occlusion_due_s:
            self._occlusions = (self._occlusions[1], self._hands.share(image, face.landmarks))
            self._occlusion_due_s = timestamp_s + settings.occlusion_period_s
        embedding = self._embed_if_due(image, face, timestamp_s)
        camera = self._camera(image)
        iterations = settings.still_iterations if self._estimate is None else settings.iterations
        estimate = self._solver.solve(
            face.landmarks, face.depth, camera, previous=self._estimate, iterations=iterations
        )
        self._face, self._estimate = face, estimate
        pose = HeadPose(
            self._rotation(estimate.pose.rotation.astype(np.float64), timestamp_s).astype(np.float32),
            self._translation(estimate.pose.translation.astype(np.float64), timestamp_s).astype(np.float32),
        )
        expression = self._expression(estimate.expression.astype(np.float64), timestamp_s)
        smooth = PoseEstimate(pose, np.clip(expression, 0.0, 1.0).astype(np.float32), estimate.error)
        other = self._mismatches >= settings.doubtful_matches
        return _observation(
            image, face, smooth, camera, max(self._occlusions), _status(self._several, other), embedding
        )

    def analyse(self, image: UInt8Array, sight: Detections | None = None) -> FaceObservation | None:
        """Observe a single picture of any size, with every check; None if it shows nobody.

        :param image: (H, W, 3) uint8 sRGB.
        :param sight: what the networks saw in this picture, if they were asked before.
        :raises InputError: if the picture has another layout.
        """
        sight = sight or look(image, self._finder, self._hands)
        if not sight.faces:
            return None
        face = sight.faces[0]
        embedding = self._embedder.embed(image, face.landmarks)
        camera = self._camera(image)
        iterations = self._settings.still_iterations
        estimate = self._solver.solve(face.landmarks, face.depth, camera, iterations=iterations)
        several = self._finder.rivals(sight.faces)
        other = self._distance(embedding) > self._settings.doubt_factor * self._embedder.same_person_distance
        return _observation(image, face, estimate, camera, sight.occlusion, _status(several, other), embedding)

    def close(self) -> None:
        """Release the networks."""
        self._finder.close()
        self._hands.close()

    def _lose(self) -> None:
        """The face is gone: what comes next may be another."""
        self._face, self._estimate = None, None
        self._mismatches = 0
        self._occlusions = (0.0, 0.0)
        self._occlusion_due_s = self._embedding_due_s = -np.inf
        for smoother in (self._rotation, self._translation, self._expression):
            smoother.reset()

    def _embed_if_due(self, image: UInt8Array, face: DetectedFace, timestamp_s: float) -> Float32Array | None:
        settings = self._settings
        if timestamp_s < self._embedding_due_s:
            return None
        embedding = self._embedder.embed(image, face.landmarks)
        distance = self._distance(embedding) / self._embedder.same_person_distance
        if distance <= settings.doubt_factor:
            self._mismatches = 0
        else:
            certain = distance > settings.certain_factor
            self._mismatches = settings.doubtful_matches if certain else self._mismatches + 1
        period_s = settings.doubt_period_s if self._mismatches else settings.embedding_period_s
        self._embedding_due_s = timestamp_s + period_s
        return embedding

    def _distance(self, embedding: Float32Array) -> float:
        return 0.0 if self._reference is None else float(np.linalg.norm(embedding - self._reference))

    def _camera(self, image: UInt8Array) -> Camera:
        height, width = image.shape[:2]
        return Camera.centered(self._focal * max(width, height), width, height)


@cache
def default_embedder() -> DlibEmbedder:
    """dlib's ResNet, read once a process."""
    return DlibEmbedder()


def _status(several: bool, other: bool) -> FaceStatus:
    if several:
        return FaceStatus.SEVERAL_FACES
    return FaceStatus.OTHER_PERSON if other else FaceStatus.OK


def _motion(before: DetectedFace, after: DetectedFace) -> float:
    shift = np.linalg.norm(after.landmarks.mean(0) - before.landmarks.mean(0))
    return float(shift) / max(before.box.side, 1.0)


def _observation(
    image: UInt8Array,
    face: DetectedFace,
    estimate: PoseEstimate,
    camera: Camera,
    occlusion: float,
    status: FaceStatus,
    embedding: Float32Array | None,
) -> FaceObservation:
    seen = picture_quality(image, face.landmarks)
    quality = FrameQuality(seen.sharpness, seen.exposure, seen.clipped, seen.face_size_px, occlusion)
    expression = close_eyes(estimate.expression, face.landmarks)
    return FaceObservation(face.landmarks, face.depth, estimate.pose, expression, camera, quality, status, embedding)
