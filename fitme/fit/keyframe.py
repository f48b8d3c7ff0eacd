"""Keyframe: an image of the face together with the tracker's observation of it, the input of a fit."""

from dataclasses import dataclass

from fitme.arrays import UInt8Array
from fitme.track.observation import FaceObservation


@dataclass(frozen=True)
class Keyframe:
    """One image that the fit is to explain. The fit never changes it."""

    key: str
    """Unique within a session."""
    image: UInt8Array
    """(H, W, 3) sRGB."""
    observation: FaceObservation
    """Landmarks, pose and quality that the tracker found in `image`."""
    timestamp_s: float
    """Time of capture, seconds; 0 for a photo."""
