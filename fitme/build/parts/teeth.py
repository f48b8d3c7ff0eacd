"""Teeth and gums: MakeHuman's CC0 set, one tooth a mesh, bound to the model's rows of teeth as two rigid pieces."""

from dataclasses import dataclass

import numpy as np
import torch

from fitme.arrays import BoolArray, Float64Array, Int64Array, UInt8Array
from fitme.build.parts.asset import Asset, connected_parts

CROWN_STRETCH = {"upper": 1.3, "lower": 1.2}
"""Factors on the crowns' heights, from their edges towards the gums: the set's are those of a short-toothed person."""
CROWN_WIDENING = 1.07
"""Factor on the crowns' widths, about the middle of each: the set's stand apart, and the dark behind them would show as
black lines."""
LOWER_DROP_M = 0.002
"""Distance by which the lower row lies below the model's own: its edges are level with the lower lip's, 2.5 mm above
those of the upper row."""
GUM_REACH_M = 0.009
"""Distance from the nearest tooth up to which gums are kept: the mouth's floor and cheeks are the model's."""
TEXTURE_PX = 256
NECK_SHADE, EDGE_SHADE = (0.88, 0.80, 0.68), (0.95, 0.98, 1.0)
"""Albedo of a crown at the gum and at its edge, over that of its middle: dentin shines through, then enamel alone."""
INNER_SHADE = (0.66, 0.48, 0.44)
"""Albedo on the tongue's side over that on the lips': light gets there by way of tongue and gums, red."""
BACK_SHADE, BACK_M = (0.45, 0.31, 0.28), 0.035
"""The same for the last molars, and their distance behind the incisors."""
CANINE_SHADE = (0.94, 0.91, 0.84)
"""Albedo of canines over that of incisors."""
GUM_MARGIN_SHADE = (0.9, 0.72, 0.72)
"""Albedo of the gums at the teeth over that farther away."""
GUM_MARGIN_M = 0.002
RATIO_CODE = 128.0
"""Code of a ratio of one."""
_CANINE = 2
"""Position of the canine in a quarter of the set, counted from the middle."""


@dataclass(frozen=True, eq=False)
class Row:
    """One row: its teeth or its gums."""

    vertices: Int64Array
    """(N,) vertices of the asset."""
    triangles: Int64Array
    """(F, 3) into `vertices`."""
    uv: Float64Array
    """(T, 2)."""
    uv_triangles: Int64Array
    """(F, 3) into `uv`."""


@dataclass(frozen=True, eq=False)
class TeethSet:
    """The set, taken apart."""

    points: Float64Array
    """(M, 3) the asset's vertices on the template, crowns stretched."""
    rows: dict[str, Row]
    """By `upperTeeth`, `lowerTeeth`, `upperGums`, `lowerGums`."""
    texture: UInt8Array
    """(H, W, 4) as `HeadParts.teeth_texture`."""


def take_apart(asset: Asset, points: Float64Array) -> TeethSet:
    """Rows of the set whose vertices lie at `points` (M, 3) on the template."""
    part = connected_parts(len(points), asset.triangles)
    gums = part == np.bincount(part).argmax()
    upper = _upper(points, part, gums)
    # Of the gums, what lies near teeth of one row.
    nearest, distance = _nearest(points, np.flatnonzero(~gums))
    upper = np.where(gums, upper[nearest], upper)
    close = np.where(gums, distance, 0.0)[asset.triangles].max(1) < GUM_REACH_M
    one_row = upper[asset.triangles].all(1) | ~upper[asset.triangles].any(1)
    stretched = _stretched(points, part, gums, upper, nearest)
    rows = {}
    for name, in_row, of_gums in (
        ("upperTeeth", upper, ~gums), ("lowerTeeth", ~upper, ~gums),
        ("upperGums", upper, gums), ("lowerGums", ~upper, gums),
    ):  # fmt: skip
        rows[name] = _row(asset, close & one_row & (in_row & of_gums)[asset.triangles].all(1))
    return TeethSet(stretched, rows, _texture(asset, points, part, gums, upper, distance))


def _upper(points: Float64Array, part: Int64Array, gums: BoolArray) -> BoolArray:
    """(M,) whether a tooth is of the upper row: at each place of the arch the higher one of two."""
    teeth = np.unique(part[~gums])
    middle = np.array([points[part == index].mean(0) for index in teeth])
    # A curve along the arch, between the heights of both rows, divides them.
    design = np.stack([np.ones(len(teeth)), middle[:, 2], middle[:, 2] ** 2], 1)
    above = middle[:, 1] > design @ np.linalg.lstsq(design, middle[:, 1], rcond=None)[0]
    if above.sum() * 2 != len(teeth):
        raise ValueError("the set must have as many upper as lower teeth")
    return np.isin(part, teeth[above])


def _nearest(points: Float64Array, teeth: Int64Array) -> tuple[Int64Array, Float64Array]:
    """For each vertex (M,) the nearest vertex of a tooth, and its distance in metres."""
    from scipy.spatial import cKDTree

    distance, index = cKDTree(points[teeth]).query(points)
    return teeth[index], np.asarray(distance)


def _edges(points: Float64Array, part: Int64Array, gums: BoolArray, upper: BoolArray) -> Float64Array:
    """(M,) height of the biting edge of each tooth's vertices; 0 on gums."""
    edge = np.zeros(len(points))
    for index in np.unique(part[~gums]):
        mine = part == index
        edge[mine] = points[mine, 1].min() if upper[mine][0] else points[mine, 1].max()
    return edge


def _stretched(
    points: Float64Array, part: Int64Array, gums: BoolArray, upper: BoolArray, nearest: Int64Array
) -> Float64Array:
    """Points (M, 3) with crowns, and gums with the nearest of them, stretched away from the biting edges; the lower
    row at its place."""
    edge = _smooth_along_arch(points, _edges(points, part, gums, upper)[nearest], upper)
    factor = np.where(upper, CROWN_STRETCH["upper"], CROWN_STRETCH["lower"])
    result = points.copy()
    result[:, 1] = edge + factor * (points[:, 1] - edge) - np.where(upper, 0.0, LOWER_DROP_M)
    for index in np.unique(part[~gums]):
        mine = np.flatnonzero(part == index)[:, None]
        middle = points[mine, [0, 2]].mean(0)
        result[mine, [0, 2]] = middle + CROWN_WIDENING * (points[mine, [0, 2]] - middle)
    return result


def _smooth_along_arch(points: Float64Array, height: Float64Array, upper: BoolArray) -> Float64Array:
    """Heights (M,) as a quadratic function of the depth, for each row: neighbouring teeth stay side by side."""
    result = np.zeros(len(points))
    for row in (upper, ~upper):
        design = np.stack([np.ones(row.sum()), points[row, 2], points[row, 2] ** 2], 1)
        result[row] = design @ np.linalg.lstsq(design, height[row], rcond=None)[0]
    return result


def _row(asset: Asset, chosen: BoolArray) -> Row:
    vertices, triangles = np.unique(asset.triangles[chosen], return_inverse=True)
    places, uv_triangles = np.unique(asset.uv_triangles[chosen], return_inverse=True)
    return Row(vertices, triangles.reshape(-1, 3), asset.uv[places], uv_triangles.reshape(-1, 3))


def _texture(
    asset: Asset, points: Float64Array, part: Int64Array, gums: BoolArray, upper: BoolArray, distance: Float64Array
) -> UInt8Array:
    """Albedo ratios and share of enamel at the asset's texels, from values at its vertices."""
    edge = _edges(points, part, gums, upper)
    ratio = np.ones((len(points), 3))
    for index in np.unique(part[~gums]):
        mine = part == index
        height = np.abs(points[mine, 1] - edge[mine]) / np.ptp(points[mine, 1])
        stops = np.array([0.0, 0.25, 0.45, 0.8, 1.0])
        shades = np.array([EDGE_SHADE, (1.0, 1.0, 1.0), (1.0, 1.0, 1.0), NECK_SHADE, NECK_SHADE])
        ratio[mine] = np.stack([np.interp(height, stops, shades[:, channel]) for channel in range(3)], 1)
        if _place_in_quarter(points, part, gums, upper, index) == _CANINE:
            ratio[mine] *= CANINE_SHADE
    ratio *= _shade_by_place(points, asset.triangles)
    margin = np.exp(-distance / GUM_MARGIN_M)[:, None]
    ratio[gums] = (1.0 - margin * (1.0 - np.array(GUM_MARGIN_SHADE)))[gums]
    values = np.concatenate([ratio * RATIO_CODE, np.where(gums, 0.0, 255.0)[:, None]], 1)
    return _painted(asset, values)


def _shade_by_place(points: Float64Array, triangles: Int64Array) -> Float64Array:
    """(M, 3) shade on the inside of the arch and towards its back."""
    from fitme.shape.normals import vertex_normals

    normals = vertex_normals(torch.from_numpy(points)[None], torch.from_numpy(triangles))[0].numpy()
    front = points[:, 2].max()
    outwards = points[:, [0, 2]] - np.array([0.0, front - BACK_M])
    outwards[:, 1] = np.maximum(outwards[:, 1], 0.0)
    outwards /= np.maximum(np.linalg.norm(outwards, axis=1, keepdims=True), 1e-9)
    facing = np.clip((normals[:, 0] * outwards[:, 0] + normals[:, 2] * outwards[:, 1] + 0.3) / 0.6, 0.0, 1.0)[:, None]
    behind = np.clip((front - points[:, 2:]) / BACK_M, 0.0, 1.0) ** 1.5
    inner, back = np.array(INNER_SHADE), np.array(BACK_SHADE)
    return np.asarray((inner + (1.0 - inner) * facing) * (1.0 + (back - 1.0) * behind))


def _place_in_quarter(points: Float64Array, part: Int64Array, gums: BoolArray, upper: BoolArray, index: int) -> int:
    """Place of a tooth, 0 at the middle, among those of its row and side."""
    mine = part == index
    side = points[mine, 0].mean() > 0.0
    row = upper[mine][0]
    others = [
        points[part == other, 2].mean()
        for other in np.unique(part[~gums & (upper == row)])
        if (points[part == other, 0].mean() > 0.0) == side
    ]
    return int((np.array(others) > points[mine, 2].mean() + 1e-9).sum())


def _painted(asset: Asset, values: Float64Array) -> UInt8Array:
    """Texels (H, W, C) of values (M, C) at vertices, spread beyond the triangles' edges."""
    from scipy.ndimage import distance_transform_edt

    from fitme.render.cpu.rasterize import rasterize_rows

    clip = np.concatenate([asset.uv * 2.0 - 1.0, np.zeros((len(asset.uv), 1)), np.ones((len(asset.uv), 1))], 1)
    rast = np.zeros((TEXTURE_PX, TEXTURE_PX, 4))
    rasterize_rows(clip, asset.uv_triangles.astype(np.int32), rast, 0, TEXTURE_PX)
    face = np.maximum(rast[..., 3].astype(int) - 1, 0)
    weights = np.stack([rast[..., 0], rast[..., 1], 1.0 - rast[..., 0] - rast[..., 1]], -1)
    texels = (weights[..., None] * values[asset.triangles[face]]).sum(2)
    row, column = distance_transform_edt(rast[..., 3] == 0, return_distances=False, return_indices=True)
    return np.asarray(np.clip(np.rint(texels[row, column]), 0, 255), np.uint8)
