"""Matte of hair: how much of each pixel of its border strands cover, by its colour between that of the hair and that of
the background.

A network's mask of a person is as smooth as a cap. Between its edge and the head single strands and the background
alternate; where both differ enough in colour, a pixel's place on the line from one to the other is its coverage.
"""

from dataclasses import dataclass

import cv2
import numpy as np

from fitme.arrays import Float32Array, UInt8Array
from fitme.channels import channel_mean, channel_sum
from fitme.color import bytes_to_linear
from fitme.hair.nearby import nearby_mean
from fitme.ramp import linear_ramp

SURE_SHARE = 0.03
"""Distance from the mask's edge over the face's height beyond which all is background."""
REACH_SHARE = 0.12
"""Standard deviation over the face's height of the windows in which the colours of hair and background are averaged."""
LEAST_CONTRAST = 1.9
"""Difference between the logarithms of both colours' luminances below which they are not told apart: fair hair before a
white wall has highlights as bright as the wall."""
DARKEST = 0.01
"""Linear light that counts as black there."""
FULL, NONE = 0.75, 0.1
"""Place between background and hair from which a pixel is covered, and up to which it is not: hair is not of one
colour."""


@dataclass(frozen=True)
class HairMatte:
    """What strands cover of a fine image."""

    coverage: Float32Array
    """(D, D) in [0, 1]; 1 where hair and background are not told apart."""
    color: Float32Array
    """(D, D, 3) linear colour without the background's share."""


def hair_matte(
    image: UInt8Array, linear: Float32Array, hair: Float32Array, person: Float32Array, face_px: float
) -> HairMatte:
    """Tell strands from the background between them.

    :param image: (D, D, 3) sRGB, of the same window as `linear` (S, S, 3).
    :param hair: (S, S) probability of hair beside the head, by its colour; person: (S, S) that of the person.
    :param face_px: height of the face in the pixels of `linear`.
    """
    width = 2 * max(round(SURE_SHARE * face_px), 1) + 1
    kernel = np.ones((width, width), np.uint8)
    outside = cv2.dilate((person > 0.5).astype(np.uint8), kernel) == 0
    strands = hair > 0.9
    size = image.shape[:2][::-1]
    color = bytes_to_linear(image)
    if not outside.any() or not strands.any():
        return HairMatte(np.ones(image.shape[:2], np.float32), color)
    sigma = REACH_SHARE * face_px
    background = nearby_mean(linear, outside.astype(np.uint8), sigma)
    own = nearby_mean(linear, strands.astype(np.uint8), sigma)
    # Both are smooth: found at the window's resolution, compared at the image's.
    background, own = (
        np.asarray(cv2.resize(mean, size, interpolation=cv2.INTER_LINEAR), np.float32) for mean in (background, own)
    )
    span = own - background
    contrast = np.log((channel_mean(own) + DARKEST) / (channel_mean(background) + DARKEST))
    along = channel_sum((color - background) * span) / np.maximum(channel_sum(span**2), 1e-8)
    place = np.where(np.abs(contrast) > LEAST_CONTRAST, along, 1.0)
    coverage = linear_ramp(place, (NONE, FULL))
    # Where the background takes part, its share becomes hair's.
    missing = np.clip(1.0 - place, 0.0, 1.0) * np.clip((1.0 - place) / (1.0 - FULL) - 0.5, 0.0, 1.0)
    unmixed = color + missing[..., None] * span
    return HairMatte(coverage, np.maximum(unmixed, 0.0).astype(np.float32))
