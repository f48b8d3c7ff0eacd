"""Face tracker of videos and single images, the interface of this package."""

from dataclasses import replace

import numpy as np

from fitme.arrays import Float32Array, UInt8Array
from fitme.geometry import Camera, HeadPose
from fitme.shape.expressions import expression_index
from fitme.shape.morphable_model import MorphableModel
from fitme.track.blink import close_eyes
from fitme.track.factory import identity_embedder, landmark_backend
from fitme.track.identity import IdentityEmbedder
from fitme.track.landmarks import DetectedFace, FaceFinder, LandmarkBackend
from fitme.track.mouth.cheeks import Cheeks
from fitme.track.mouth.sideways import Sideways
from fitme.track.mouth.tongue import TongueFilter, tongue_evidence
from fitme.track.observation import FaceObservation, FaceStatus, FrameQuality
from fitme.track.occlusion import FaceOcclusion
from fitme.track.pose import PoseEstimate, PoseSolver
from fitme.track.quality import image_quality
from fitme.track.settings import TrackerSettings
from fitme.track.smoothing import OneEuroFilter

TONGUE_OUT, CHEEK_PUFF = expression_index("tongueOut"), expression_index("cheekPuff")
FRAME_S = 1.0 / 30.0
"""Time between two frames of a usual video."""


class FrameTracker:
    """Tracker of one person's face. Frames of a video go to `track` in order, single images to `analyse`."""

    def __init__(
        self,
        model: MorphableModel,
        *,
        settings: TrackerSettings | None = None,
        backend: LandmarkBackend | None = None,
        embedder: IdentityEmbedder | None = None,
    ) -> None:
        """`backend` and `embedder` are the defaults of `fitme.track.factory` unless others are given."""
        self._settings = settings or TrackerSettings()
        self._finder = FaceFinder(backend or landmark_backend())
        self._embedder = embedder or identity_embedder()
        patience = round(self._settings.occlusion_patience_s / max(self._settings.occlusion_period_s, FRAME_S))
        self._occlusion = FaceOcclusion(model, patience=patience)
        self._solver = PoseSolver(model, self._settings.pose)
        self._sideways = Sideways(model, self._settings.sideways)
        self._tongue = TongueFilter(self._settings.tongue)
        self._cheeks = Cheeks(model, self._settings.cheeks)
        self._focal = self._settings.focal
        self._references: tuple[Float32Array, ...] = ()
        self._rotation = OneEuroFilter(self._settings.rotation_smoothing)
        self._translation = OneEuroFilter(self._settings.translation_smoothing)
        self._expression = OneEuroFilter(self._settings.expression_smoothing)
        self._face: DetectedFace | None = None
        self._estimate: PoseEstimate | None = None
        self._mismatches = 0
        self._several, self._several_due_s = False, -np.inf
        self._covered = 0.0
        self._quality: FrameQuality | None = None
        self._occlusion_due_s = self._embedding_due_s = -np.inf

    def reset(self) -> None:
        """Drop the state of the video, such as when its size changes; identity and references stay."""
        self._finder.reset()
        self._lose()
        self._several, self._several_due_s = False, -np.inf

    def set_identity(self, identity: Float32Array) -> None:
        """Use the fitted head with coefficients (K,) for pose and expression from now on."""
        self._solver.set_identity(identity)
        self._sideways.set_identity(identity)

    def set_focal(self, focal: float) -> None:
        """Use the fitted focal length, relative to the longer side of the image, from now on."""
        self._focal = focal

    def set_reference_embeddings(self, *embeddings: Float32Array) -> None:
        """Expect the person of these embeddings (D,): a face that is too far from the nearest is `OTHER_PERSON`."""
        if not self._references:
            self._embedding_due_s = -np.inf
        self._references = embeddings

    def identify(self, image: UInt8Array, observation: FaceObservation) -> FaceObservation:
        """The observation of the frame that was tracked last, with this frame's own identity embedding.

        If that differs from the references, the next frame is checked as well.

        :param image: (H, W, 3) uint8 sRGB, the frame.
        """
        if observation.embedding is not None:
            return observation
        embedding = self._embedder.embed(image, observation.landmarks)
        if self.identity_distance(embedding) > self._settings.mismatch_factor:
            self._embedding_due_s = -np.inf
        return replace(observation, embedding=embedding)

    def identity_distance(self, embedding: Float32Array) -> float:
        """L2 distance of an embedding (D,) from the nearest reference, in units of the embedder's same-person distance;
        0 without references."""
        return self._distance(embedding) / self._embedder.same_person_distance

    def track(self, image: UInt8Array, timestamp_s: float) -> FaceObservation | None:
        """Observe the next frame of a video; None without a face.

        Pose and expression are smoothed over time. Occlusion and status hold between checks. Only frames on which an
        embedding was computed have one.

        :param image: (H, W, 3) uint8 sRGB; all frames until `reset` have one size.
        :param timestamp_s: seconds, growing.
        :raises InputError: if the image has another layout.
        """
        observation = self.track_pose(image, timestamp_s)
        return None if observation is None else self.check(image, observation, timestamp_s)

    def track_pose(self, image: UInt8Array, timestamp_s: float) -> FaceObservation | None:
        """What `track` does first: pose and expression of the next frame, with the quality and the status of the last
        frame that was checked. `check` may follow, before the next frame.

        :raises InputError: if the image has another layout.
        """
        settings = self._settings
        # A lost face, or one that moves too far, ends smoothing and the count of mismatches.
        face = self._finder.follow(image)
        if face is None:
            self._lose()
            return None
        if self._face is not None and _motion(self._face, face) > settings.largest_motion:
            self._lose()
        # The solver starts from the unsmoothed estimate, so that smoothing adds no lag to it.
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
        shown = self._sideways.applied(estimate, face.landmarks, camera)
        shown[TONGUE_OUT] = self._tongue(tongue_evidence(image, face.landmarks), timestamp_s)
        if settings.cheeks.gain > 0.0:
            # Landmarks alone puff the cheeks of rounded lips.
            shown[CHEEK_PUFF] = self._cheeks(image, face.landmarks, estimate, timestamp_s)
        expression = self._expression(shown.astype(np.float64), timestamp_s)
        smooth = PoseEstimate(pose, np.clip(expression, 0.0, 1.0).astype(np.float32), estimate.error)
        if self._quality is None:
            self._quality = _quality(image, face, self._covered)
        return _observation(face, smooth, camera, self._quality, self._current_status(), None)

    def check(self, image: UInt8Array, observation: FaceObservation, timestamp_s: float) -> FaceObservation:
        """The observation of the frame that `track_pose` was given last, with its own quality, after the expensive
        checks that are due: for other faces, other people and what covers the face. Their results hold until the next.
        """
        settings, face, estimate = self._settings, self._face, self._estimate
        assert face is not None and estimate is not None
        if timestamp_s >= self._several_due_s:
            self._several = self._finder.several(image, face)
            self._several_due_s = timestamp_s + settings.face_search_period_s
        embedding = self._embed_if_due(image, face, timestamp_s)
        if self._mismatches:
            # Another person's face would differ everywhere.
            self._occlusion.reset()
            self._covered, self._occlusion_due_s = 0.0, -np.inf
        elif timestamp_s >= self._occlusion_due_s:
            self._covered = self._occlusion.check(image, face.landmarks, estimate.pose).share
            self._occlusion_due_s = timestamp_s + settings.occlusion_period_s
        self._quality = _quality(image, face, self._covered)
        return replace(observation, quality=self._quality, status=self._current_status(), embedding=embedding)

    def analyse(
        self, image: UInt8Array, faces: tuple[DetectedFace, ...] | None = None, camera: Camera | None = None
    ) -> FaceObservation | None:
        """Observe a single image of any size; None without a face. Its occlusion is unknown, 0.

        :param image: (H, W, 3) uint8 sRGB.
        :param faces: faces of this image, largest first, if they were searched before.
        :param camera: of this image, if it is a part of a larger one; otherwise its principal point is the centre.
        :raises InputError: if the image has another layout.
        """
        faces = self._finder.detect(image) if faces is None else faces
        if not faces:
            return None
        face = faces[0]
        embedding = self._embedder.embed(image, face.landmarks)
        camera = self._camera(image) if camera is None else camera
        iterations = self._settings.still_iterations
        estimate = self._solver.solve(face.landmarks, face.depth, camera, iterations=iterations)
        shown = self._sideways.applied(estimate, face.landmarks, camera)
        if tongue_evidence(image, face.landmarks) > self._settings.tongue.out_from:
            shown[TONGUE_OUT] = self._settings.tongue.activation
        estimate = replace(estimate, expression=shown)
        several = self._finder.rivals(faces)
        other = self._distance(embedding) > self._settings.mismatch_factor * self._embedder.same_person_distance
        return _observation(face, estimate, camera, _quality(image, face, 0.0), _status(several, other), embedding)

    def close(self) -> None:
        """Release the networks."""
        self._finder.close()

    def _current_status(self) -> FaceStatus:
        return _status(self._several, self._mismatches >= self._settings.fewest_mismatches)

    def _lose(self) -> None:
        """Drop the state of the face: the next one may be another person's."""
        self._face, self._estimate = None, None
        self._mismatches = 0
        self._covered, self._quality = 0.0, None
        self._occlusion_due_s = self._embedding_due_s = -np.inf
        self._tongue.reset()
        self._cheeks.reset()
        for smoother in (self._rotation, self._translation, self._expression):
            smoother.reset()

    def _embed_if_due(self, image: UInt8Array, face: DetectedFace, timestamp_s: float) -> Float32Array | None:
        settings = self._settings
        if timestamp_s < self._embedding_due_s:
            return None
        embedding = self._embedder.embed(image, face.landmarks)
        distance = self.identity_distance(embedding)
        if distance <= settings.mismatch_factor:
            self._mismatches = 0
        else:
            certain = distance > settings.certain_mismatch_factor
            self._mismatches = settings.fewest_mismatches if certain else self._mismatches + 1
        period_s = settings.mismatch_period_s if self._mismatches else settings.embedding_period_s
        self._embedding_due_s = timestamp_s + period_s
        return embedding

    def _distance(self, embedding: Float32Array) -> float:
        return min((float(np.linalg.norm(embedding - known)) for known in self._references), default=0.0)

    def _camera(self, image: UInt8Array) -> Camera:
        height, width = image.shape[:2]
        return Camera.centered(self._focal * max(width, height), width, height)


def _status(several: bool, other: bool) -> FaceStatus:
    if several:
        return FaceStatus.SEVERAL_FACES
    return FaceStatus.OTHER_PERSON if other else FaceStatus.OK


def _motion(before: DetectedFace, after: DetectedFace) -> float:
    shift = np.linalg.norm(after.landmarks.mean(0) - before.landmarks.mean(0))
    return float(shift) / max(before.box.side, 1.0)


def _quality(image: UInt8Array, face: DetectedFace, occlusion: float) -> FrameQuality:
    of_image = image_quality(image, face.landmarks)
    return FrameQuality(of_image.sharpness, of_image.exposure, of_image.clipped, of_image.face_size_px, occlusion)


def _observation(
    face: DetectedFace,
    estimate: PoseEstimate,
    camera: Camera,
    quality: FrameQuality,
    status: FaceStatus,
    embedding: Float32Array | None,
) -> FaceObservation:
    expression = close_eyes(estimate.expression, face.landmarks)
    return FaceObservation(face.landmarks, face.depth, estimate.pose, expression, camera, quality, status, embedding)
