"""MediaPipe's face mesh of its classic `solutions` interface, whose wheel (0.10.21) contains the models."""

from types import TracebackType
from typing import Any

import numpy as np

from fitme.arrays import UInt8Array
from fitme.errors import BackendError
from fitme.track.landmarks import Box, DetectedFace
from fitme.track.mediapipe_package import mediapipe

MAX_FACES_IN_IMAGE = 4
"""Largest number of faces of one pass over a single image."""


class SolutionsBackend:
    """`LandmarkBackend` on `mediapipe.solutions`: about 4 ms a tracked frame at 640x480 on one core."""

    def __init__(self, *, min_detection_confidence: float = 0.4, min_tracking_confidence: float = 0.5) -> None:
        """Networks start on first use. Raises `BackendError` with a MediaPipe that has no `solutions` any more."""
        if not hasattr(mediapipe, "solutions"):
            raise BackendError(
                "This MediaPipe has no `solutions` interface: install mediapipe==0.10.21, or use TasksBackend with a "
                "face_landmarker.task file."
            )
        self._detection = min_detection_confidence
        self._tracking = min_tracking_confidence
        self._follower: Any = None
        self._mesher: Any = None
        self._detectors: list[Any] = []

    def follow(self, image: UInt8Array) -> DetectedFace | None:
        """See `LandmarkBackend`."""
        if self._follower is None:
            self._follower = self._face_mesh(still=False, max_faces=1)
        return next(iter(_faces(self._follower, image)), None)

    def mesh(self, image: UInt8Array) -> list[DetectedFace]:
        """See `LandmarkBackend`."""
        if self._mesher is None:
            self._mesher = self._face_mesh(still=True, max_faces=MAX_FACES_IN_IMAGE)
        return _faces(self._mesher, image)

    def boxes(self, image: UInt8Array) -> list[Box]:
        """See `LandmarkBackend`. The short-range network finds near faces, the full-range network distant ones."""
        if not self._detectors:
            detector = mediapipe.solutions.face_detection.FaceDetection
            self._detectors = [detector(self._detection, model) for model in (0, 1)]
        height, width = image.shape[:2]
        for detector in self._detectors:
            found = detector.process(image).detections or []
            relative = [detection.location_data.relative_bounding_box for detection in found]
            if relative:
                return [Box(box.xmin * width, box.ymin * height, box.width * width, box.height * height)
                        for box in relative]  # fmt: skip
        return []

    def close(self) -> None:
        """See `LandmarkBackend`."""
        for network in (self._follower, self._mesher, *self._detectors):
            if network is not None:
                network.close()
        self._follower, self._mesher, self._detectors = None, None, []

    def __enter__(self) -> "SolutionsBackend":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _face_mesh(self, *, still: bool, max_faces: int) -> Any:  # noqa: ANN401 (MediaPipe is untyped)
        return mediapipe.solutions.face_mesh.FaceMesh(
            static_image_mode=still,
            max_num_faces=max_faces,
            refine_landmarks=True,
            min_detection_confidence=self._detection,
            min_tracking_confidence=self._tracking,
        )


def _faces(network: Any, image: UInt8Array) -> list[DetectedFace]:  # noqa: ANN401 (MediaPipe is untyped)
    height, width = image.shape[:2]
    found = network.process(image).multi_face_landmarks or []
    return [face_of_landmarks(face.landmark, width, height) for face in found]


def face_of_landmarks(landmarks: Any, width: int, height: int) -> DetectedFace:  # noqa: ANN401 (MediaPipe is untyped)
    """MediaPipe's 478 normalised landmarks (x and y in image sizes, z in image widths) in pixels."""
    points = np.array([(point.x, point.y, point.z) for point in landmarks], np.float32)  # (478, 3)
    return DetectedFace(points[:, :2] * np.array([width, height], np.float32), points[:, 2] * np.float32(width))
