"""Clothes for a synthetic head: a jumper whose high collar covers the neck's rim and does not turn with the head."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from fitme.arrays import BoolArray, Float32Array, Float64Array, Int32Array
from fitme.reflectance.maps import ReflectanceMaps
from fitme.shape.morphable_model import MorphableModel
from fitme.shape.regions import Region

_COLLAR_M = np.array(
    [
        [-0.139, 0.000, -0.002, -0.002],
        [-0.134, 0.000, 0.006, 0.006],
        [-0.142, 0.001, 0.010, 0.010],
        [-0.156, 0.002, 0.011, 0.011],
        [-0.168, 0.002, 0.012, 0.012],
    ]
)
"""Rings of the collar from its edge down: y; then, beyond the neck's own, z of the centre, half axes in x and z."""
_SHOULDERS_M = np.array(
    [
        [-0.178, -0.077, 0.098, 0.090],
        [-0.188, -0.079, 0.130, 0.096],
        [-0.206, -0.083, 0.172, 0.104],
        [-0.232, -0.086, 0.203, 0.112],
        [-0.270, -0.088, 0.220, 0.120],
        [-0.340, -0.088, 0.228, 0.128],
        [-0.460, -0.088, 0.232, 0.134],
    ]
)
"""Horizontal ellipses from the collar down, frame of the straight head: y and z of the centre, half axes in x, z."""
_COLLAR_SECTION_M = (-0.155, -0.12)
"""Heights between which the neck's section determines the collar's size, model frame."""
_NECK_TOP_M, _NECK_BASE_M = -0.075, -0.145
"""Heights of the neck: above the first it turns with the head, below the second with the shoulders."""
_ROWS_PER_ELLIPSE = 3
_COLUMNS = 64
_STRIP_SHARE = 1 / 16
"""Height of the strip below the head's map that holds the clothes, as a share of that map."""
NECK_PIVOT_M = (0.0, -0.11, -0.075)
"""Point about which a head turns, model frame."""


@dataclass(frozen=True)
class ClothedHead:
    """Head with clothes as one mesh for the renderer; the UV layout is the head's with a strip below."""

    triangles: Tensor
    """(F, 3) int32."""
    uv: Tensor
    """(T, 2) float32."""
    uv_triangles: Tensor
    """(F, 3) int32."""
    body: Float32Array
    """(N, 3) vertices of the clothes, metres, model frame."""
    bends: BoolArray
    """(V,) mask of the vertices of the neck, which bend."""

    def vertices(
        self,
        head: Float32Array,  # (V, 3) metres, model frame
        head_rotation: Float32Array,  # (3, 3) model to view
        body_rotation: Float32Array,  # (3, 3) model to view
    ) -> Float32Array:
        """Vertices (V + N, 3) of head and clothes, both in the head's frame, rotated about the neck's pivot."""
        # The renderer applies the head's rotation to all vertices: undo it for the clothes and, by weight, the neck.
        pivot = np.array(NECK_PIVOT_M, np.float32)
        back = (head_rotation.T @ body_rotation).T
        follows = np.clip((_NECK_TOP_M - head[:, 1:2]) / (_NECK_TOP_M - _NECK_BASE_M), 0.0, 1.0)
        weight = np.where(self.bends[:, None], follows * follows * (3.0 - 2.0 * follows), 0.0).astype(np.float32)
        bent = head + weight * ((head - pivot) @ back + pivot - head)
        return np.asarray(np.concatenate([bent, (self.body - pivot) @ back + pivot]), np.float32)


def add_clothes(model: MorphableModel, neutral: Float32Array) -> ClothedHead:
    """Mesh of a model with clothes that fit a neutral head (V, 3), metres."""
    body, body_uv, triangles = jumper(neutral[model.vertex_mask(Region.NECK).numpy()])
    head_scale = torch.tensor([1.0, 1.0 / (1.0 + _STRIP_SHARE)])
    corner = torch.tensor([0.0, 1.0]) * head_scale
    strip_uv = torch.from_numpy(body_uv) * torch.tensor([1.0, 1.0 - float(head_scale[1])]) + corner
    shifted = torch.from_numpy(triangles)
    return ClothedHead(
        torch.cat([model.triangles, shifted + model.vertex_count]).int(),
        torch.cat([model.uv * head_scale, strip_uv]).float(),
        torch.cat([model.uv_triangles, shifted + len(model.uv)]).int(),
        body,
        (model.vertex_mask(Region.NECK) & ~model.vertex_mask(Region.SKIN, Region.SCALP)).numpy(),
    )


def jumper(neck: Float32Array) -> tuple[Float32Array, Float32Array, Int32Array]:
    """Mesh of a jumper whose collar fits around the points of a neck (N, 3), metres: vertices (M, 3) in the same frame,
    texture coordinates (M, 2) in [0, 1], triangles (F, 3), counter-clockwise from outside."""
    return _jumper(_profile(neck))


def maps_with_cloth(maps: ReflectanceMaps, color: tuple[float, float, float], specular: float = 0.1) -> ReflectanceMaps:
    """Maps of the head (1, H, W, ...) with a strip of ribbed cloth of the given linear colour below."""
    width = maps.diffuse.shape[2]
    rows = round(maps.diffuse.shape[1] * _STRIP_SHARE)
    ribs = 1.0 - 0.12 * torch.sin(torch.arange(width) * (2.0 * torch.pi / 4.0)).square()
    diffuse = (ribs[:, None] * torch.tensor(color)).expand(1, rows, width, 3)
    normals = torch.tensor([0.0, 0.0, 1.0]).expand(1, rows, width, 3)
    cloth = ReflectanceMaps(diffuse, torch.full((1, rows, width, 1), specular), normals)
    return maps.mapped(lambda _, skin, strip: torch.cat([skin, strip], 1), cloth)


def _profile(neck: Float32Array) -> Float64Array:
    """Ellipses (rows, 4) of a jumper whose collar fits around the points of a neck (N, 3), metres."""
    low, high = _COLLAR_SECTION_M
    section = neck[(neck[:, 1] > low) & (neck[:, 1] < high)]
    near, far = section[:, 2].max(), section[:, 2].min()
    size = np.array([0.0, (near + far) / 2.0, np.abs(section[:, 0]).max(), (near - far) / 2.0])
    return np.concatenate([_COLLAR_M + size, _SHOULDERS_M])


def _jumper(
    profile: Float64Array,
) -> tuple[Float32Array, Float32Array, Int32Array]:
    """Mesh of the jumper: vertices (N, 3), texture coordinates (N, 2) in the strip, triangles (F, 3), counter-clockwise
    from outside."""
    count = len(profile)
    steps = np.linspace(0.0, count - 1.0, _ROWS_PER_ELLIPSE * count)
    rows = np.stack([np.interp(steps, np.arange(count), column) for column in profile.T], -1)
    turn = np.arange(_COLUMNS + 1) / _COLUMNS
    angle = 2.0 * np.pi * turn
    x = rows[:, 2, None] * np.sin(angle)
    y = np.broadcast_to(rows[:, 0, None], x.shape)
    z = rows[:, 1, None] + rows[:, 3, None] * np.cos(angle)
    down = np.broadcast_to(steps[:, None] / (count - 1.0), x.shape)
    margin = 0.2  # keeps bilinear look-ups away from the head's part of the map
    uv = np.stack([np.broadcast_to(turn, x.shape), margin + (1.0 - 2.0 * margin) * down], -1)
    stride = _COLUMNS + 1
    upper = (np.arange(len(rows) - 1)[:, None] * stride + np.arange(_COLUMNS)).ravel()
    first = np.stack([upper, upper + stride, upper + stride + 1], -1)
    second = np.stack([upper, upper + stride + 1, upper + 1], -1)
    vertices = np.stack([x, y, z], -1).reshape(-1, 3).astype(np.float32)
    return vertices, uv.reshape(-1, 2).astype(np.float32), np.concatenate([first, second]).astype(np.int32)
