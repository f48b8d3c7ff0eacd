"""Points of the mesh, their targets in images, and the errors of these targets: the observations of the solvers."""

from dataclasses import dataclass, replace

import numpy as np

from fitme.arrays import Float32Array, Float64Array, IndexArray, Int64Array
from fitme.geometry import Camera
from fitme.shape.morphable_model import MorphableModel


@dataclass(frozen=True)
class MeshPoints:
    """P points on the mesh with their linear bases."""

    mean: Float64Array
    """(P, 3) metres, model space."""
    identity: Float64Array
    """(P, 3, K) metres per standard deviation."""
    expression: Float64Array
    """(P, 3, 52) metres at full activation."""

    def concatenated(self, other: "MeshPoints") -> "MeshPoints":
        """Both sets of points, this one first."""
        return MeshPoints(
            np.concatenate([self.mean, other.mean]),
            np.concatenate([self.identity, other.identity]),
            np.concatenate([self.expression, other.expression]),
        )


@dataclass(frozen=True)
class PointErrors:
    """Correlated errors of the targets of one keyframe: a factor model.

    Coefficients of `shared` and `own` are standard normal and unbounded: a solve finds them along with the rest and
    drops them. Pixels, not metres, so that a nearer and smaller head explains them no better.
    """

    identity: Float64Array
    """(P, 2, K) pixels per standard deviation of the person's identity: the detector's bias towards the mean
    face."""
    shared: Float64Array
    """(P, 2, M) pixels per standard deviation: factors that all keyframes of the person share."""
    own: Float64Array
    """(P, 2, C) pixels per standard deviation: factors of this keyframe alone."""
    sigma_px: Float64Array
    """(P,) standard deviation of the independent rest."""

    def concatenated(self, other: "PointErrors") -> "PointErrors":
        """Errors of both sets of points, this one first, with the same factors; missing columns are zero."""
        shared, own = (max(a.shape[2], b.shape[2]) for a, b in ((self.shared, other.shared), (self.own, other.own)))
        return PointErrors(
            np.concatenate([self.identity, other.identity]),
            np.concatenate([padded(self.shared, shared), padded(other.shared, shared)]),
            np.concatenate([padded(self.own, own), padded(other.own, own)]),
            np.concatenate([self.sigma_px, other.sigma_px]),
        )


@dataclass(frozen=True)
class OffsetTargets:
    """Targets of the offsets between Q pairs of points of one keyframe: an opening of lids or lips is seen better than
    where either rim lies."""

    pairs: IndexArray
    """(Q, 2) indices among the points."""
    pixels: Float64Array
    """(Q, 2) offsets of the first points from the second."""
    sigma_px: Float64Array
    """(Q,) standard deviation of each offset's error."""


NO_OFFSETS = OffsetTargets(np.zeros((0, 2), np.intp), np.zeros((0, 2)), np.zeros(0))
"""Of points that are not paired."""


@dataclass(frozen=True)
class KnownExpression:
    """What is known of the expression coefficients of one keyframe, beyond their prior: independent normal
    distributions."""

    precision: Float64Array
    """(52,); 0 where nothing is known."""
    mean: Float64Array
    """(52,)."""


@dataclass(frozen=True)
class PointTargets:
    """Targets of P points in one keyframe, and of offsets between Q pairs of them."""

    points: MeshPoints
    pixels: Float64Array
    """(P, 2)."""
    sigma_px: Float64Array
    """(P,) standard deviation of each target's error in pixels if errors count as independent."""
    camera: Camera
    """The keyframe's; its focal length is replaced by that of the joint estimate."""
    errors: PointErrors | None = None
    """Correlated errors; None where they count as independent."""
    offsets: OffsetTargets = NO_OFFSETS
    """Pairs of these points."""
    known_expression: KnownExpression | None = None
    """None where nothing is known."""

    @property
    def known_errors(self) -> PointErrors:
        """`errors`; independent ones, without columns, where they are None."""
        if self.errors is not None:
            return self.errors
        none = np.zeros((len(self.pixels), 2, 0))
        return PointErrors(np.zeros((len(self.pixels), 2, self.points.identity.shape[2])), none, none, self.sigma_px)

    def with_inflated_noise(self, factor: float) -> "PointTargets":
        """These targets with the standard deviation of the independent part of each error multiplied by a factor."""
        errors = None if self.errors is None else replace(self.errors, sigma_px=factor * self.errors.sigma_px)
        return replace(self, sigma_px=factor * self.sigma_px, errors=errors)

    def at_identity(self, identity: Float64Array) -> "PointTargets":
        """These targets for solves in which identity is fixed at (K,): it has moved points and pixels, and their bases
        of identity have no columns."""
        shaped = self.points.identity.reshape(self.points.mean.size, len(identity)) @ identity
        mean = self.points.mean + shaped.reshape(self.points.mean.shape)
        points = replace(self.points, mean=mean, identity=np.zeros((len(mean), 3, 0)))
        if self.errors is None:
            return replace(self, points=points)
        bias = self.errors.identity @ identity  # (P, 2)
        first, second = self.offsets.pairs.T
        return replace(
            self,
            points=points,
            pixels=self.pixels - bias,
            errors=replace(self.errors, identity=np.zeros((len(mean), 2, 0))),
            offsets=replace(self.offsets, pixels=self.offsets.pixels - bias[first] + bias[second]),
        )

    def concatenated(self, other: "PointTargets") -> "PointTargets":
        """Targets of both sets of points in one keyframe, this one first; offsets and known
        expression are those of this one."""
        neither = self.errors is None and other.errors is None
        return PointTargets(
            self.points.concatenated(other.points),
            np.concatenate([self.pixels, other.pixels]),
            np.concatenate([self.sigma_px, other.sigma_px]),
            self.camera,
            None if neither else self.known_errors.concatenated(other.known_errors),
            self.offsets,
            self.known_expression,
        )


class MeshBasis:
    """The model's linear bases, laid out so that a vertex's values are contiguous and quick to gather."""

    def __init__(self, model: MorphableModel) -> None:
        self._mean = model.mean.numpy()
        self._identity = np.ascontiguousarray(model.identity_basis.numpy().transpose(1, 2, 0))  # (V, 3, K)
        self._expression = np.ascontiguousarray(model.expression_basis.numpy().transpose(1, 2, 0))  # (V, 3, 52)
        self._triangles = model.triangles.numpy()

    def points(self, triangles: Int64Array, barycentric: Float32Array) -> MeshPoints:
        """Points at barycentric coordinates (P, 3) of triangles (P,)."""
        corners = self._triangles[triangles]  # (P, 3)
        weights = barycentric.astype(np.float32)
        return MeshPoints(
            np.einsum("pc,pcx->px", weights, self._mean[corners]).astype(np.float64),
            np.einsum("pc,pcxk->pxk", weights, self._identity[corners]).astype(np.float64),
            np.einsum("pc,pcxe->pxe", weights, self._expression[corners]).astype(np.float64),
        )


def padded(columns: Float64Array, count: int) -> Float64Array:
    """Columns (P, 2, N) as (P, 2, `count`): zero-padded or cut off."""
    if columns.shape[2] >= count:
        return columns[..., :count]
    return np.pad(columns, ((0, 0), (0, 0), (0, count - columns.shape[2])))
