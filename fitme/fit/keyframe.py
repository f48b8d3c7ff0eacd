"""What a fit is given: a picture of the face together with what the tracker saw in it."""

from dataclasses import dataclass

from fitme.arrays import UInt8Array
from fitme.track.observation import FaceObservation


@dataclass(frozen=True)
class Keyframe:
    """One picture that the fit explains. Never changed by the fit."""

    key: str
    """Unique within a session."""
    image: UInt8Array
    """(H, W, 3) sRGB."""
    observation: FaceObservation
    """Landmarks, pose and quality found by the tracker in `image`."""
    timestamp_s: float
    """Time of capture, seconds; 0 for a photo."""
