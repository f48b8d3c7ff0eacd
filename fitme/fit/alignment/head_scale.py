"""How large a head is. Pictures tell shape up to size; what keeps size from being anybody's guess is in here.

Size is the root mean square distance of the face's vertices from their middle, to first order about the mean head.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import torch

from fitme.arrays import Float32Array, Float64Array
from fitme.fit.alignment.limbus import LimbusView, pooled_radius
from fitme.fit.estimate import KeyframeEstimate
from fitme.fit.solver.linearization import focal_px
from fitme.fit.solver.marginal_information import MarginalInformation
from fitme.geometry import Camera, transform
from fitme.shape.landmark_groups import LEFT_IRIS, RIGHT_IRIS
from fitme.shape.morphable_model import MorphableModel

IRIS_RADIUS_M, IRIS_LOG_SIGMA = 0.005855, 0.036
"""Half the distance from white to white, and its spread over adults: 11.71 mm, standard deviation 0.42 mm (Ruefer,
Schroeder and Erb, Cornea 2005)."""
MEASURED_LOG_BIAS = -0.038
"""Median of what a measured radius is too small by, in the logarithm, over drawn eyes with the blur, noise and
compression of webcams: blur moves the steepest rise inwards."""
MEASURED_LOG_SIGMA, SINGLE_EYE_LOG_SIGMA = 0.033, 0.06
"""Spread of measured radii over 60 made heads: what all eyes of a person err by together, and each by itself."""


@dataclass(frozen=True, eq=False)
class SeenEyes:
    """The eyes of one keyframe, and where its head is believed to be."""

    views: tuple[LimbusView, ...]
    estimate: KeyframeEstimate
    camera: Camera
    """Only its size counts."""


@dataclass(frozen=True, eq=False)
class _Size:
    """First-order size of heads, metres."""

    mean: float
    slope: Float64Array
    """(K + 1,) by identity; 0 by focal length, which comes last."""

    @classmethod
    def of(cls, model: MorphableModel) -> "_Size":
        face = model.mean[model.face_vertices].double().numpy()
        outward = face - face.mean(0)
        mean = float(np.sqrt((outward**2).sum(1).mean()))
        basis = model.identity_basis[:, model.face_vertices].double().numpy()
        slope = np.einsum("kvx,vx->k", basis, outward) / (len(face) * mean)
        return cls(mean, np.append(slope, 0.0))

    def grown(self, identity: Float32Array) -> float:
        """By how much a head (K,) is larger than the mean."""
        return float(self.slope[:-1] @ identity)


def volume_information(
    model: MorphableModel, identity: Float32Array, told: MarginalInformation, follows: float = 0.0
) -> MarginalInformation:
    """What keeps a head from being found too small, linearised at an identity (K,): most likely is not expected.

    Pictures tell shape up to size, in as many directions as `told` says. What makes a head differ from the mean costs
    less prior probability on a smaller one, so the most likely head shrinks as it gets a shape; but there are more
    heads of that shape the larger they are: by size to the power of the number of directions, the Jacobian determinant
    between identity and size times shape. Its logarithm is the evidence.

    Expressions are in metres, too, and cost less on a smaller head, but a larger head's are larger, so that their cost
    says nothing of size: what they cost, `follows` as a sum of squared standard deviations, is taken back.
    """
    size = _Size.of(model)
    grown = size.grown(identity)
    share = (told_directions(told, len(identity)) + follows) / (size.mean + grown)
    pull = share / (size.mean + grown)
    return MarginalInformation(pull * np.outer(size.slope, size.slope), (share + pull * grown) * size.slope)


def iris_information(
    model: MorphableModel, identity: Float32Array, focal: float, seen: Iterable[SeenEyes]
) -> MarginalInformation | None:
    """What the irises of all keyframes say of a head's size, linearised at an identity (K,): its head is as much too
    large as its irises would be. One iris counts for all, since a person's are alike; None where no eye was seen.

    `focal` is the focal length over the longer side of pictures that the estimates go with.
    """
    rows: list[tuple[LimbusView, float]] = []
    for eyes in seen:
        metres_per_px = _iris_depths(model, identity, eyes.estimate) / focal_px(eyes.camera, focal)
        rows += [(view, float(metres_per_px[view.eye])) for view in eyes.views]
    radius_m = pooled_radius(rows, IRIS_RADIUS_M * float(np.exp(MEASURED_LOG_BIAS)))
    if radius_m is None:
        return None
    size = _Size.of(model)
    now = size.mean + size.grown(identity)
    target = now * float(np.exp(np.log(IRIS_RADIUS_M / radius_m) + MEASURED_LOG_BIAS))
    variance = IRIS_LOG_SIGMA**2 + MEASURED_LOG_SIGMA**2 + SINGLE_EYE_LOG_SIGMA**2 / len(rows)
    precision = 1.0 / (variance * now**2)
    pull = precision * (target - size.mean)
    return MarginalInformation(precision * np.outer(size.slope, size.slope), pull * size.slope)


@torch.no_grad()
def _iris_depths(model: MorphableModel, identity: Float32Array, estimate: KeyframeEstimate) -> Float64Array:
    """(2,) distances of the left and the right iris along the optical axis, metres."""
    neutral = model.neutral(torch.from_numpy(identity)[None])
    places = model.landmarks(neutral)[0][[LEFT_IRIS[0], RIGHT_IRIS[0]]]
    posed = transform(torch.from_numpy(estimate.pose.rotation), torch.from_numpy(estimate.pose.translation), places)
    return -posed[:, 2].double().numpy()


def told_directions(told: MarginalInformation, count: int) -> float:
    """How many of identity's `count` directions evidence tells, not the prior; what it tells half counts half."""
    own, rest = np.arange(count), np.arange(count, len(told.potential))
    cross = told.precision[np.ix_(own, rest)]
    unsure = told.precision[np.ix_(rest, rest)] + np.eye(len(rest))
    values = np.linalg.eigvalsh(told.precision[np.ix_(own, own)] - cross @ np.linalg.solve(unsure, cross.T))
    values = np.maximum(values, 0.0)
    return float((values / (values + 1.0)).sum())
