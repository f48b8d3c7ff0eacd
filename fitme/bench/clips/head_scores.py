"""Agreement of a whole head with held-out frames, hair and outline included, from the output folder of `fitme fit`.

The head in a frame is the person's mask above the chin, its part that holds the face; a render's is its mask in the
same rows. Shoulders and clothes stay out of both where the chin is above them.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from fitme.arrays import BoolArray, Float32Array, UInt8Array
from fitme.ingest.candidates import gather
from fitme.ingest.fit_outputs import HOLDOUT_FOLDER, REPORT_FILE
from fitme.ingest.person_tracking import PersonTracker
from fitme.metrics.frame_scores import COVERED_FROM
from fitme.metrics.similarity import image_psnr
from fitme.shape.landmark_groups import FACE_OVAL
from fitme.shape.morphable_model import MorphableModel
from fitme.track.segmentation import PersonSegmenter

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


def held_out_frames(folder: Path, model: MorphableModel) -> list[HeldOutFrame]:
    """Held-out frames of a fit's output folder in which a face is found."""
    report = json.loads((folder / REPORT_FILE).read_text("utf-8"))
    frames, segmenter = [], PersonSegmenter()
    for entry in report["holdout"]["frames"]:
        path = folder / HOLDOUT_FOLDER / f"{entry['name']}_input.png"
        for _, tracked in PersonTracker(model).tracked_frames(gather([path])):
            image = tracked.frame.image
            head, chin_px = head_mask(segmenter.mask(image), tracked.observation.landmarks[list(FACE_OVAL)])
            frames.append(HeldOutFrame(entry["name"], image, head, chin_px))
    segmenter.close()
    return frames


def held_out_scores(folder: Path, frames: Sequence[HeldOutFrame]) -> HeadScore:
    """Median scores of the renders in a fit's output folder. Raises ValueError without frames."""
    scores = []
    for frame in frames:
        render, mask = (
            np.asarray(Image.open(folder / HOLDOUT_FOLDER / f"{frame.name}_{kind}.png")) for kind in ("render", "mask")
        )
        scores.append(score_head(frame, render[..., :3], mask if mask.ndim == 2 else mask[..., 0]))
    return median_head_score(scores)


def median_head_score(scores: Sequence[HeadScore]) -> HeadScore:
    """Median of each field over frames. Raises ValueError without scores."""
    if not scores:
        raise ValueError("no heads were scored")
    return HeadScore(*(float(np.median([getattr(score, name) for score in scores])) for name in ("overlap", "psnr_db")))
