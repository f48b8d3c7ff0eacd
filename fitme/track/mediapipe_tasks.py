"""MediaPipe's Face Landmarker and face detectors of its `tasks` interface."""

import ctypes
import sys
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from types import TracebackType
from typing import Any, Final

import numpy as np

from fitme.arrays import Float32Array, UInt8Array
from fitme.errors import ModelFileError
from fitme.quiet import quiet_libraries
from fitme.track.landmarks import Box, DetectedFace
from fitme.track.mediapipe_package import WEIGHTS_FOLDER, close_network, create_network, mediapipe, mediapipe_image

face_landmarker: Any = sys.modules[mediapipe.tasks.vision.FaceLandmarker.__module__]
"""MediaPipe's module of the Face Landmarker."""
DEFAULT_FACE_LANDMARKER: Final = WEIGHTS_FOLDER / "face_landmarker.task"
"""MediaPipe's bundle without its networks for blendshapes and head pose, which nothing here uses."""
FACE_DETECTORS: Final = (
    WEIGHTS_FOLDER / "face_detection_short_range.tflite",
    WEIGHTS_FOLDER / "face_detection_full_range_sparse.tflite",
)
"""Detectors in the order in which they are tried: the first finds near faces, the second distant ones."""
MAX_FACES_IN_IMAGE: Final = 4
"""Largest number of faces of one pass over a single image."""
FRAME_INTERVAL_MS: Final = 33
"""Difference between the timestamps of consecutive frames; the network needs growing ones only."""


class TasksBackend:
    """`LandmarkBackend` on MediaPipe's Face Landmarker and face detectors: about 6 ms a tracked frame at 640x480 on one
    core."""

    def __init__(
        self,
        bundle: Path = DEFAULT_FACE_LANDMARKER,
        *,
        min_detection_confidence: float = 0.4,
        min_tracking_confidence: float = 0.5,
    ) -> None:
        """Networks start on first use. Raises `ModelFileError` if the bundle, a face_landmarker.task, is missing."""
        if not bundle.is_file():
            raise ModelFileError(
                f"No Face Landmarker bundle at {bundle}: download face_landmarker.task from MediaPipe."
            )
        self._bundle = bundle
        self._detection = min_detection_confidence
        self._tracking = min_tracking_confidence
        self._follower: Any = None
        self._mesher: Any = None
        self._detectors: list[Any] = []
        self._time_ms = 0
        self._found_any = False

    def follow(self, image: UInt8Array) -> DetectedFace | None:
        """See `LandmarkBackend`."""
        if self._follower is None:
            self._follower = self._landmarker(video=True, max_faces=1)
        self._time_ms += FRAME_INTERVAL_MS
        return next(iter(self._faces(self._detect_for_video, image, self._time_ms)), None)

    def mesh(self, image: UInt8Array) -> list[DetectedFace]:
        """See `LandmarkBackend`."""
        if self._mesher is None:
            self._mesher = self._landmarker(video=False, max_faces=MAX_FACES_IN_IMAGE)
        return self._faces(lambda of: _landmarks(self._mesher.detect(of)), image)

    def boxes(self, image: UInt8Array) -> list[Box]:
        """See `LandmarkBackend`."""
        if not self._detectors:
            self._detectors = [self._detector(file) for file in FACE_DETECTORS]
        for detector in self._detectors:
            found = detector.detect(mediapipe_image(image)).detections
            if found:
                return [_box(detection) for detection in found]
        return []

    def close(self) -> None:
        """See `LandmarkBackend`."""
        for network in (self._follower, self._mesher, *self._detectors):
            close_network(network)
        self._follower, self._mesher, self._detectors = None, None, []

    def __enter__(self) -> "TasksBackend":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _faces(
        self, detect: Callable[..., list[Float32Array]], image: UInt8Array, *arguments: int
    ) -> list[DetectedFace]:
        """Faces of an image, whose landmarks a method finds. The first one makes MediaPipe write to standard error."""
        with nullcontext() if self._found_any else quiet_libraries():
            found = detect(mediapipe_image(image), *arguments)
        self._found_any = self._found_any or bool(found)
        return _faces(found, image)

    def _detect_for_video(self, image: Any, time_ms: int) -> list[Float32Array]:  # noqa: ANN401 (MediaPipe is untyped)
        """Landmarks (478, 3) of each face, normalised, as by the landmarker's method `detect_for_video`.

        That makes an object of each landmark, for a sixth of the time of a frame: here, they are copied at once.
        """
        landmarker = self._follower
        found = face_landmarker.MpFaceLandmarkerResultC()
        landmarker._lib.MpFaceLandmarkerDetectForVideo(
            landmarker._handle, image._image_ptr, None, time_ms, ctypes.byref(found)
        )
        try:
            return [_copied(found.face_landmarks[index]) for index in range(found.face_landmarks_count)]
        finally:
            landmarker._lib.MpFaceLandmarkerCloseResult(ctypes.byref(found))

    def _landmarker(self, *, video: bool, max_faces: int) -> Any:  # noqa: ANN401 (MediaPipe is untyped)
        vision = mediapipe.tasks.vision
        return create_network(
            vision.FaceLandmarker,
            vision.FaceLandmarkerOptions,
            self._bundle,
            *(("detect_for_video", 0) if video else ("detect",)),
            running_mode=vision.RunningMode.VIDEO if video else vision.RunningMode.IMAGE,
            num_faces=max_faces,
            min_face_detection_confidence=self._detection,
            min_face_presence_confidence=self._tracking,
            min_tracking_confidence=self._tracking,
        )

    def _detector(self, file: Path) -> Any:  # noqa: ANN401 (MediaPipe is untyped)
        vision = mediapipe.tasks.vision
        return create_network(
            vision.FaceDetector,
            vision.FaceDetectorOptions,
            file,
            "detect",
            min_detection_confidence=self._detection,
        )


def _box(detection: Any) -> Box:  # noqa: ANN401 (MediaPipe is untyped)
    """Box of MediaPipe's detection."""
    box = detection.bounding_box
    return Box(box.origin_x, box.origin_y, box.width, box.height, float(detection.categories[0].score))


def _landmarks(result: Any) -> list[Float32Array]:  # noqa: ANN401 (MediaPipe is untyped)
    """Landmarks (478, 3) of each face of MediaPipe's result, normalised."""
    return [np.array([(point.x, point.y, point.z) for point in face], np.float32) for face in result.face_landmarks]


def _copied(landmarks: Any) -> Float32Array:  # noqa: ANN401 (MediaPipe is untyped)
    """Copy (N, 3) of the library's landmarks, whose first fields are x, y and z in single precision."""
    size = ctypes.sizeof(face_landmarker.landmark_c_lib.MpNormalizedLandmarkC)
    data = ctypes.string_at(landmarks.landmarks, landmarks.landmarks_count * size)
    return np.frombuffer(data, np.float32).reshape(-1, size // np.dtype(np.float32).itemsize)[:, :3].copy()


def _faces(found: list[Float32Array], image: UInt8Array) -> list[DetectedFace]:
    """Faces in pixels, from MediaPipe's 478 normalised landmarks: x and y in image sizes, z in image widths."""
    height, width = image.shape[:2]
    size = np.array([width, height, width], np.float32)
    return [DetectedFace((points * size)[:, :2].copy(), (points * size)[:, 2].copy()) for points in found]
