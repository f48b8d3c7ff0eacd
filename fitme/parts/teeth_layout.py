"""Rows of teeth in the head's map. The model's own rows, which are not drawn where parts are, have two bands in its
layout: along them runs the arch, across them the crowns. The parts' rows take enamel from there, as images show it,
over the shades that all teeth have in common.
"""

import functools
from dataclasses import dataclass

import cv2
import numpy as np

from fitme.arrays import BoolArray, Float32Array, Float64Array
from fitme.parts.head_parts import HeadPart, HeadParts
from fitme.shape.morphable_model import MorphableModel
from fitme.shape.raster import Coverage, rasterize, uv_raster
from fitme.shape.regions import Region

LAYOUT_TEXELS = 1024
"""Side of the raster in which the bands are found, texels."""
UPPER, LOWER = "upperTeeth", "lowerTeeth"
"""Names of the parts."""
MIDDLE_SHARE = 0.86
"""Share of the bands' length that counts: their ends are notched."""
ARCH_RADIUS_M = 0.03
"""Distance of the arch's centre behind the incisors."""
ARCH_RAD = 1.3
"""Angle to either side, from the middle of the arch, at which the bands end; molars lie beyond."""
CROWN_M = 0.0125
"""Height of the bands, from the biting edges towards the gums."""
EDGE_BINS = 24
"""Places along the arch at which the height of the biting edge is measured."""
LABIAL_COSINE = 0.15
"""Least cosine between a surface's normal and the way out of the arch on the lips' side of a tooth."""


@dataclass(frozen=True, eq=False)
class TeethRow:
    """One row of the parts, and its band."""

    part: HeadPart
    """The row."""
    along: Float32Array
    """(N, 2) place of its vertices in the band: along the arch and from top to bottom, [0, 1]."""
    depth: Float32Array
    """(N,) metres from the arch's centre."""
    band: tuple[float, float, float, float]
    """Left, top, right and bottom of the band in the model's layout."""
    labial: BoolArray
    """(F,) triangles on the lips' side."""

    def surface(self, resolution: int) -> tuple[Coverage, tuple[slice, slice]]:
        """Triangle of the part at each texel of the band in a map of a side of `resolution` texels, and the rows and
        columns of these texels."""
        left, top, right, bottom = (round(edge * resolution) for edge in self.band)
        points = np.concatenate([self.along * (right - left, bottom - top), self.depth[:, None]], 1)
        triangles = np.where(self.labial[:, None], self.part.triangles, 0).astype(np.int64)
        coverage = rasterize(points.astype(np.float64), triangles, bottom - top, right - left)
        return coverage, (slice(top, bottom), slice(left, right))


@dataclass(frozen=True, eq=False)
class TeethLayout:
    """Both rows, and where their texture lies in the head's map."""

    rows: tuple[TeethRow, ...]
    """The upper and the lower one."""
    places: Float32Array
    """(H, W, 2) place in the head's map, in the model's layout, of each texel of the teeth's texture."""


@functools.lru_cache(maxsize=2)
def teeth_layout(model: MorphableModel, parts: HeadParts) -> TeethLayout:
    """Layout of the teeth of a model's parts, on its mean head."""
    mean, bands = model.mean.numpy(), _bands(model)
    rows = tuple(_row(part, mean, bands[part.name]) for part in parts.opaque if part.name in bands)
    height, width = parts.teeth_texture.shape[:2]
    places = np.zeros((height, width, 2), np.float32)
    for row in rows:
        left, top, right, bottom = row.band
        at = np.clip(row.along, 0.0, 1.0) * (right - left, bottom - top) + (left, top)
        points = np.concatenate([row.part.uv * (width, height), np.zeros((len(row.part.uv), 1))], 1)
        coverage = rasterize(points.astype(np.float64), row.part.uv_triangles.astype(np.int64), height, width)
        covered = coverage.triangle >= 0
        places[covered] = coverage.interpolate(at, row.part.triangles)[covered]
    return TeethLayout(rows, places)


def _bands(model: MorphableModel) -> dict[str, tuple[float, float, float, float]]:
    """Left, top, right and bottom in the layout of each row's band, by the part's name."""
    lower = model.lower_teeth.numpy()[model.triangles.numpy()].any(1)
    triangle = uv_raster(model, LAYOUT_TEXELS).triangle
    teeth = (triangle >= 0) & (model.triangle_region.numpy()[triangle] == int(Region.TEETH))
    bands = {}
    for name, of_row in ((UPPER, ~lower), (LOWER, lower)):
        mine = teeth & of_row[triangle]
        columns = np.flatnonzero(mine.any(0))
        margin = round(0.5 * (1.0 - MIDDLE_SHARE) * len(columns))
        columns = columns[margin : len(columns) - margin]
        inside = np.flatnonzero(mine[:, columns].all(1))
        left, right = columns[0] / LAYOUT_TEXELS, (columns[-1] + 1) / LAYOUT_TEXELS
        bands[name] = float(left), inside[0] / LAYOUT_TEXELS, float(right), (inside[-1] + 1) / LAYOUT_TEXELS
    return bands


def _row(part: HeadPart, mean: Float32Array, band: tuple[float, float, float, float]) -> TeethRow:
    points = part.binding.apply(mean).astype(np.float64)
    centre = np.array([0.0, points[:, 2].max() - ARCH_RADIUS_M])
    out = points[:, [0, 2]] - centre
    angle, depth = np.arctan2(out[:, 0], out[:, 1]), np.linalg.norm(out, axis=1)
    upper = part.name == UPPER
    height = (points[:, 1] - _edge(points, angle, upper)) * (1.0 if upper else -1.0) / CROWN_M  # 0 at the edge
    down = 1.0 - height if upper else height
    # The layout's u grows to the person's left, as x does.
    along = np.stack([0.5 + 0.5 * angle / ARCH_RAD, down], 1)
    corners = points[part.triangles]
    normal = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    outwards = out[part.triangles].mean(1)
    cosine = (normal[:, [0, 2]] * outwards).sum(1) / np.maximum(
        np.linalg.norm(normal, axis=1) * np.linalg.norm(outwards, axis=1), 1e-12
    )
    return TeethRow(part, along.astype(np.float32), depth.astype(np.float32), band, cosine > LABIAL_COSINE)


def _edge(points: Float64Array, angle: Float64Array, upper: bool) -> Float64Array:
    """(N,) height of the row's biting edge beside each vertex, smooth along the arch."""
    place = np.clip((0.5 + 0.5 * angle / ARCH_RAD) * EDGE_BINS, 0, EDGE_BINS - 1).astype(int)
    height = points[:, 1] if upper else -points[:, 1]
    ends = np.full(EDGE_BINS, np.inf)
    np.minimum.at(ends, place, height)
    known = np.flatnonzero(np.isfinite(ends))
    ends = np.interp(np.arange(EDGE_BINS), known, ends[known])
    ends = cv2.GaussianBlur(ends[None], (0, 0), 1.5, borderType=cv2.BORDER_REPLICATE)[0]
    at = np.interp((0.5 + 0.5 * angle / ARCH_RAD) * EDGE_BINS - 0.5, np.arange(EDGE_BINS), ends)
    return np.asarray(at if upper else -at)
