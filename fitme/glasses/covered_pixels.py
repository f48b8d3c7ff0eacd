"""Pixels of an image that glasses cover, so that they do not count as skin."""

import cv2
import numpy as np

from fitme.arrays import Float32Array
from fitme.glasses.glasses import CURVES, Glasses
from fitme.glasses.sheet import GlassesFrame

MARGIN_M, OTHER_MARGIN_M = 0.0012, 0.0022
"""Distance beside rims, and beside bridge and temples, that is left out as well: poses are not exact, and frames shade
the skin."""
FAR_YAW_RAD = 0.2
"""Yaw from which the temple of the far side is hidden by the head."""
FRACTION_BITS = 4
"""Bits of the fraction of coordinates that are drawn with."""


def covered_pixels(glasses: Glasses, frame: GlassesFrame) -> Float32Array:
    """(H, W) 1 where glasses cover an image, 0 elsewhere: the frame with a margin, and tinted lenses."""
    height, width = frame.image.shape[:2]
    mask = np.zeros((height, width), np.uint8)
    pixels = frame.pixels(glasses.points)
    distance_m = float(-frame.pose.translation[2])
    scale = frame.camera.focal_px / max(distance_m, 1e-3)
    yaw = frame.pose.yaw_pitch_roll()[0]
    places = np.rint(pixels * 2**FRACTION_BITS).astype(np.int32)
    for index, curve in enumerate(CURVES):
        if curve.upright and ((yaw > FAR_YAW_RAD) if index == len(CURVES) - 2 else (yaw < -FAR_YAW_RAD)):
            continue
        margin = MARGIN_M if curve.closed else OTHER_MARGIN_M
        half = float(glasses.half_width_m[curve.place].max()) + margin
        thickness = max(1, round(2.0 * half * scale))
        line = [places[curve.place].reshape(-1, 1, 2)]
        cv2.polylines(mask, line, curve.closed, (1.0,), thickness, cv2.LINE_8, FRACTION_BITS)
        if curve.closed and glasses.lens_opacity[0] > 0.0:
            cv2.fillPoly(mask, line, (1.0,), cv2.LINE_8, FRACTION_BITS)
    return mask.astype(np.float32)
