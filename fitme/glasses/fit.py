"""Fit of one person's glasses to the images of a fitted head."""

from collections.abc import Sequence

import numpy as np
import torch

from fitme.arrays import Float32Array, Float64Array
from fitme.geometry import rotation_matrix
from fitme.glasses.glasses import BRIDGE_POINTS, CURVES, POINTS, RIM_POINTS, TEMPLE_POINTS, Glasses
from fitme.glasses.rims import (
    BLUR_M,
    DIRECTIONS,
    LEAST_HALF_WIDTH_M,
    Rims,
    contrasts_of,
    directions,
    extent,
    find_rims,
    levels_of,
    open_path,
)
from fitme.glasses.settings import GlassesSettings
from fitme.glasses.sheet import STEP_M, GlassesFrame, Sheet, at_places, resampled, usual_sheet
from fitme.render.shading import sh_basis
from fitme.shape.morphable_model import MorphableModel
from fitme.shape.regions import Region

FRONTAL_YAW_RAD = 0.4
"""Yaw of heads in which rims are searched, at most: the far rim of others is hidden."""
PARALLAX_YAW_RAD, LARGEST_YAW_RAD = 0.2, 0.6
"""Yaw from that of the heads in which rims are searched from which an image shows how far before the eyes the rims are;
largest yaw."""
DEPTHS_M = (-0.006, -0.003, 0.0, 0.003, 0.006, 0.009)
"""Depths that are compared, from the usual one on."""
BRIDGE_ROWS_M = (-0.008, 0.016)
"""Heights between which the bridge is searched."""
BRIDGE_SHARE = 0.5
"""Median contrast of a bridge that is seen, over what rims must have."""
BRIDGE_WIDTH, BRIDGE_RISE_M = 0.9, 0.003
"""Width over that of rims, and height above the rims' middles, of a bridge that is not seen."""
WIDEST_BRIDGE, BRIDGE_FORWARDS_M = 2.5, 0.0015
"""Largest width over that of a bridge that is not seen; how far bridges bend forwards."""
HINGE_HEIGHT = 0.5
"""Height of hinges between the middle and the top of a rim."""
HINGE_OUT_M = 0.005
"""How far temples begin beside the rim, and behind it."""
TEMPLE_GAP_M = 0.0025
"""Distance of temples from the skin."""
TEMPLE_NEIGHBOURS_M = 0.012
"""Distance, along y and z, within which vertices of the head keep a temple off."""
TEMPLE_WIDTH, LEAST_TEMPLE_M = 1.0, 0.0009
"""Half-width over that of rims, and its lower bound."""
HOOK_M = (0.010, 0.028)
"""How far temples reach behind the top of the ear, and down from there."""
ALBEDO_RANGE = (0.004, 0.9)
LEAST_SHADING = 0.1
"""Shading by which colours are divided at least."""
INSIDE_SHARES, OUTSIDE_M = (0.6, 0.75, 0.85), (0.003, 0.005, 0.007)
"""Where skin is compared within and without a rim: shares of the radius, and distances from the rim."""
TINTED_BELOW = 0.4
"""Brightness of skin behind lenses over that beside them below which lenses are tinted."""
CLEARANCE_M, NEIGHBOURS_M, LARGEST_PUSH_M, CLEAR_QUANTILE = 0.002, 0.004, 0.008, 0.8
"""Distance of rims from the skin; distance of the vertices that are looked at; how far rims are pushed forwards; share
of a rim that clears the skin when a frame is moved as a whole."""
CLEAR_OPACITY = np.zeros(1, np.float32)


def fit_glasses(
    model: MorphableModel, neutral: Float32Array, frames: Sequence[GlassesFrame], settings: GlassesSettings
) -> Glasses | None:
    """Glasses on a neutral head (V, 3) in frames of it; None if the person wears none. Some 0.1 s for six frames."""
    yaws = np.array([frame.pose.yaw_pitch_roll()[0] for frame in frames])
    order = [index for index in np.argsort(np.abs(yaws)) if abs(yaws[index]) < FRONTAL_YAW_RAD][: settings.frames]
    if not order:
        return None
    sheet = usual_sheet(model, neutral)
    frontal = [frames[index] for index in order]
    images = [resampled(frame, sheet) for frame in frontal]
    rims = find_rims(images, settings)
    if rims is None:
        return None
    from_them = np.abs(yaws - yaws[order].mean())
    useful = (from_them > PARALLAX_YAW_RAD) & (np.abs(yaws) < LARGEST_YAW_RAD)
    turned = [frame for frame, shows in zip(frames, useful, strict=True) if shows]
    if turned:
        sheet = _placed(sheet, rims, turned[: settings.frames])
        images = [resampled(frame, sheet) for frame in frontal]
        rims = find_rims(images, settings) or rims
    return _assembled(model, neutral, sheet, rims, images, frontal, settings)


def _placed(sheet: Sheet, rims: Rims, frames: Sequence[GlassesFrame]) -> Sheet:
    """The sheet at the depth at which turned heads show the rims where frontal ones do."""

    def contrast(forwards_m: float) -> float:
        shown = [_contrast_along(resampled(frame, sheet.moved(forwards_m)), rims) for frame in frames]
        return float(np.median(shown))

    found = [contrast(depth) for depth in DEPTHS_M]
    return sheet.moved(DEPTHS_M[int(np.argmax(found))])


def _contrast_along(image: Float32Array, rims: Rims) -> float:
    """Median contrast of the rims in an image on the sheet, each side by itself: the nearer one is seen."""
    outward = directions()[None]
    aside = rims.half_width_m[..., None] + 0.002
    levels = [
        levels_of(at_places(image, rims.middle + shift))[rims.kind]
        for shift in (0.0, -aside * outward, aside * outward)
    ]
    return float(np.median(levels[0] - np.maximum(levels[1], levels[2]), axis=1).max())


def _assembled(
    model: MorphableModel,
    neutral: Float32Array,
    sheet: Sheet,
    rims: Rims,
    images: Sequence[Float32Array],
    frames: Sequence[GlassesFrame],
    settings: GlassesSettings,
) -> Glasses:
    """All curves of the glasses, with widths and colours."""
    step = DIRECTIONS // RIM_POINTS
    rim_places, rim_widths = rims.middle[:, ::step], rims.half_width_m[:, ::step]
    bridge, bridge_width = _bridge(rims, images, settings)
    widths = np.zeros(POINTS)
    points = np.zeros((POINTS, 3), np.float32)
    usual = float(np.median(rims.half_width_m))
    for side in (0, 1):
        points[CURVES[side].place] = sheet.points(rim_places[side])
        widths[CURVES[side].place] = rim_widths[side]
    # Frames clear the cheeks as a whole, and bend round the sides of the nose.
    points[: 2 * RIM_POINTS, 2] += np.quantile(_pushed(neutral, points[: 2 * RIM_POINTS]), CLEAR_QUANTILE)
    points[: 2 * RIM_POINTS, 2] += _pushed(neutral, points[: 2 * RIM_POINTS])
    points[CURVES[2].place] = sheet.points(bridge)
    points[CURVES[2].place, 2] += _pushed(neutral, points[CURVES[2].place])
    points[CURVES[2].place, 2] += BRIDGE_FORWARDS_M * np.sin(np.linspace(0.0, np.pi, BRIDGE_POINTS)).astype(np.float32)
    widths[CURVES[2].place] = bridge_width
    for side in (0, 1):
        points[CURVES[3 + side].place] = _temple(model, neutral, points[CURVES[side].place], side)
        widths[CURVES[3 + side].place] = max(TEMPLE_WIDTH * usual, LEAST_TEMPLE_M)
    shading = [_shading(frame) for frame in frames]
    albedo = np.zeros((POINTS, 3), np.float32)
    for curve, places in ((0, rim_places[0]), (1, rim_places[1]), (2, bridge)):
        shown = [at_places(image, places) / light for image, light in zip(images, shading, strict=True)]
        albedo[CURVES[curve].place] = np.median(shown, axis=0)
    for side in (0, 1):
        # Temples are hardly seen from the front: they have the colour of their side's outer rim.
        outer = np.cos(2.0 * np.pi * np.arange(RIM_POINTS) / RIM_POINTS) * (1.0 if side == 0 else -1.0) > 0.7
        albedo[CURVES[3 + side].place] = np.median(albedo[CURVES[side].place][outer], axis=0)
    albedo = np.clip(albedo, *ALBEDO_RANGE).astype(np.float32)
    return Glasses(points, widths.astype(np.float32), albedo, _lens_opacity(rims, images))


def _shading(frame: GlassesFrame) -> Float32Array:
    """(3,) irradiance / pi on what faces forwards."""
    forwards = rotation_matrix(frame.pose.rotation.astype(np.float64))[:, 2]
    basis = sh_basis(torch.from_numpy(np.asarray(forwards, np.float32))).numpy()
    return np.maximum(basis @ frame.light_sh, LEAST_SHADING).astype(np.float32)


def _bridge(rims: Rims, images: Sequence[Float32Array], settings: GlassesSettings) -> tuple[Float64Array, float]:
    """(BRIDGE_POINTS, 2) places of the bridge, from the left rim to the right one, and half its width in metres."""
    inner = float(rims.middle[0, :, 0].min()), float(rims.middle[1, :, 0].max())
    columns = np.linspace(inner[0], inner[1], max(round((inner[0] - inner[1]) / STEP_M), BRIDGE_POINTS))
    rows = np.arange(BRIDGE_ROWS_M[1], BRIDGE_ROWS_M[0], -STEP_M)
    places = np.stack(np.meshgrid(columns, rows), -1)
    level = np.median([levels_of(at_places(image, places))[rims.kind] for image in images], 0)
    contrast = contrasts_of(level[None, None].astype(np.float32))[0, 0]
    path = open_path(contrast)
    seen = float(np.median(contrast[path, np.arange(len(columns))]))
    height, width = rows[path], BRIDGE_WIDTH * float(np.median(rims.half_width_m))
    extents = [extent(level[:, column], int(row)) for column, row in enumerate(path)]
    if seen < BRIDGE_SHARE * settings.least_contrast[rims.kind]:
        height = np.full(len(columns), float(rims.middle[..., 1].mean()) + BRIDGE_RISE_M)
    else:
        height = np.array([0.5 * (rows[low] + rows[high]) for low, high in extents])
        counted = 0.5 * STEP_M * float(np.median([high - low + 1 for low, high in extents]))
        width = min(max(counted - BLUR_M, LEAST_HALF_WIDTH_M), WIDEST_BRIDGE * width)
    line = np.stack([columns, height], 1)
    # Rims recede above and below: the bridge goes on to their nearest points.
    ends = [
        rims.middle[side, np.linalg.norm(rims.middle[side] - line[end], axis=1).argmin()]
        for side, end in ((0, 0), (1, -1))
    ]
    whole = np.concatenate([ends[:1], line, ends[1:]])
    along = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(whole, axis=0), axis=1))])
    wanted = np.linspace(0.0, along[-1], BRIDGE_POINTS)
    return np.stack([np.interp(wanted, along, whole[:, axis]) for axis in (0, 1)], 1), width


def _pushed(neutral: Float32Array, points: Float32Array) -> Float32Array:
    """(N,) by how much points (N, 3) are to be moved forwards to lie clear of a head (V, 3)."""
    front = neutral[neutral[:, 2] > 0.0]
    near = np.linalg.norm(front[None, :, :2] - points[:, None, :2], axis=-1) < NEIGHBOURS_M
    counts = near.sum(1)
    skin = np.where(counts > 0, (near @ front[:, 2]) / np.maximum(counts, 1), -np.inf)
    return np.clip(skin + CLEARANCE_M - points[:, 2], 0.0, LARGEST_PUSH_M).astype(np.float32)


def _temple(model: MorphableModel, neutral: Float32Array, rim: Float32Array, side: int) -> Float32Array:
    """(TEMPLE_POINTS, 3) from the hinge over the top of the ear and down behind it."""
    sign = 1.0 if side == 0 else -1.0
    height = rim[:, 1].mean() + HINGE_HEIGHT * (rim[:, 1].max() - rim[:, 1].mean())
    hinge = rim[np.argmax(sign * rim[:, 0] - np.abs(rim[:, 1] - height))]
    corner = hinge + np.array([sign * HINGE_OUT_M, 0.0, -HINGE_OUT_M], np.float32)
    ear = neutral[model.vertex_mask(Region.EARS).numpy() & (sign * neutral[:, 0] > 0.0)]
    # A temple lies in the angle between the head and the top of the ear.
    top = ear[ear[:, 1] > np.quantile(ear[:, 1], 0.85)]
    root = np.array([sign * np.quantile(np.abs(top[:, 0]), 0.3), top[:, 1].max(), top[:, 2].mean()], np.float32)
    behind = root - np.array([0.0, 0.25 * HOOK_M[1], HOOK_M[0]], np.float32)
    down = root - np.array([0.0, HOOK_M[1], 1.6 * HOOK_M[0]], np.float32)
    straight = corner + np.linspace(0.0, 1.0, TEMPLE_POINTS - 3, dtype=np.float32)[:, None] * (root - corner)
    line = np.concatenate([hinge[None], straight, behind[None], down[None]])
    for point in line[2:]:
        near = np.abs(neutral[:, 1:] - point[1:]).max(1) < TEMPLE_NEIGHBOURS_M
        near &= ~model.vertex_mask(Region.EARS).numpy() & (sign * neutral[:, 0] > 0.0)
        if near.any():
            point[0] = sign * max(abs(float(point[0])), float(np.abs(neutral[near, 0]).max()) + TEMPLE_GAP_M)
    return np.asarray(line, np.float32)


def _lens_opacity(rims: Rims, images: Sequence[Float32Array]) -> Float32Array:
    """(1,) opacity of the lenses by the cheeks within and without the lower rims; 0 of clear ones."""
    below = directions()[:, 1] < -0.3
    outward = directions()[below]
    radius, width = rims.radius_m[:, below, None], rims.half_width_m[:, below, None]
    middle = rims.middle[:, below] - radius * outward
    within = np.stack([middle + share * (radius - width) * outward for share in INSIDE_SHARES])
    without = np.stack([middle + (radius + width + distance) * outward for distance in OUTSIDE_M])
    ratios = [
        np.median(at_places(i, within).mean(-1)) / max(np.median(at_places(i, without).mean(-1)), 1e-4) for i in images
    ]
    ratio = float(np.median(ratios))
    return np.array([1.0 - ratio], np.float32) if ratio < TINTED_BELOW else CLEAR_OPACITY.copy()
