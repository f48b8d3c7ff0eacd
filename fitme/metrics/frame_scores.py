"""Agreement of a render with the frame of a camera: PSNR and identity distances over the face's oval."""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from fitme.arrays import BoolArray, Float32Array, UInt8Array
from fitme.metrics.mobile_face_net import mobile_face_net
from fitme.metrics.similarity import image_psnr
from fitme.track.identity import IdentityEmbedder
from fitme.track.observation import FaceObservation

EROSION_PX = 7
"""Side of the square that erodes the face's oval, so that its edge is not scored."""
COVERED_FROM = 128
"""Value of an 8-bit mask from which a pixel counts as covered."""


@dataclass(frozen=True)
class FrameScore:
    """Agreement of one render with its frame."""

    psnr_db: float
    """Peak signal-to-noise ratio of 8-bit sRGB over the eroded oval; uncovered pixels count as black."""
    identity: float
    """L2 distance between the embeddings of the frame and of the frame with the render pasted in."""
    unseen_identity: float
    """The same by `fitme.metrics.mobile_face_net`, which no loss of a fit sees."""
    covered: float
    """Share of the eroded oval that the render covers."""


def score_frame(
    observation: FaceObservation, image: UInt8Array, render: UInt8Array, mask: UInt8Array, embedder: IdentityEmbedder
) -> FrameScore:
    """Score a render against the frame of an observation.

    :param image: (H, W, 3) sRGB, the frame.
    :param render: (H, W, 3) sRGB; mask: (H, W) its coverage, 255 where full.
    """
    # Uncovered pixels are black, so that a render cannot improve its score by leaving out the face.
    region = face_region(observation)
    covered = mask >= COVERED_FROM
    filled = np.where(covered[..., None], render, 0).astype(np.uint8)
    # The embedder needs a whole image with hair and background: paste the render into the frame.
    composite = image.copy()
    composite[region] = filled[region]
    return FrameScore(
        psnr_db=image_psnr(filled, image, region),
        identity=identity_distance(embedder, image, composite, observation.landmarks),
        unseen_identity=identity_distance(mobile_face_net(), image, composite, observation.landmarks),
        covered=float(covered[region].mean()) if region.any() else 0.0,
    )


def face_region(observation: FaceObservation) -> BoolArray:
    """Mask (H, W) of the face's oval, eroded by `EROSION_PX`."""
    oval = observation.face_mask().astype(np.uint8)
    return np.asarray(cv2.erode(oval, np.ones((EROSION_PX, EROSION_PX), np.uint8)) > 0)


def identity_distance(
    embedder: IdentityEmbedder, first: UInt8Array, second: UInt8Array, landmarks: Float32Array
) -> float:
    """L2 distance between the embeddings of two images (H, W, 3), sRGB, with a face at the same landmarks (478, 2)."""
    return float(np.linalg.norm(embedder.embed(first, landmarks) - embedder.embed(second, landmarks)))


def median_score(scores: Sequence[FrameScore]) -> FrameScore:
    """Median of each field over frames. Raises ValueError without scores."""
    if not scores:
        raise ValueError("no frames were scored")
    return FrameScore(
        psnr_db=float(np.median([score.psnr_db for score in scores])),
        identity=float(np.median([score.identity for score in scores])),
        unseen_identity=float(np.median([score.unseen_identity for score in scores])),
        covered=float(np.median([score.covered for score in scores])),
    )
