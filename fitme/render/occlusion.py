"""Ambient occlusion of a head: the unoccluded share of the hemisphere above each vertex.

Shadow maps from many directions (Hayden Landis, "Production-Ready Global Illumination", SIGGRAPH 2002 course notes): a
vertex is lit from a direction if no triangle of the head occludes it. One factor per vertex scales all shading, so that
mouth, nostrils and the corners of the eyes are dark.
"""

from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from fitme.arrays import BoolArray, Float32Array, Float64Array, Int32Array, Int64Array
from fitme.render.cpu.rasterize import rasterize_rows
from fitme.shape.expressions import EXPRESSION_NAMES, expression_index
from fitme.shape.morphable_model import MorphableModel
from fitme.shape.normals import vertex_normals
from fitme.shape.regions import Region

DIRECTION_COUNT = 96
SHADOW_MAP_PX = 160
DEPTH_BIAS_M = 0.003
"""Distance by which an occluder must be nearer to the light than a vertex: above the depth steps of a map."""
JAW_OPENING = 0.7
"""Activation of jawOpen for the occlusion of the mouth's interior, which would be 0 everywhere with closed lips."""
SMILE = 0.6
"""Activation of smile and raised lips in the same expression, which uncovers the teeth."""
OPENING_EXPRESSION = {
    "jawOpen": JAW_OPENING,
    "mouthSmileLeft": SMILE,
    "mouthSmileRight": SMILE,
    "mouthUpperUpLeft": SMILE,
    "mouthUpperUpRight": SMILE,
    "mouthLowerDownLeft": SMILE,
    "mouthLowerDownRight": SMILE,
}
NOSTRIL_VISIBILITY = 0.35
"""Visibility below which skin counts as the inside of a nostril; shallower hollows have their shade in the albedo."""
MIN_TEETH_FACTOR = 0.75
"""Lower bound of the factor of teeth and adjacent mouth: multiple scattering brightens them beyond their visibility."""
MIN_INTERIOR_FACTOR = 0.3
"""Lower bound of the factor of tongue, palate and inner cheeks, for light that is reflected between them."""
TONGUE_FACTOR = 0.4
"""Factor of the tongue at its tip: teeth and palate reflect onto it what comes in between the lips."""
TONGUE_DEPTH_M = (0.0, 0.03)
"""Distances behind the tongue's tip between which that fades into the depth of the mouth."""
TONGUE_MOVES_M = 1e-4
"""Displacement by `tongueOut` from which a vertex of the mouth's interior is one of the tongue's."""
LIP_PAIRS = ((13, 14), (82, 87), (312, 317))
"""Landmarks of MediaPipe's mesh on the inner rims of the upper and the lower lip, one above the other."""
SIDE_LIP_PAIRS = ((81, 178), (311, 402), (80, 88), (310, 318))
"""Pairs farther from the middle, which a smile opens first."""
LIP_THICKNESS_M = 0.0095
"""Distance of the rims of the lips before what lies on their inner side: no light comes from between them."""
LEAST_DEPTH_M = 0.0015
"""Least distance behind the opening at which light from it counts: the inner sides of lips that all but touch are
dark."""
REFLECTED_SHARE = 0.45
"""Light that lips and teeth reflect onto each other, over that which comes in between the lips."""
LEAST_OPEN_SHARE = 0.3
"""Least share of light through the lips of the open mouth by which that of other expressions is divided."""
WIDEST_GAPS = 3
"""Gaps, of all pairs the widest, whose mean is the opening of the mouth."""
CLOSED_GAP_M, OPEN_GAP_M = 0.0015, 0.004
"""Gaps between the lips up to which the mouth counts as closed, and from which as open."""
CLOSED_MOUTH_SHARE = 0.3
"""Least factor on the occlusion of an open mouth's interior: that of a closed mouth."""
OUT_BEGIN_M, OUT_END_M = 0.002, 0.01
"""Distances before the foremost point of the lips' inner rims between which a tongue that comes out of the mouth
reaches the full light."""
MIN_FACTOR = 0.02
"""Lower bound of every factor, so that no vertex is black."""


def ambient_visibility(vertices: Tensor, triangles: Tensor) -> Tensor:
    """Ambient visibility: cosine-weighted share of directions in which a vertex is not occluded by its own mesh.

    :param vertices: (V, 3) metres.
    :param triangles: (F, 3) int32.
    :returns: (V,) float32 in [0, 1]; 1 where nothing occludes.
    """
    points = vertices.detach().double()
    normals = vertex_normals(points[None], triangles)[0].numpy()
    center = (points.amin(0) + points.amax(0)) / 2.0
    radius = (points - center).norm(dim=-1).max().item()
    # Orthographic shadow maps cover [-1, 1], so the mesh is scaled into the unit sphere.
    local = (points - center).numpy() / radius
    faces = triangles.int().contiguous().numpy()
    # Monte Carlo over an even lattice; the cosine weight is zero for directions below the surface.
    visible, total = np.zeros(len(local)), np.zeros(len(local))
    for direction in sphere_directions(DIRECTION_COUNT):
        cosine = np.maximum(normals @ direction, 0.0)
        visible += cosine * _lit(local, faces, direction, DEPTH_BIAS_M / radius)
        total += cosine
    return torch.from_numpy((visible / np.maximum(total, 1e-9)).astype(np.float32))


@lru_cache(maxsize=2)
def head_occlusion(model: MorphableModel) -> Tensor:
    """Occlusion factors (V,) in [0, 1] for `render` and `ForwardRenderer`: mouth, nostrils, eyes and teeth below 1.

    Other hollows of the skin have factor 1: the fitted albedo contains their shade already.
    """
    # Two visibilities: closed lips for skin and eyes, an open mouth for its interior.
    closed = ambient_visibility(model.mean, model.triangles)
    opened = ambient_visibility(opened_head(model), model.triangles)
    # From the weakest rule to the strongest: each `where` overwrites the factors of its region.
    inside = model.vertex_mask(Region.MOUTH_INTERIOR, Region.TEETH)
    eyes = model.vertex_mask(Region.EYES)
    nostrils = torch.where(closed < NOSTRIL_VISIBILITY, closed / NOSTRIL_VISIBILITY, torch.ones_like(closed))
    skin_only = model.vertex_mask(Region.SKIN) & ~model.vertex_mask(Region.LIPS, Region.EARS, Region.NECK)
    factor = torch.where(skin_only, nostrils, torch.ones_like(closed))
    factor = torch.where(eyes, closed, factor)
    factor = torch.where(inside, opened.clamp(min=MIN_INTERIOR_FACTOR), factor)
    factor = torch.maximum(factor, _tongue_factor(model))
    factor = torch.where(teeth_and_adjacent(model), opened.clamp(min=MIN_TEETH_FACTOR), factor)
    return factor.clamp(MIN_FACTOR, 1.0)


def tongue_vertices(model: MorphableModel) -> Tensor:
    """Mask (V,) bool of the tongue: what `tongueOut` moves of the mouth's interior."""
    moves = model.expression_basis[expression_index("tongueOut")].norm(dim=-1) > TONGUE_MOVES_M
    inside: Tensor = moves & model.vertex_mask(Region.MOUTH_INTERIOR)
    return inside & ~model.vertex_mask(Region.LIPS, Region.SKIN)


def _tongue_factor(model: MorphableModel) -> Tensor:
    """(V,) least factor of the tongue's vertices; 0 elsewhere."""
    tongue = tongue_vertices(model)
    if not tongue.any():
        return torch.zeros(model.vertex_count)
    behind = model.mean[tongue, 2].max() - model.mean[:, 2]
    begin, end = TONGUE_DEPTH_M
    share: Tensor = tongue * (1.0 - ((behind - begin) / (end - begin)).clamp(0.0, 1.0))
    return share * TONGUE_FACTOR


def teeth_and_adjacent(model: MorphableModel) -> Tensor:
    """Mask (V,) bool of the teeth and of the mouth-interior triangles that share a vertex with them."""
    teeth = model.vertex_mask(Region.TEETH)
    triangles = model.triangles.long()
    adjacent = (model.triangle_region == Region.MOUTH_INTERIOR) & teeth[triangles].any(1)
    both = teeth.clone()
    both[triangles[adjacent].flatten()] = True
    return both


@dataclass(frozen=True, eq=False)
class MouthOcclusion:
    """Pose-dependent occlusion of the mouth's interior: darkens `head_occlusion`, which is of an open mouth, by what
    the lips leave open, lights a tongue before them, and culls back faces of the lining.

    Light comes in between the lips as through a slit. A point at a depth d behind it, a height u below its upper edge
    and w above its lower one, has (u / sqrt(u^2 + d^2) + w / sqrt(w^2 + d^2)) / 2 of an unoccluded point's light: the
    form factor of a strip (Siegel and Howell, "Thermal Radiation Heat Transfer"). Teeth are dark where lips hardly
    part, next to the lips and deep in the mouth.
    """

    lips: Tensor
    """(P, 2, 3) int64 vertices of the triangles on which pairs of points of the upper and the lower lip lie."""
    weights: Tensor
    """(P, 2, 3) barycentric coordinates there."""
    inside: Tensor
    """(V,) bool mask of the vertices behind the lips."""
    open_share: Tensor
    """(V,) float32 share of the light through the lips that the occlusion of the open mouth counts already."""
    lining: Int64Array
    """(N,) indices of the triangles that line the mouth; their front faces point into the mouth."""

    def opening(self, vertices: Tensor) -> float:
        """Opening of the lips of a head (V, 3), metres: 0 closed, 1 open, linear between."""
        upper, lower = self._rims(vertices).unbind(1)  # (P, 3)
        gap = float((upper - lower).norm(dim=-1).topk(WIDEST_GAPS).values.mean())
        return min(max((gap - CLOSED_GAP_M) / (OPEN_GAP_M - CLOSED_GAP_M), 0.0), 1.0)

    def light_between_lips(self, vertices: Tensor) -> Tensor:
        """(V,) share of the light through the lips of a head (V, 3), metres, model space, that reaches each vertex; 1
        outside of the mouth."""
        rims = self._rims(vertices).numpy()
        across = rims[..., 0].mean(1)
        order = np.argsort(across)
        points = vertices[self.inside].numpy()
        edges = (rims[:, 0, 1], rims[:, 1, 1], rims[..., 2].mean(1))
        upper, lower, front = (np.interp(points[:, 0], across[order], edge[order]) for edge in edges)
        depth = np.maximum(front - points[:, 2] - LIP_THICKNESS_M, LEAST_DEPTH_M)
        below, above = upper - points[:, 1], points[:, 1] - lower
        direct = 0.5 * (below / np.hypot(below, depth) + above / np.hypot(above, depth))
        share = torch.ones(len(vertices))
        share[self.inside] = torch.from_numpy(np.clip(direct, 0.0, 1.0).astype(np.float32))
        return share

    def apply(self, occlusion: Tensor, vertices: Tensor) -> Tensor:
        """Occlusion (V,) of a head (V, 3), metres, model space, from the factors (V,) of an open mouth."""
        share = (1.0 + REFLECTED_SHARE) * self.light_between_lips(vertices) / self.open_share
        darkened = torch.where(self.inside, share.clamp(CLOSED_MOUTH_SHARE, 1.0) * occlusion, occlusion)
        # A tongue between the lips has left the mouth.
        before_m = vertices[:, 2] - self._rims(vertices)[..., 2].max()
        out = self.inside * ((before_m - OUT_BEGIN_M) / (OUT_END_M - OUT_BEGIN_M)).clamp(0.0, 1.0)
        return darkened + out * (1.0 - darkened)

    def _rims(self, vertices: Tensor) -> Tensor:
        """(P, 2, 3) points of the upper and the lower lip on a head (V, 3)."""
        return (vertices[self.lips] * self.weights[..., None]).sum(-2)

    def cull_back_faces(self, view: Float32Array, triangles: Int32Array) -> Int32Array:
        """Triangles (F, 3) with the back faces of the mouth's lining degenerate: three equal corners.

        On some faces the lining penetrates the skin and would be visible from outside.

        :param view: (V, 3) vertices in view space, metres.
        """
        corners = view[triangles[self.lining]]  # (N, 3, 3)
        normal = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
        backs = self.lining[(normal * corners[:, 0]).sum(1) > 0.0]
        culled = triangles.copy()
        culled[backs] = culled[backs, :1]
        return culled


@lru_cache(maxsize=4)
def mouth_occlusion(model: MorphableModel, sides: bool = False) -> MouthOcclusion:
    """Mouth occlusion of a model; computed once per model.

    :param sides: whether a mouth that is open at its sides only, smiling, counts as open.
    """
    pairs = torch.tensor(LIP_PAIRS + (SIDE_LIP_PAIRS if sides else ()))
    lips = model.triangles[model.mediapipe_triangles[pairs].long()].long()
    inside = model.vertex_mask(Region.MOUTH_INTERIOR, Region.TEETH) & ~model.vertex_mask(Region.LIPS, Region.SKIN)
    lining = np.flatnonzero(model.triangle_region.numpy() == Region.MOUTH_INTERIOR)
    counted = torch.ones(model.vertex_count)
    mouth = MouthOcclusion(lips, model.mediapipe_barycentric[pairs], inside, counted, lining)
    return replace(mouth, open_share=mouth.light_between_lips(opened_head(model)).clamp(min=LEAST_OPEN_SHARE))


def opened_head(model: MorphableModel) -> Tensor:
    """Mean head (V, 3), metres, with an open mouth that shows its teeth."""
    expression = torch.zeros(1, len(EXPRESSION_NAMES))
    for name, activation in OPENING_EXPRESSION.items():
        expression[0, expression_index(name)] = activation
    with torch.no_grad():
        opened: Tensor = model.vertices(torch.zeros(1, model.identity_count), expression)[0]
    return opened


def sphere_directions(count: int) -> Float64Array:
    """Evenly spread unit vectors (count, 3): a Fibonacci lattice."""
    index = np.arange(count) + 0.5
    z = 1.0 - 2.0 * index / count
    angle = np.pi * (1.0 + 5.0**0.5) * index
    radius = np.sqrt(1.0 - z * z)
    return np.stack([radius * np.cos(angle), radius * np.sin(angle), z], -1)


def _lit(
    points: Float64Array,
    faces: Int32Array,
    direction: Float64Array,
    bias: float,
) -> BoolArray:
    """Mask (V,) of the points (V, 3), inside the unit sphere, that a directional light reaches: one shadow map."""
    helper = np.array([1.0, 0.0, 0.0]) if abs(direction[0]) < 0.9 else np.array([0.0, 1.0, 0.0])
    across = np.cross(helper, direction)
    across /= np.linalg.norm(across)
    up = np.cross(direction, across)
    # Orthographic clip space along the light: depth grows away from it.
    depth = -(points @ direction)
    clip = np.stack([points @ across, points @ up, depth, np.ones(len(points))], -1)
    rast = np.zeros((SHADOW_MAP_PX, SHADOW_MAP_PX, 4))
    rasterize_rows(clip, faces, rast, 0, SHADOW_MAP_PX)
    # A point is lit if its texel shows no surface nearer to the light.
    column, row = (np.clip((clip[:, k] + 1.0) / 2.0 * SHADOW_MAP_PX, 0, SHADOW_MAP_PX - 1).astype(int) for k in (0, 1))
    nearest = np.where(rast[row, column, 3] > 0, rast[row, column, 2], 1.0)
    return depth <= nearest + bias
