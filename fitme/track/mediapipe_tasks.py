"""MediaPipe's Face Landmarker of its `tasks` interface, from a bundle file of the user."""

from pathlib import Path
from typing import Any

from fitme.arrays import UInt8Array
from fitme.errors import ModelFileError
from fitme.track.landmarks import Box, DetectedFace
from fitme.track.mediapipe_package import mediapipe
from fitme.track.mediapipe_solutions import MAX_FACES_IN_IMAGE, face_of_landmarks

FRAME_INTERVAL_MS = 33
"""Difference between the timestamps of consecutive frames; the network needs growing ones only."""


class TasksBackend:
    """`LandmarkBackend` on a `face_landmarker.task` bundle."""

    def __init__(
        self, bundle: Path, *, min_detection_confidence: float = 0.4, min_tracking_confidence: float = 0.5
    ) -> None:
        """Networks start on first use. Raises `ModelFileError` if the bundle is missing."""
        if not bundle.is_file():
            raise ModelFileError(
                f"No Face Landmarker bundle at {bundle}: download face_landmarker.task from MediaPipe."
            )
        self._bundle = bundle
        self._detection = min_detection_confidence
        self._tracking = min_tracking_confidence
        self._follower: Any = None
        self._mesher: Any = None
        self._time_ms = 0

    def follow(self, image: UInt8Array) -> DetectedFace | None:
        """See `LandmarkBackend`."""
        if self._follower is None:
            self._follower = self._landmarker(video=True, max_faces=1)
        self._time_ms += FRAME_INTERVAL_MS
        return next(iter(_faces(self._follower.detect_for_video(_mediapipe_image(image), self._time_ms), image)), None)

    def mesh(self, image: UInt8Array) -> list[DetectedFace]:
        """See `LandmarkBackend`."""
        if self._mesher is None:
            self._mesher = self._landmarker(video=False, max_faces=MAX_FACES_IN_IMAGE)
        return _faces(self._mesher.detect(_mediapipe_image(image)), image)

    def boxes(self, image: UInt8Array) -> list[Box]:
        """See `LandmarkBackend`; the bundle has no separate detector, so that it costs as much as `mesh`."""
        return [face.box for face in self.mesh(image)]

    def close(self) -> None:
        """See `LandmarkBackend`."""
        for network in (self._follower, self._mesher):
            if network is not None:
                network.close()
        self._follower = self._mesher = None

    def _landmarker(self, *, video: bool, max_faces: int) -> Any:  # noqa: ANN401 (MediaPipe is untyped)
        tasks = mediapipe.tasks
        mode = tasks.vision.RunningMode
        options = tasks.vision.FaceLandmarkerOptions(
            base_options=tasks.BaseOptions(model_asset_path=str(self._bundle)),
            running_mode=mode.VIDEO if video else mode.IMAGE,
            num_faces=max_faces,
            min_face_detection_confidence=self._detection,
            min_face_presence_confidence=self._tracking,
            min_tracking_confidence=self._tracking,
        )
        try:
            return tasks.vision.FaceLandmarker.create_from_options(options)
        except (RuntimeError, ValueError) as error:
            raise ModelFileError(f"{self._bundle} is not a readable Face Landmarker bundle: {error}") from error


def _mediapipe_image(image: UInt8Array) -> Any:  # noqa: ANN401 (MediaPipe is untyped)
    return mediapipe.Image(image_format=mediapipe.ImageFormat.SRGB, data=image)


def _faces(result: Any, image: UInt8Array) -> list[DetectedFace]:  # noqa: ANN401 (MediaPipe is untyped)
    height, width = image.shape[:2]
    return [face_of_landmarks(face, width, height) for face in result.face_landmarks]
