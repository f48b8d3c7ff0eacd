"""Agreement of a whole head with a frame of it, hair and outline included.

The head in a frame is the person's mask above the chin, its part that holds the face; a render's is its mask in the
same rows. Shoulders and clothes stay out of both where the chin is above them.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from fitme.arrays import BoolArray, Float32Array, UInt8Array
from fitme.metrics.frame_scores import COVERED_FROM
from fitme.metrics.similarity import image_psnr

PERSON_FROM = 0.5
"""Probability of the person from which a pixel shows it."""


@dataclass(frozen=True)
class HeadScore:
    """Agreement of one render with its frame over the head."""

    overlap: float
    """Intersection over union of the head in the frame and in the render."""
    psnr_db: float
    """Peak signal-to-noise ratio of 8-bit sRGB over the head in the frame; uncovered pixels count as black."""


@dataclass(frozen=True)
class HeldOutFrame:
    """A held-out frame of a fit, with what the frame shows of the head."""

    name: str
    """Its number in the names of its files."""
    image: UInt8Array
    """(H, W, 3) sRGB."""
    head: BoolArray
    """(H, W) the person above the chin."""
    chin_px: int
    """First row below the chin."""


def head_mask(person: Float32Array, oval: Float32Array) -> tuple[BoolArray, int]:
    """The head (H, W) in a frame, and the first row below its chin.

    :param person: (H, W) probability that a pixel shows the person.
    :param oval: (36, 2) outline of the face, pixels.
    """
    height, width = person.shape
    chin_px = int(np.clip(oval[:, 1].max(), 0, height))
    above = (person > PERSON_FROM).astype(np.uint8)
    above[chin_px:] = 0
    _, labels = cv2.connectedComponents(above)
    column, row = np.clip(oval.mean(0).astype(int), 0, [width - 1, height - 1])
    return np.asarray((labels == labels[row, column]) & (above > 0)), chin_px


def score_head(frame: HeldOutFrame, render: UInt8Array, mask: UInt8Array) -> HeadScore:
    """Score a render (H, W, 3), sRGB, and its coverage (H, W), 255 where full, against a frame."""
    covered = mask >= COVERED_FROM
    filled = np.where(covered[..., None], render, 0).astype(np.uint8)
    covered = covered & (np.arange(len(covered))[:, None] < frame.chin_px)
    union = (covered | frame.head).sum()
    overlap = float((covered & frame.head).sum() / union) if union else 0.0
    return HeadScore(overlap, image_psnr(filled, frame.image, frame.head))


def median_head_score(scores: Sequence[HeadScore]) -> HeadScore:
    """Median of each field over frames. Raises ValueError without scores."""
    if not scores:
        raise ValueError("no heads were scored")
    return HeadScore(*(float(np.median([getattr(score, name) for score in scores])) for name in ("overlap", "psnr_db")))
