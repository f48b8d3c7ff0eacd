"""Tracks of fixed surface points over keyframes, by dense flow: the observations that determine shape.

The targets of `fitme.fit.alignment.optical_flow` lie on a grid of pixels; tracks are the same points of the mesh in all
keyframes, so that `fitme.fit.solver.structure_from_motion` can solve for a tangential displacement of each.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Annotated

import cv2
import numpy as np
import torch
from msgspec import Meta

from fitme.arrays import Float32Array, Float64Array, Int64Array, UInt8Array
from fitme.fit.alignment.face_crop import FaceCrop
from fitme.fit.alignment.optical_flow import FLOW_REGIONS, LEAST_USABLE, FlowField, FlowSettings, interior, match
from fitme.fit.solver.point_targets import MeshBasis, MeshPoints
from fitme.fit.solver.structure_from_motion import Tracks, TrackView
from fitme.geometry import Camera
from fitme.sampling import farthest_points
from fitme.shape.morphable_model import MorphableModel
from fitme.shape.normals import vertex_normals

FRONT_COSINE = -0.2
"""Smallest cosine between a point's normal on the mean head and its forward direction."""
LOWEST_M = -0.11
"""Smallest height relative to the eyes, metres: below is the neck, which does not turn with the head."""
CANDIDATES_PER_TRACK = 6
"""Random points per track among which tracks are chosen."""
DEPTH_TOLERANCE_M = 0.004
"""A point farther behind the nearest surface than this is hidden."""
SOBEL_SUM = 8.0
"""Response of the 3 x 3 Sobel kernel to a slope of one per pixel."""
LEAST_GRADIENT = 1e-3
"""Slope per pixel of a normalised image, added to keep the structure tensor of a flat patch invertible."""


@dataclass(frozen=True)
class TrackSettings:
    """Choice of the tracked points, and noise model of their matches."""

    count: Annotated[int, Meta(ge=1)] = 900
    """Number of points, spread evenly over the front of the head."""
    rounds: Annotated[int, Meta(ge=0)] = 3
    """Alternations of track solves and texture fusion before the shape counts as converged."""
    parallax_deg: Annotated[float, Meta(ge=0.0, le=180.0)] = 15.0
    """Largest angle between two keyframes' head directions from which shape is solved for. With less parallax, the
    solve would take differences of expression for shape."""
    iterations: Annotated[int, Meta(ge=1)] = 4
    """Iterations of the solver in each round."""
    resolution: Annotated[int, Meta(ge=32, le=2048)] = 288
    """Side in pixels of the crops that are matched."""
    flow: FlowSettings = field(
        default_factory=lambda: FlowSettings(contrast_sigma_px=10.0, smoothing_rounds=30, longest_px=18.0)
    )
    """Matching; lengths are in pixels of these crops."""
    patch_sigma_px: Annotated[float, Meta(gt=0.0)] = 5.0
    """Neighbourhood whose texture and mismatch determine a match's covariance, pixels of the crop."""
    precision_factor: Annotated[float, Meta(gt=0.0)] = 0.45
    """Standard deviation of a match's error over that of least squares with independent pixels: measured against the
    true motion of synthetic heads."""
    floor_px: Annotated[float, Meta(gt=0.0)] = 1.0
    """Standard deviation of the best matches' errors, pixels of the crop, errors that neighbours share and shape that
    the model cannot express included."""
    tangential_sigma_m: Annotated[float, Meta(gt=0.0)] = 0.0025
    """Standard deviation of the texture's tangential displacement on the mesh, metres."""
    grazing_cosine: Annotated[float, Meta(ge=0.0, lt=1.0)] = 0.3
    """Cosine between normal and viewing direction below which a point is too oblique to be matched."""
    expression_sigma: Annotated[float, Meta(gt=0.0)] = 0.2
    """Standard deviation of an expression coefficient about zero: smaller than in solves over landmarks alone, so that
    what keyframes have in common is attributed to shape."""
    landmark_noise_inflation: Annotated[float, Meta(gt=0.0)] = 5.0
    """Factor on the independent part of landmarks' errors beside tracks: shape that the model cannot express is a
    common error of theirs, so that they must not count as so many independent points."""
    fewest_views: Annotated[int, Meta(ge=1)] = 2
    """Smallest number of keyframes that must show a point."""


class SurfacePoints:
    """P points spread evenly over the front of a model's head."""

    def __init__(self, model: MorphableModel, basis: MeshBasis, count: int) -> None:
        triangles, self._barycentric = spread_points(model, count)
        self._triangles = model.triangles
        self._corners = model.triangles.numpy()[triangles].astype(np.int64)  # (P, 3)
        self._points: MeshPoints = basis.points(triangles, self._barycentric)

    def tracks(self, vertices: torch.Tensor) -> Tracks:
        """The points as tracks of a head with neutral vertices (V, 3): with tangents at right angles to its normals."""
        normal = self.places(vertex_normals(vertices[None], self._triangles)[0].numpy())
        across = np.cross(normal, (0.0, 1.0, 0.0))  # no normal of the front is vertical
        across /= np.linalg.norm(across, axis=1, keepdims=True)
        along = np.cross(normal, across)
        along /= np.linalg.norm(along, axis=1, keepdims=True)
        return Tracks(self._points, np.stack([across, along], -1).astype(np.float64))

    def view(
        self,
        vertices: torch.Tensor,  # (V, 3) posed, view space, metres
        rendered: UInt8Array,  # (R, R, 3) sRGB
        raster: Float32Array,  # (R, R, 4) u, v, z/w, triangle + 1
        crop: FaceCrop,
        camera: Camera,
        settings: TrackSettings,
    ) -> TrackView:
        """Matches of the points in a keyframe, given a render of its crop and the mesh that was rendered; in pixels of
        the whole image.

        :param camera: camera of the crop.
        """
        # Project the points into the render, and look up the flow there.
        place = self.places(vertices.numpy())  # (P, 3)
        normal = self.places(vertex_normals(vertices[None], self._triangles)[0].numpy())
        cosine = -(normal * place).sum(1) / (np.linalg.norm(place, axis=1) * np.linalg.norm(normal, axis=1))
        pixels = camera.project(torch.from_numpy(place)).numpy()
        side = raster.shape[0]
        column, row = (np.clip(pixels[:, axis].astype(np.int64), 0, side - 1) for axis in (0, 1))
        flow = settings.flow
        matched = match(rendered, crop.image, flow)
        surface = self._depth(vertices.numpy(), raster[row, column])
        inner = interior(raster, flow)
        moved, mismatch = (_sample(image, pixels) for image in (matched.forward, matched.mismatch))
        # Inliers face the camera, are not hidden, and lie where the flow is usable, consistent and short.
        inlier = (
            (cosine > settings.grazing_cosine)
            & (-place[:, 2] < surface + DEPTH_TOLERANCE_M)
            & (pixels > 0.0).all(1)
            & (pixels < side).all(1)
            & inner[row, column]
            & (_sample(crop.usable, pixels) > LEAST_USABLE)
            & (mismatch < flow.consistency_px)
            & (np.hypot(*moved.T) < flow.longest_px)
        )
        index = np.flatnonzero(inlier)
        found = crop.to_image((pixels + moved)[index].astype(np.float64))
        scale = crop.size_px / side
        covariance = scale**2 * _covariance(matched, pixels, settings)[index]
        return TrackView(index, found, np.linalg.inv(np.linalg.cholesky(covariance)))

    def places(self, attributes: Float32Array) -> Float32Array:
        """Vertex attributes (V, C) at the points (P, C)."""
        return np.asarray((attributes[self._corners] * self._barycentric[..., None]).sum(1), np.float32)

    def _depth(self, vertices: Float32Array, hit: Float32Array) -> Float32Array:
        """(P,) depth, metres, of the surface at pixels (P, 4) of a raster; infinite where there is none."""
        triangle = hit[:, 3].astype(np.int64) - 1
        depth = -vertices[self._triangles.numpy()[triangle], 2]  # (P, 3)
        weights = np.stack([hit[:, 0], hit[:, 1], 1.0 - hit[:, 0] - hit[:, 1]], -1)
        return np.where(triangle >= 0, (depth * weights).sum(1), np.inf).astype(np.float32)


def shared_only(views: Sequence[TrackView], fewest: int) -> list[TrackView]:
    """The views without tracks that fewer than `fewest` of them have."""
    view_counts = np.bincount(np.concatenate([view.index for view in views]))
    kept = [view_counts[view.index] >= fewest for view in views]
    return [
        TrackView(view.index[keep], view.pixels[keep], view.whitening[keep])
        for view, keep in zip(views, kept, strict=True)
    ]


def spread_points(model: MorphableModel, count: int) -> tuple[Int64Array, Float32Array]:
    """Triangles (count,) and barycentric coordinates (count, 3) of points spread evenly over the front of the mean
    head: random points, uniform over the area, thinned by farthest-point sampling."""
    corners = model.mean.numpy()[model.triangles.numpy()]  # (F, 3, 3)
    normal = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    double_area = np.linalg.norm(normal, axis=1)
    front = normal[:, 2] > FRONT_COSINE * double_area
    tracked = np.isin(model.triangle_region.numpy(), [int(region) for region in FLOW_REGIONS])
    weight = double_area * (front & tracked & (corners[:, :, 1].min(1) > LOWEST_M))
    g = np.random.default_rng(0)
    triangles = g.choice(len(weight), CANDIDATES_PER_TRACK * count, p=weight / weight.sum())
    barycentric = g.dirichlet(np.ones(3), len(triangles)).astype(np.float32)
    places = (corners[triangles] * barycentric[..., None]).sum(1)
    chosen = farthest_points(lambda index: np.linalg.norm(places - places[index], axis=1), 0, count)
    return triangles[chosen].astype(np.int64), barycentric[chosen]


def _covariance(matched: FlowField, pixels: Float32Array, settings: TrackSettings) -> Float64Array:
    """(P, 2, 2) covariances, squared pixels, of the errors of matches at pixels (P, 2), by least squares over a patch:
    the variance of the residual times the inverse of the structure tensor (Lucas and Kanade, IJCAI 1981)."""
    rows, columns = np.mgrid[: matched.source.shape[0], : matched.source.shape[1]].astype(np.float32)
    found = cv2.remap(
        matched.target, columns + matched.forward[..., 0], rows + matched.forward[..., 1], cv2.INTER_LINEAR
    )
    across, down = (cv2.Sobel(matched.source, cv2.CV_32F, *axis) / SOBEL_SUM for axis in ((1, 0), (0, 1)))
    products = np.stack([across * across, across * down, down * down, (found - matched.source) ** 2], -1)
    smooth = _sample(cv2.GaussianBlur(products, (0, 0), settings.patch_sigma_px), pixels).astype(np.float64)
    tensor = smooth[:, [0, 1, 1, 2]].reshape(-1, 2, 2)
    variance = settings.precision_factor**2 * smooth[:, 3, None, None]
    flat = LEAST_GRADIENT**2 * np.eye(2)
    return np.asarray(variance * np.linalg.inv(tensor + flat) + settings.floor_px**2 * np.eye(2))


def _sample(image: Float32Array, pixels: Float32Array) -> Float32Array:
    """Values (P,) or (P, C) of an image (R, R) or (R, R, C) at pixel coordinates (P, 2), bilinear."""
    x, y = (np.ascontiguousarray(pixels[None, :, axis] - 0.5, np.float32) for axis in (0, 1))
    return np.asarray(cv2.remap(image, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)[0], np.float32)
