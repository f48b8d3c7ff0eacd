"""Scores of `fitme.metrics.head_scores` on held-out frames, from the output folder of `fitme fit`."""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from fitme.ingest.candidates import gather
from fitme.ingest.fit_outputs import HOLDOUT_FOLDER, REPORT_FILE
from fitme.ingest.person_tracking import PersonTracker
from fitme.metrics.head_scores import HeadScore, HeldOutFrame, head_mask, median_head_score, score_head
from fitme.shape.landmark_groups import FACE_OVAL
from fitme.shape.morphable_model import MorphableModel
from fitme.track.segmentation import PersonSegmenter


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
