"""Detections of faces and hands in a single image, before pose, expression and identity are computed.

Free of torch, so that an image can be searched while torch is still being imported.
"""

from dataclasses import dataclass

from fitme.arrays import UInt8Array
from fitme.track.landmarks import DetectedFace, FaceFinder
from fitme.track.segmentation import HandOcclusion


@dataclass(frozen=True)
class Detections:
    """Faces of an image, and the occlusion of the largest."""

    faces: tuple[DetectedFace, ...]
    """Largest first; empty if the image shows no face."""
    occlusion: float
    """Share of the first face's oval that hands cover, 0 to 1."""


def detect(image: UInt8Array, finder: FaceFinder, hands: HandOcclusion) -> Detections:
    """Detect faces, and hands over the largest, in an image (H, W, 3) uint8 sRGB of any size.

    :raises InputError: if it has another layout.
    """
    faces = finder.detect(image)
    return Detections(faces, hands.share(image, faces[0].landmarks) if faces else 0.0)
