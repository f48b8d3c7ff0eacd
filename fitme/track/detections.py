"""What MediaPipe's networks see in a single picture, before anybody asks for pose, expression or identity.

Free of torch, so that a picture can be looked at while torch is still being imported.
"""

from dataclasses import dataclass

from fitme.arrays import UInt8Array
from fitme.track.landmarks import DetectedFace, FaceFinder
from fitme.track.segmentation import HandOcclusion


@dataclass(frozen=True)
class Detections:
    """Faces of a picture, and what hides the first of them."""

    faces: tuple[DetectedFace, ...]
    """Largest first; empty if the picture shows nobody."""
    occlusion: float
    """Share of the first face's oval that hands cover, 0 to 1."""


def look(image: UInt8Array, finder: FaceFinder, hands: HandOcclusion) -> Detections:
    """Look at a picture (H, W, 3) uint8 sRGB of any size. Raises `InputError` if it has another layout."""
    faces = finder.detect(image)
    return Detections(faces, hands.share(image, faces[0].landmarks) if faces else 0.0)
