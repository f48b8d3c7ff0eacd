"""Ambient occlusion of a head: how much of its surroundings each vertex sees.

Shadow maps from many directions (Hayden Landis, "Production-Ready Global Illumination", SIGGRAPH 2002 course notes): a
vertex is lit from a direction if nothing of the head lies between. One factor per vertex then stands for what no light
reaches: mouth, nostrils, the corners of the eyes.
"""

from dataclasses import dataclass
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
"""How much nearer than a vertex a surface must be to shadow it: more than the steps of a shadow map."""
JAW_OPENING = 0.7
"""Activation of jawOpen at which the inside of the mouth is looked at: closed, it would see nothing at all."""
SMILE = 0.6
"""Activation of the smile and of the lips' raising at the same time, which uncovers the teeth."""
OPENING_EXPRESSION = {
    "jawOpen": JAW_OPENING,
    "mouthSmileLeft": SMILE,
    "mouthSmileRight": SMILE,
    "mouthUpperUpLeft": SMILE,
    "mouthUpperUpRight": SMILE,
    "mouthLowerDownLeft": SMILE,
    "mouthLowerDownRight": SMILE,
}
HIDDEN_SHARE = 0.35
"""Skin that sees less counts as the inside of a nostril; shallower hollows keep what a fit found there."""
TEETH_LEAST = 0.75
"""Least factor of teeth and what hangs on them: they shine out of the dark because they scatter what little light they
get."""
INSIDE_LEAST = 0.15
"""Least factor of tongue, palate and cheeks' insides: light that gets into a mouth goes to and fro between them."""
LIP_PAIRS = ((13, 14), (82, 87), (312, 317))
"""Landmarks of MediaPipe's mesh on the inner rims of the upper and the lower lip, one above the other."""
SHUT_M, OPEN_M = 0.0015, 0.004
"""Gaps between the lips at which the mouth is shut, though a line of teeth may show, and open."""
SHUT_SHARE = 0.1
"""What is left of the light inside a mouth that is shut."""
DEEPEST = 0.02
"""Least factor, so that nothing is pitch black."""


def visible_share(vertices: Tensor, triangles: Tensor) -> Tensor:
    """Cosine-weighted share of the sphere of directions that each vertex sees past its own mesh.

    :param vertices: (V, 3) metres.
    :param triangles: (F, 3) int32.
    :returns: (V,) float32 in [0, 1]; 1 where nothing is in the way.
    """
    points = vertices.detach().double()
    normals = vertex_normals(points[None], triangles)[0].numpy()
    center = (points.amin(0) + points.amax(0)) / 2.0
    radius = (points - center).norm(dim=-1).max().item()
    local = (points - center).numpy() / radius
    faces = triangles.int().contiguous().numpy()
    seen, total = np.zeros(len(local)), np.zeros(len(local))
    for direction in _sphere_directions(DIRECTION_COUNT):
        cosine = np.maximum(normals @ direction, 0.0)
        seen += cosine * _lit(local, faces, direction, DEPTH_BIAS_M / radius)
        total += cosine
    return torch.from_numpy((seen / np.maximum(total, 1e-9)).astype(np.float32))


@lru_cache(maxsize=2)
def head_occlusion(model: MorphableModel) -> Tensor:
    """Factors (V,) for `render` and `ForwardRenderer`: dark inside the mouth and the nostrils, shaded eyes and teeth.

    The skin's other hollows stay at 1: a fit without occlusion has their shade in the albedo already.
    """
    closed = visible_share(model.mean, model.triangles)
    expression = torch.zeros(1, len(EXPRESSION_NAMES))
    for name, activation in OPENING_EXPRESSION.items():
        expression[0, expression_index(name)] = activation
    opened = visible_share(model.vertices(torch.zeros(1, model.identity_count), expression)[0], model.triangles)
    inside = model.vertex_mask(Region.MOUTH_INTERIOR, Region.TEETH)
    eyes = model.vertex_mask(Region.EYES)
    nostrils = torch.where(closed < HIDDEN_SHARE, closed / HIDDEN_SHARE, torch.ones_like(closed))
    skin_only = model.vertex_mask(Region.SKIN) & ~model.vertex_mask(Region.LIPS, Region.EARS, Region.NECK)
    factor = torch.where(skin_only, nostrils, torch.ones_like(closed))
    factor = torch.where(eyes, closed, factor)
    factor = torch.where(inside, opened.clamp(min=INSIDE_LEAST), factor)
    factor = torch.where(teeth_and_behind(model), opened.clamp(min=TEETH_LEAST), factor)
    return factor.clamp(DEEPEST, 1.0)


def teeth_and_behind(model: MorphableModel) -> Tensor:
    """(V,) bool: the rows of teeth with what hangs on them, which an open mouth shows through the same opening."""
    teeth = model.vertex_mask(Region.TEETH)
    triangles = model.triangles.long()
    near = (model.triangle_region == Region.MOUTH_INTERIOR) & teeth[triangles].any(1)
    together = teeth.clone()
    together[triangles[near].flatten()] = True
    return together


@dataclass(frozen=True, eq=False)
class MouthShade:
    """What shows of the inside of a mouth: little behind lips that are nearly shut, since `head_occlusion` is of an
    open mouth, and nothing from outside."""

    lips: Tensor
    """(P, 2, 3) int64 vertices of the triangles on which pairs of points of the upper and the lower lip lie."""
    weights: Tensor
    """(P, 2, 3) barycentric coordinates there."""
    inside: Tensor
    """(V,) bool: what lies behind the lips."""
    bag: Int64Array
    """Indices of the triangles that line the mouth: who looks into it sees their front."""

    def opening(self, vertices: Tensor) -> float:
        """0 where the lips of a posed head (V, 3), in metres, are shut, 1 where they are open."""
        upper, lower = (vertices[self.lips] * self.weights[..., None]).sum(-2).unbind(1)  # (P, 3)
        gap = float((upper - lower).norm(dim=-1).mean())
        return min(max((gap - SHUT_M) / (OPEN_M - SHUT_M), 0.0), 1.0)

    def over(self, occlusion: Tensor, vertices: Tensor) -> Tensor:
        """Factors (V,) of an open mouth as they are with a posed head (V, 3)."""
        share = SHUT_SHARE + (1.0 - SHUT_SHARE) * self.opening(vertices)
        return torch.where(self.inside, share * occlusion, occlusion)

    def without_backs(self, view: Float32Array, triangles: Int32Array) -> Int32Array:
        """Triangles (F, 3) of which those that line the mouth and show their back to the camera are empty: on some
        faces they would poke out of the skin. `view` holds vertices (V, 3) in view space."""
        corners = view[triangles[self.bag]]  # (B, 3, 3)
        normal = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
        backs = self.bag[(normal * corners[:, 0]).sum(1) > 0.0]
        shown = triangles.copy()
        shown[backs] = shown[backs, :1]
        return shown


@lru_cache(maxsize=2)
def mouth_shade(model: MorphableModel) -> MouthShade:
    """Of a model."""
    pairs = torch.tensor(LIP_PAIRS)
    lips = model.triangles[model.mediapipe_triangles[pairs].long()].long()
    inside = model.vertex_mask(Region.MOUTH_INTERIOR, Region.TEETH) & ~model.vertex_mask(Region.LIPS, Region.SKIN)
    bag = np.flatnonzero(model.triangle_region.numpy() == Region.MOUTH_INTERIOR)
    return MouthShade(lips, model.mediapipe_barycentric[pairs], inside, bag)


def _sphere_directions(count: int) -> Float64Array:
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
    """Which points (V, 3) inside the unit sphere a light from a direction reaches."""
    helper = np.array([1.0, 0.0, 0.0]) if abs(direction[0]) < 0.9 else np.array([0.0, 1.0, 0.0])
    across = np.cross(helper, direction)
    across /= np.linalg.norm(across)
    up = np.cross(direction, across)
    # Orthographic clip space: depth grows away from the light.
    depth = -(points @ direction)
    clip = np.stack([points @ across, points @ up, depth, np.ones(len(points))], -1)
    rast = np.zeros((SHADOW_MAP_PX, SHADOW_MAP_PX, 4))
    rasterize_rows(clip, faces, rast, 0, SHADOW_MAP_PX)
    column, row = (np.clip((clip[:, k] + 1.0) / 2.0 * SHADOW_MAP_PX, 0, SHADOW_MAP_PX - 1).astype(int) for k in (0, 1))
    nearest = np.where(rast[row, column, 3] > 0, rast[row, column, 2], 1.0)
    return depth <= nearest + bias
