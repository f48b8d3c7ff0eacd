"""Absolute scale of a head, which images leave open: information from the irises and from the volume correction.

Size is the root mean square distance of the face's vertices from their centroid, to first order about the mean head.
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
"""Half the white-to-white distance, metres, and the standard deviation of its logarithm over adults: 11.71 mm, standard
deviation 0.42 mm (Ruefer, Schroeder and Erb, Cornea 2005)."""
MEASURED_LOG_BIAS = -0.038
"""Bias of the logarithm of measured radii: their median over rendered eyes with the blur, noise and compression of
webcams. Blur moves the steepest rise of brightness inwards."""
MEASURED_LOG_SIGMA, SINGLE_EYE_LOG_SIGMA = 0.033, 0.06
"""Standard deviations of the logarithm of measured radii over 60 synthetic heads: the error that all eyes of a person
share, and the independent error of each."""


@dataclass(frozen=True, eq=False)
class KeyframeEyes:
    """Limbus measurements of one keyframe, and its estimate."""

    views: tuple[LimbusView, ...]
    estimate: KeyframeEstimate
    camera: Camera
    """Only its width and height count."""


@dataclass(frozen=True, eq=False)
class _Size:
    """First order of heads' size in identity."""

    mean: float
    """Size of the mean head, metres."""
    slope: Float64Array
    """(K + 1,) metres per standard deviation of identity; 0 for focal length, which comes last."""

    @classmethod
    def of(cls, model: MorphableModel) -> "_Size":
        face = model.mean[model.face_vertices].double().numpy()
        outward = face - face.mean(0)
        mean = float(np.sqrt((outward**2).sum(1).mean()))
        basis = model.identity_basis[:, model.face_vertices].double().numpy()
        slope = np.einsum("kvx,vx->k", basis, outward) / (len(face) * mean)
        return cls(mean, np.append(slope, 0.0))

    def excess(self, identity: Float32Array) -> float:
        """Metres by which a head of coefficients (K,) is larger than the mean."""
        return float(self.slope[:-1] @ identity)


def volume_information(
    model: MorphableModel, identity: Float32Array, information: MarginalInformation, expression_cost: float = 0.0
) -> MarginalInformation:
    """Volume correction, linearised at an identity (K,): the MAP shape is biased towards small heads; adds log |J|.

    Images determine shape up to size, in as many directions n as `information` does. A deviation from the mean shape
    costs less prior probability on a smaller head, so the most likely head shrinks as it departs from the mean. In
    coordinates size x shape, though, the prior's density carries the Jacobian determinant between identity and size
    times shape, |J| = size^n. The correction is its logarithm, n log size, to second order.

    Expressions are in metres as well and cost less on a smaller head, but a larger head has larger ones: their cost is
    no information about size, and `expression_cost`, their sum of squared standard deviations, is taken back.
    """
    size = _Size.of(model)
    excess = size.excess(identity)
    slope = (determined_directions(information, len(identity)) + expression_cost) / (size.mean + excess)
    curvature = slope / (size.mean + excess)
    return MarginalInformation(curvature * np.outer(size.slope, size.slope), (slope + curvature * excess) * size.slope)


def iris_information(
    model: MorphableModel, identity: Float32Array, focal: float, keyframes: Iterable[KeyframeEyes]
) -> MarginalInformation | None:
    """Information of all keyframes' irises about a head's size, linearised at an identity (K,); None without any.

    The head is as much too large as its irises would be. One radius is measured over all eyes, since those of a person
    are alike. `focal` is the focal length over the longer side of the image under which the estimates were found.
    """
    # Metres per pixel at each eye turn radii in pixels into metres.
    rows: list[tuple[LimbusView, float]] = []
    for eyes in keyframes:
        metres_per_px = _iris_depths(model, identity, eyes.estimate) / focal_px(eyes.camera, focal)
        rows += [(view, float(metres_per_px[view.eye])) for view in eyes.views]
    radius_m = pooled_radius(rows, IRIS_RADIUS_M * float(np.exp(MEASURED_LOG_BIAS)))
    if radius_m is None:
        return None
    size = _Size.of(model)
    now = size.mean + size.excess(identity)
    target = now * float(np.exp(np.log(IRIS_RADIUS_M / radius_m) + MEASURED_LOG_BIAS))
    variance = IRIS_LOG_SIGMA**2 + MEASURED_LOG_SIGMA**2 + SINGLE_EYE_LOG_SIGMA**2 / len(rows)
    precision = 1.0 / (variance * now**2)
    pull = precision * (target - size.mean)
    return MarginalInformation(precision * np.outer(size.slope, size.slope), pull * size.slope)


@torch.no_grad()
def _iris_depths(model: MorphableModel, identity: Float32Array, estimate: KeyframeEstimate) -> Float64Array:
    """(2,) depths of the left and the right iris along the optical axis, metres."""
    neutral = model.neutral(torch.from_numpy(identity)[None])
    places = model.landmarks(neutral)[0][[LEFT_IRIS[0], RIGHT_IRIS[0]]]
    posed = transform(torch.from_numpy(estimate.pose.rotation), torch.from_numpy(estimate.pose.translation), places)
    return -posed[:, 2].double().numpy()


def determined_directions(information: MarginalInformation, count: int) -> float:
    """Effective number of identity's `count` directions that information determines against a unit prior: the sum of
    l / (l + 1) over the eigenvalues l of its precision (MacKay, Neural Computation 1992, "well-determined
    parameters")."""
    precision = information.precision
    own, rest = np.arange(count), np.arange(count, len(information.potential))
    # Marginalise shared observation errors and focal length under a unit prior of theirs.
    cross = precision[np.ix_(own, rest)]
    rest_precision = precision[np.ix_(rest, rest)] + np.eye(len(rest))
    values = np.linalg.eigvalsh(precision[np.ix_(own, own)] - cross @ np.linalg.solve(rest_precision, cross.T))
    values = np.maximum(values, 0.0)
    return float((values / (values + 1.0)).sum())
