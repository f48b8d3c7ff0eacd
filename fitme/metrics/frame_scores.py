"""How close a render comes to the picture it should match: PSNR and identity over the face's oval."""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from fitme.arrays import UInt8Array
from fitme.track.identity import IdentityEmbedder
from fitme.track.observation import FaceObservation

ERODED_BY_PX = 7
"""Side of the square by which the oval is eroded, so that its edge does not count."""
COVERED_FROM = 128
"""Value of an 8-bit mask from which a pixel counts as drawn."""


@dataclass(frozen=True)
class FrameScore:
    """Agreement of one render with its picture."""

    psnr_db: float
    """Peak signal-to-noise ratio of 8-bit sRGB over the eroded oval; what the render leaves uncovered is black."""
    identity: float
    """L2 distance between the embeddings of the picture and of the picture with the render pasted in."""
    covered: float
    """Share of the region that the render covers."""


def score_frame(
    observation: FaceObservation, image: UInt8Array, render: UInt8Array, mask: UInt8Array, embedder: IdentityEmbedder
) -> FrameScore:
    """Score a render (H, W, 3) with its mask (H, W) against the picture (H, W, 3) that `observation` was made in."""
    oval = observation.face_mask().astype(np.uint8)
    region = cv2.erode(oval, np.ones((ERODED_BY_PX, ERODED_BY_PX), np.uint8)) > 0
    drawn = mask >= COVERED_FROM
    filled = np.where(drawn[..., None], render, 0).astype(np.uint8)
    difference = image[region].astype(np.float64) - filled[region]
    mean_square = max(float((difference**2).mean()), 1e-9) if region.any() else float("nan")
    composite = image.copy()
    composite[region] = filled[region]
    distance = embedder.embed(image, observation.landmarks) - embedder.embed(composite, observation.landmarks)
    return FrameScore(
        psnr_db=10.0 * float(np.log10(255.0**2 / mean_square)),
        identity=float(np.linalg.norm(distance)),
        covered=float(drawn[region].mean()) if region.any() else 0.0,
    )


def median_score(scores: Sequence[FrameScore]) -> FrameScore:
    """Median of each figure. Raises ValueError without scores."""
    if not scores:
        raise ValueError("no frames were scored")
    return FrameScore(
        psnr_db=float(np.median([score.psnr_db for score in scores])),
        identity=float(np.median([score.identity for score in scores])),
        covered=float(np.median([score.covered for score in scores])),
    )
