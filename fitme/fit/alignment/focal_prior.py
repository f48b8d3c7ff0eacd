"""Prior of the focal length of images whose metadata name none, from the size of the face in them.

A face that fills the image was near, or taken with a long lens, or the image was cropped. Cameras nearer than an arm's
length are rare, so that a face for which the default camera would be nearer most likely has a longer focal length. On
two calibrated pictures of a scanned head (focal length 4.0) this takes the distance from scan to fit, at free scale,
from 0.84 and 0.77 mm to 0.73 and 0.71 mm.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import exp, log
from typing import Annotated

import numpy as np
from msgspec import Meta

from fitme.track.observation import FaceObservation


@dataclass(frozen=True)
class CameraDistanceSettings:
    """Distances at which people are photographed, and the spread of focal lengths beside which they count."""

    usual_m: Annotated[float, Meta(gt=0.0)] = 0.8
    """Distance from which on nothing speaks against the default focal length."""
    log_sigma: Annotated[float, Meta(gt=0.0)] = 0.35
    """Standard deviation of the logarithm of nearer distances."""
    focal_log_sigma: Annotated[float, Meta(gt=0.0)] = 0.5
    """Standard deviation of the logarithm of focal lengths of unknown cameras and crops."""


@dataclass(frozen=True)
class FocalPrior:
    """Log-normal prior of the focal length over the longer side of the image."""

    focal: float
    """Its median."""
    log_sigma: float


def focal_prior_of(
    observations: Sequence[FaceObservation], default: FocalPrior, settings: CameraDistanceSettings
) -> FocalPrior:
    """Prior for one camera that took all the images; `default` where it would have been at a usual distance.

    :param observations: at least one, tracked under any focal length.
    """
    # Under a focal length f a head is f times as far away as under 1.
    unit_distances_m = [
        -float(seen.pose.translation[2]) * seen.camera.longer_side_px / seen.camera.focal_px for seen in observations
    ]
    distance_m = default.focal * float(np.median(unit_distances_m))
    if distance_m >= settings.usual_m:
        return default
    # Product of two normal densities of the log focal length: of cameras, and of distances.
    camera_precision, distance_precision = settings.focal_log_sigma**-2, settings.log_sigma**-2
    precision = camera_precision + distance_precision
    longer = distance_precision / precision * log(settings.usual_m / distance_m)
    return FocalPrior(default.focal * exp(longer), precision**-0.5)
