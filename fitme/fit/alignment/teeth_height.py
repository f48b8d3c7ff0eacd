"""Height of the upper row of teeth in the face: no landmark lies on a tooth, and no component of identity moves them by
themselves. In some people lips show the gums above the upper row, in others its edge at most."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from fitme.arrays import Float32Array, UInt8Array
from fitme.fit.alignment.rows_of_teeth import opening_of, upper_edge
from fitme.geometry import Camera, HeadPose, image_points
from fitme.parts.drawn_head import drawn_head
from fitme.parts.teeth_layout import UPPER
from fitme.shape.morphable_model import TEETH_SIGMA_M, MorphableModel

FRONT_SHARE, EDGE_SHARE = 0.07, 0.9
"""Parts of the upper row's band in which the edges of its front teeth lie: to either side of the middle, and down."""
IMAGE_SIGMA_M = 0.0015
"""Standard deviation of an edge in one image."""
LARGEST_COUNT = 6
"""Images of one capture tell no more than so many independent ones: lips are misplaced alike in all of them."""
LARGEST_YAW_RAD = 0.5
"""Turn of the head up to which the middle of the mouth shows the front teeth."""
LARGEST = 3.0
"""Largest height to either side, standard deviations."""


@dataclass(frozen=True)
class MouthFrame:
    """An image of a head whose pose is known."""

    image: UInt8Array
    """(H, W, 3) sRGB."""
    landmarks: Float32Array
    """(478, 2) pixels."""
    vertices: Float32Array
    """(V, 3) the head with its expression, model frame; its teeth at the height of the components."""
    pose: HeadPose
    camera: Camera


class TeethHeight:
    """Height of the upper row of teeth of a model's parts."""

    def __init__(self, model: MorphableModel) -> None:
        self._drawn = drawn_head(model)
        self._edge = np.zeros(0, np.int64)
        layout = self._drawn.teeth
        for row in () if layout is None else layout.rows:
            if row.part.name == UPPER:
                front = np.abs(row.along[:, 0] - 0.5) <= FRONT_SHARE
                self._edge = np.flatnonzero(front & (row.along[:, 1] >= EDGE_SHARE))
                self._binding = row.part.binding

    def measured(self, frames: Sequence[MouthFrame]) -> float:
        """Standard deviations upwards, given the images: mean of the posterior. 0 without a mouth that is open."""
        seen = [height for frame in frames if (height := self._in_frame(frame)) is not None]
        if not seen:
            return 0.0
        # What a lip hides says less than what an image shows.
        shown = [height for height, hidden in seen if not hidden]
        counted = shown or [max(height, 0.0) for height, _ in seen]
        precision = min(len(counted), LARGEST_COUNT) / IMAGE_SIGMA_M**2
        height_m = precision * float(np.median(counted)) / (precision + TEETH_SIGMA_M**-2.0)
        return float(np.clip(height_m / TEETH_SIGMA_M, -LARGEST, LARGEST))

    def _in_frame(self, frame: MouthFrame) -> tuple[float, bool] | None:
        """Distance, metres upwards, by which the edge is to move in an image, and whether it is the least one, since
        the lip hides the edge. None where the image does not tell."""
        if not len(self._edge) or abs(frame.pose.yaw_pitch_roll()[0]) > LARGEST_YAW_RAD:
            return None
        edge = upper_edge(opening_of(frame.image, frame.landmarks))
        if edge is None:
            return None
        points = self._binding.apply(frame.vertices)[self._edge].mean(0)
        ends = np.stack([points, points + np.array([0.0, TEETH_SIGMA_M, 0.0], np.float32)])
        at, above = image_points(ends, frame.pose, frame.camera)
        up = above - at  # pixels per standard deviation
        height_m = TEETH_SIGMA_M * float((edge.place - at) @ up / max(float(up @ up), 1e-9))
        return height_m, edge.hidden
