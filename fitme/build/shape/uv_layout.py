"""The project's own UV layout, exactly symmetric about u = 0.5.

The skin fills the upper part of the square: front of the face large and centred, ears at the sides, neck below, scalp
compressed, cut along the back of the head. A strip below holds, from the middle outwards: teeth (upper above lower),
the tongue's halves, the halves of the mouth's inside, the eyeballs.
"""

from dataclasses import dataclass

import numpy as np

from fitme.arrays import BoolArray, Float64Array, Int64Array
from fitme.build.shape.flatten import Rectangle, boundary_loop, flatten, flatten_round
from fitme.build.shape.source_mesh import Part

_SKIN = Rectangle(0.5, 0.002, 0.998, 0.864)
_EYEBALL = Rectangle(0.872, 0.872, 0.998, 0.998)
_ISLANDS = {
    Part.MOUTH_CAVITY: Rectangle(0.752, 0.872, 0.866, 0.998),
    Part.TONGUE: Rectangle(0.646, 0.872, 0.746, 0.998),
    Part.UPPER_TEETH: Rectangle(0.5, 0.872, 0.64, 0.932),
    Part.LOWER_TEETH: Rectangle(0.5, 0.938, 0.64, 0.998),
}
"""Left halves; the right halves are their mirror images."""

_ITERATIONS = 600
_ON_MIDLINE_M = 1e-7

_CROWN_DIRECTION = np.array([0.0, 1.0, -0.25])
"""Direction from the middle of the head to the point where the front midline ends and the cut begins."""
_HEAD_CENTRE_M = np.array([0.0, 0.0, -0.075])
_CUT_ON_TOP = 0.33
"""Share of the cut along the back of the head that lies on the top side of the layout; the rest is its side."""

_FRONT_ANGLE_DEG = (70.0, 135.0)
"""Azimuths between which the target texel density falls from the face's to the back's."""
_FRONT_HEIGHT_M = (0.045, 0.095)
_NECK_HEIGHT_M = (-0.105, -0.135)
_BACK_SCALE, _SCALP_SCALE, _NECK_SCALE = 0.2, 0.22, 0.3
_CAVITY_SCALE = {Part.EYE_CAVITY: 0.3, Part.MOUTH_CAVITY: 0.1}
_FEATURES_CENTRE_M = np.array([0.0, -0.032])
_FEATURES_RADIUS_M = (0.035, 0.085)
_FEATURES_SCALE = 1.4
"""Texel density of eyes, nose and mouth over that of the cheeks, within a disc in the frontal plane."""

_BACK_OF_EYE_DEG = 140.0
_EYE_MAGNIFICATION_RAD = 0.9
"""Polar angle over which the eyeball's front is magnified: radius is 1 − exp(−angle / this)."""


@dataclass(frozen=True)
class UvLayout:
    """A UV vertex for every distinct (vertex, position) pair."""

    uv: Float64Array
    """(T, 2), (0, 0) top-left, v down."""
    triangles: Int64Array
    """(F, 3) indices into `uv`."""


def back_of_eyeballs(template: Float64Array, triangles: Int64Array, part: Int64Array) -> BoolArray:
    """Mask (F,) of the eyeballs' hindmost triangles, which are hidden and left out of the model."""
    mask = np.zeros(len(triangles), bool)
    for value in (Part.EYEBALL_LEFT, Part.EYEBALL_RIGHT):
        mine = part == value
        centre = template[np.unique(triangles[mine])].mean(0)
        corner_angle = _polar_angle(template[triangles] - centre)
        mask |= mine & (corner_angle.max(1) > np.deg2rad(_BACK_OF_EYE_DEG))
    return mask


def lay_out(template: Float64Array, triangles: Int64Array, part: Int64Array, mirror: Int64Array) -> UvLayout:
    """UV layout of a symmetric triangle mesh (V, 3), (F, 3) with `Part`s (F,) and mirror indices (V,)."""
    corner_uv = np.zeros((*triangles.shape, 2))
    left = template[triangles, 0].mean(1) > 0.0
    right = ~left

    skin = np.isin(part, (Part.HEAD, Part.EYE_CAVITY, Part.MOUTH_CAVITY, Part.NECK))
    scale = target_density(template, triangles, part)
    half = left & skin
    uv = _flatten_skin(template, triangles[half], scale[half])
    _write(corner_uv, uv, triangles, left & skin & (part != Part.MOUTH_CAVITY))
    for value, rectangle in _ISLANDS.items():
        mine = left & (part == value)
        piece = triangles[mine]
        if value in (Part.UPPER_TEETH, Part.LOWER_TEETH):
            corners = _teeth_corners(template, piece)
            uv = flatten(template, piece, np.ones(len(piece)), corners, _corner_uv(rectangle), _ITERATIONS)
        else:
            uv = flatten_round(template, piece, rectangle, _ITERATIONS)
        _write(corner_uv, uv, triangles, mine)
    uv = _flatten_eyeball(template, triangles[part == Part.EYEBALL_LEFT], _EYEBALL)
    _write(corner_uv, uv, triangles, part == Part.EYEBALL_LEFT)

    number = {tuple(sorted(t)): index for index, t in enumerate(triangles.tolist())}
    for index in np.flatnonzero(right):
        twin = number[tuple(sorted(mirror[triangles[index]].tolist()))]
        for corner, vertex in enumerate(mirror[triangles[index]]):
            at = int(np.flatnonzero(triangles[twin] == vertex)[0])
            corner_uv[index, corner] = (1.0 - corner_uv[twin, at, 0], corner_uv[twin, at, 1])
    key = np.concatenate([triangles.reshape(-1, 1), np.round(corner_uv.reshape(-1, 2) * 2.0**24)], 1)
    _, first, inverse = np.unique(key, axis=0, return_index=True, return_inverse=True)
    return UvLayout(corner_uv.reshape(-1, 2)[first], inverse.reshape(triangles.shape).astype(np.int64))


def target_density(template: Float64Array, triangles: Int64Array, part: Int64Array) -> Float64Array:
    """Target texel density (F,) per length, relative to that of the face."""
    middle = template[triangles].mean(1)
    azimuth = np.rad2deg(np.abs(np.arctan2(middle[:, 0], middle[:, 2] - _HEAD_CENTRE_M[2])))
    scale = 1.0 - (1.0 - _BACK_SCALE) * _ramp(azimuth, *_FRONT_ANGLE_DEG)
    scale = np.minimum(scale, 1.0 - (1.0 - _SCALP_SCALE) * _ramp(middle[:, 1], *_FRONT_HEIGHT_M))
    scale = np.minimum(scale, 1.0 - (1.0 - _NECK_SCALE) * _ramp(-middle[:, 1], *(-h for h in _NECK_HEIGHT_M)))
    off_centre = np.linalg.norm(middle[:, :2] - _FEATURES_CENTRE_M, axis=1)
    near = (1.0 - _ramp(off_centre, *_FEATURES_RADIUS_M)) * (middle[:, 2] > _HEAD_CENTRE_M[2])
    scale = scale * (1.0 + (_FEATURES_SCALE - 1.0) * near)
    for value, factor in _CAVITY_SCALE.items():
        scale[part == value] = factor
    return np.asarray(scale)


def _ramp(x: Float64Array, start: float, end: float) -> Float64Array:
    t = np.clip((x - start) / (end - start), 0.0, 1.0)
    return np.asarray(t * t * (3.0 - 2.0 * t))


def _write(corner_uv: Float64Array, uv: Float64Array, triangles: Int64Array, mask: BoolArray) -> None:
    corner_uv[mask] = uv[triangles[mask]]


def _corner_uv(r: Rectangle) -> Float64Array:
    """Corners in the order of a boundary loop: top-left, bottom-left, bottom-right, top-right."""
    return np.array([[r.left, r.top], [r.left, r.bottom], [r.right, r.bottom], [r.right, r.top]])


def _flatten_skin(template: Float64Array, half: Int64Array, scale: Float64Array) -> Float64Array:
    loop = boundary_loop(half)
    x = template[loop]
    middle = np.abs(x[:, 0]) < _ON_MIDLINE_M
    height_below_neck = x[:, 1] < -0.1
    neck = middle & (np.roll(~middle, 1) | np.roll(~middle, -1)) & height_below_neck
    ends = loop[neck]
    if len(ends) != 2:
        raise ValueError("the skin's half must have one neck hole")
    front, back = ends[np.argsort(-template[ends, 2])]
    direction = x - _HEAD_CENTRE_M
    direction /= np.linalg.norm(direction, axis=1, keepdims=True)
    outer = middle & (x[:, 1] > 0.05)
    aim = _CROWN_DIRECTION / np.linalg.norm(_CROWN_DIRECTION)
    crown = int(loop[outer][np.argmax(direction[outer] @ aim)])
    turned = np.roll(loop, -int(np.flatnonzero(loop == back)[0]))
    cut = turned[: int(np.flatnonzero(turned == crown)[0]) + 1]
    lengths = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(template[cut], axis=0), axis=1))])
    turn = int(cut[np.argmin(np.abs(lengths / lengths[-1] - (1.0 - _CUT_ON_TOP)))])
    return flatten(template, half, scale, (crown, int(front), int(back), turn), _corner_uv(_SKIN), _ITERATIONS)


def _teeth_corners(template: Float64Array, piece: Int64Array) -> tuple[int, int, int, int]:
    """Corners of half a row of teeth: its two ends on the midline, then its two ends at the back."""
    loop = boundary_loop(piece)
    middle = np.abs(template[loop, 0]) < _ON_MIDLINE_M
    first = int(np.flatnonzero(middle & ~np.roll(middle, 1))[0])
    loop, middle = np.roll(loop, -first), np.roll(middle, -first)
    count = int(middle.sum())
    back = template[loop, 2] < template[loop, 2].min() + 2e-3
    ends = np.flatnonzero(back)
    return int(loop[0]), int(loop[count - 1]), int(loop[ends[0]]), int(loop[ends[-1]])


def _polar_angle(offset: Float64Array) -> Float64Array:
    return np.asarray(np.arctan2(np.hypot(offset[..., 0], offset[..., 1]), offset[..., 2]))


def _flatten_eyeball(template: Float64Array, piece: Int64Array, r: Rectangle) -> Float64Array:
    used = np.unique(piece)
    low, high = template[used].min(0), template[used].max(0)
    centre = np.array([(low[0] + high[0]) / 2.0, (low[1] + high[1]) / 2.0, high[2] - (high[1] - low[1]) / 2.0])
    offset = template[used] - centre
    angle = _polar_angle(offset)
    radius = 1.0 - np.exp(-angle / _EYE_MAGNIFICATION_RAD)
    radius *= 0.5 * (r.right - r.left) / radius.max()
    across = np.maximum(np.hypot(offset[:, 0], offset[:, 1]), 1e-12)
    uv = np.zeros((len(template), 2))
    uv[used, 0] = (r.left + r.right) / 2.0 + radius * offset[:, 0] / across
    uv[used, 1] = (r.top + r.bottom) / 2.0 - radius * offset[:, 1] / across
    return uv
