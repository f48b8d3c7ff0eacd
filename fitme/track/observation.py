"""Observation of the face in one frame."""

from dataclasses import dataclass
from enum import StrEnum

from fitme.arrays import BoolArray, Float32Array
from fitme.geometry import Camera, HeadPose
from fitme.track.oval import oval_mask


class FaceStatus(StrEnum):
    """Person of a frame."""

    OK = "ok"
    """One face, not known to be another person's."""
    NO_FACE = "no_face"
    """No face."""
    SEVERAL_FACES = "several_faces"
    """More than one face of a comparable size; the observation is of the largest."""
    OTHER_PERSON = "other_person"
    """One face, but not of the person of the reference embedding."""


@dataclass(frozen=True)
class FrameQuality:
    """Quality of the face in a frame."""

    sharpness: float
    """Sharpness of the face at a canonical size (`fitme.track.quality`): about 1 for a crisp webcam."""
    exposure: float
    """Mean encoded luminance of the face, 0 (black) to 1 (white)."""
    clipped: float
    """Share of the face's pixels that are crushed to black or blown to white, 0 to 1."""
    face_size_px: float
    """Square root of the area of the face's oval, pixels."""
    occlusion: float
    """Estimated share of the face behind an occluder such as a hand, hair or a cup, 0 to 1."""


@dataclass(frozen=True)
class FaceObservation:
    """One face in one frame."""

    landmarks: Float32Array
    """(478, 2) MediaPipe's landmarks, pixels of the whole frame."""
    landmark_depth: Float32Array
    """(478,) MediaPipe's relative depth, in the pixels of `landmarks`; smaller is nearer to the camera."""
    pose: HeadPose
    """Model to view, for the identity that the tracker had."""
    expression: Float32Array
    """(52,) activations in [0, 1], order `fitme.shape.expressions.EXPRESSION_NAMES`."""
    camera: Camera
    """Camera under which `pose` was estimated."""
    quality: FrameQuality
    status: FaceStatus
    embedding: Float32Array | None
    """(128,) identity embedding, or None where the tracker did not compute it for this frame."""

    def face_mask(self, *, grow: float = 0.0) -> BoolArray:
        """(H, W) mask of the pixels inside the face's oval; `grow` as in `oval_mask`."""
        return oval_mask(self.landmarks, self.camera.height, self.camera.width, grow=grow)


def status_of(observation: FaceObservation | None) -> FaceStatus:
    """Status of a tracker's result, which is None for a frame without a face."""
    return FaceStatus.NO_FACE if observation is None else observation.status
