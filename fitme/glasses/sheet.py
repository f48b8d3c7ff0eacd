"""Sheet in front of the eyes on which glasses lie, and images resampled to it."""

from dataclasses import dataclass, replace

import cv2
import numpy as np

from fitme.arrays import Float32Array, Float64Array, UInt8Array
from fitme.color import bytes_to_linear
from fitme.geometry import Camera, HeadPose, image_points
from fitme.shape.morphable_model import MorphableModel

VERTEX_DISTANCE_M = 0.012
"""Distance of lenses from the corneas."""
WRAP_PER_M = 1.5
"""Depth by which a frame bends backwards, over the square of the distance from its middle."""
TILT = 0.14
"""Slope by which its lower edge is nearer to the face: the pantoscopic tilt, 8 degrees."""
STEP_M = 0.0005
"""Side of a cell of a resampled sheet."""
LEFT_M, TOP_M, COLUMNS, ROWS = -0.08, 0.035, 320, 160
"""Corner and cells of the sheet: x to the person's left, y upwards, from the middle between the eyeballs."""
PREFILTER, PREFILTER_FROM = 0.4, 1.5
"""Standard deviation, in cells, of the filter before an image is resampled; pixels of a cell from which it is."""


@dataclass(frozen=True)
class GlassesFrame:
    """An image of a head whose pose is known."""

    image: UInt8Array
    """(H, W, 3) sRGB."""
    pose: HeadPose
    camera: Camera
    light_sh: Float32Array
    """(9, 3) as `fitme.render.light.Light.sh`, view frame."""

    def pixels(self, points: Float32Array) -> Float32Array:
        """Pixel coordinates (N, 2) of points (N, 3) of the model frame, metres."""
        return image_points(points, self.pose, self.camera)


@dataclass(frozen=True)
class Sheet:
    """Surface z = `depth_m` - `WRAP_PER_M` x^2 + `TILT` y."""

    depth_m: float
    """z of its middle, model frame."""

    def points(self, places: Float64Array) -> Float32Array:
        """Points (N, 3) at places x, y (N, 2), metres."""
        x, y = places[:, 0], places[:, 1]
        return np.asarray(np.stack([x, y, self.depth_m - WRAP_PER_M * x**2 + TILT * y], 1), np.float32)

    def moved(self, forwards_m: float) -> "Sheet":
        """The sheet at another depth."""
        return replace(self, depth_m=self.depth_m + forwards_m)


def usual_sheet(model: MorphableModel, neutral: Float32Array) -> Sheet:
    """The sheet of glasses at the usual distance from the eyes of a neutral head (V, 3)."""
    corneas = [neutral[ball.numpy(), 2].max() for ball in model.eyeball_vertices if len(ball)]
    return Sheet(float(max(corneas)) + VERTEX_DISTANCE_M)


def resampled(frame: GlassesFrame, sheet: Sheet) -> Float32Array:
    """(ROWS, COLUMNS, 3) linear image of a frame on a sheet."""
    x = LEFT_M + STEP_M * (np.arange(COLUMNS) + 0.5)
    y = TOP_M - STEP_M * (np.arange(ROWS) + 0.5)
    places = np.stack(np.meshgrid(x, y), -1)
    pixels = frame.pixels(sheet.points(places.reshape(-1, 2))).reshape(ROWS, COLUMNS, 2)
    middle = pixels[ROWS // 2, COLUMNS // 2 : COLUMNS // 2 + 2]
    cell_px = float(np.linalg.norm(middle[1] - middle[0]))
    image = frame.image
    if cell_px > PREFILTER_FROM:
        low, high = np.floor(pixels.min((0, 1))).astype(int) - 8, np.ceil(pixels.max((0, 1))).astype(int) + 8
        low, high = np.maximum(low, 0), np.maximum(high, 1)
        part = image[low[1] : high[1], low[0] : high[0]]
        if part.size:
            image, pixels = np.asarray(cv2.GaussianBlur(part, (0, 0), PREFILTER * cell_px), np.uint8), pixels - low
    moved = (pixels - 0.5).astype(np.float32)
    sampled = cv2.remap(image, moved[..., 0], moved[..., 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return bytes_to_linear(np.asarray(sampled, np.uint8))


def at_places(image: Float32Array, places: Float64Array) -> Float32Array:
    """Values (..., C) of a resampled image (ROWS, COLUMNS, C) at places x, y (..., 2), bilinear."""
    x, y = ((places[..., 0] - LEFT_M) / STEP_M - 0.5), ((TOP_M - places[..., 1]) / STEP_M - 0.5)
    flat = places.reshape(-1, 2).shape[0]
    sampled = cv2.remap(
        image, x.reshape(flat, 1).astype(np.float32), y.reshape(flat, 1).astype(np.float32), cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_REPLICATE,
    )  # fmt: skip
    return np.asarray(sampled, np.float32).reshape(*places.shape[:-1], -1)
