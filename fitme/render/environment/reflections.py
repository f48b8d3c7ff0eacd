"""Specular light of a panorama by the split sum: panoramas blurred for several roughnesses, and a table of the BRDF.

Karis, "Real Shading in Unreal Engine 4", SIGGRAPH 2013 course notes. The light that a rough surface mirrors is the
product of two sums: radiance weighted by a lobe of GGX round the mirrored direction (here by quadrature over all texels
instead of samples), and factor and offset of the reflectance at normal incidence, a function of view angle and
roughness. `client/renderer/reflections.js` is the same for the page.
"""

from dataclasses import dataclass
from functools import cache

import cv2
import numpy as np

from fitme.arrays import Float32Array, Float64Array, Int32Array
from fitme.render.cpu.kernel import kernel
from fitme.render.environment.panorama import (
    COLUMNS,
    ROWS,
    Environment,
    panorama_directions,
    texel_solid_angles,
)

LEVELS = 6
"""Panoramas, each half as large as the one before; level k is blurred for the roughness k / (`LEVELS` - 1)."""
SOURCE_ROWS, SOURCE_COLUMNS = ROWS // 2, COLUMNS // 2
"""Size of the panorama that the blurred ones are integrated over."""
TABLE_SIZE = 32
"""Entries a side of the table of the BRDF, at the middles of equal intervals of [0, 1]."""
TABLE_SAMPLES = 256
"""Half vectors that one entry is integrated over."""
LOBE_CUT = 1e-3
"""Share of its peak below which a lobe is left out."""


@dataclass(frozen=True, eq=False)
class Reflections:
    """Blurred panoramas of one environment, for the forward renderer."""

    texels: Float32Array
    """(N, 3) radiance of all levels, one after the other, row by row."""
    levels: Int32Array
    """(`LEVELS`, 3) of each level: index of its first texel, rows, columns."""
    turn: float
    """Turn of the surroundings about the vertical axis, in full turns."""

    def level(self, index: int) -> Float32Array:
        """(R, C, 3) panorama of a level."""
        first, rows, columns = self.levels[index].tolist()
        return self.texels[first : first + rows * columns].reshape(rows, columns, 3)


def reflections_of(environment: Environment, turn_rad: float = 0.0) -> Reflections:
    """Blurred panoramas of surroundings that are turned by an angle: some 0.1 s."""
    panorama = environment.panorama
    source = cv2.resize(panorama, (SOURCE_COLUMNS, SOURCE_ROWS), interpolation=cv2.INTER_AREA)
    directions = panorama_directions(SOURCE_ROWS, SOURCE_COLUMNS)
    weights = texel_solid_angles(SOURCE_ROWS, SOURCE_COLUMNS).reshape(-1)
    parts, table, first = [panorama.reshape(-1, 3)], [(0, ROWS, COLUMNS)], ROWS * COLUMNS
    for level in range(1, LEVELS):
        rows, columns = ROWS >> level, COLUMNS >> level
        towards = panorama_directions(rows, columns).reshape(-1, 3)
        alpha = (level / (LEVELS - 1)) ** 2
        blurred = _blurred(towards, directions, weights, source.astype(np.float64), alpha, LOBE_CUT)
        parts.append(blurred.astype(np.float32))
        table.append((first, rows, columns))
        first += rows * columns
    return Reflections(
        np.ascontiguousarray(np.concatenate(parts), np.float32), np.array(table, np.int32), turn_rad / (2.0 * np.pi)
    )


def roughness_of(shininess: Float64Array) -> Float64Array:
    """Roughness of GGX lobes as broad as Blinn-Phong lobes: alpha^2 = 2 / (s + 2), roughness = sqrt(alpha)."""
    return np.asarray((2.0 / (shininess + 2.0)) ** 0.25)


@kernel
def _blurred(
    towards: Float64Array,
    directions: Float64Array,
    weights: Float64Array,
    radiance: Float64Array,
    alpha: float,
    cut: float,
) -> Float64Array:
    """Mean radiance (N, 3) round unit vectors (N, 3), weighted by GGX's distribution and the cosine; n = v = r.

    :param directions: (R, C, 3) unit vectors of the texels; weights: (R,) their solid angles; radiance: (R, C, 3).
    """
    out = np.zeros((towards.shape[0], 3))
    squared = alpha * alpha
    # The distribution over its peak is fall^2 at half the angle, whose cos^2 is (1 + cos) / 2; cut beyond `lowest`.
    lowest = max(2.0 * (1.0 - squared / np.sqrt(cut)) / (1.0 - squared) - 1.0, 0.0) if squared < 1.0 else 0.0
    for index in range(towards.shape[0]):
        x, y, z = towards[index, 0], towards[index, 1], towards[index, 2]
        total = 0.0
        for row in range(directions.shape[0]):
            # The nearest that a direction of this row comes is at the same azimuth.
            level = directions[row, 0, 1]
            if y * level + np.sqrt(max((1.0 - y * y) * (1.0 - level * level), 0.0)) <= lowest:
                continue
            for column in range(directions.shape[1]):
                cosine = (
                    x * directions[row, column, 0] + y * directions[row, column, 1] + z * directions[row, column, 2]
                )
                if cosine <= lowest:
                    continue
                fall = squared / (1.0 + 0.5 * (cosine + 1.0) * (squared - 1.0))
                weight = fall * fall * cosine * weights[row]
                total += weight
                for channel in range(3):
                    out[index, channel] += weight * radiance[row, column, channel]
        for channel in range(3):
            out[index, channel] /= max(total, 1e-12)
    return out


@cache
def split_sum_table() -> Float32Array:
    """(`TABLE_SIZE`, `TABLE_SIZE`, 2) factor and offset of the reflectance at normal incidence: rows by roughness,
    columns by the cosine between normal and viewer."""
    middles = (np.arange(TABLE_SIZE) + 0.5) / TABLE_SIZE
    roughness, facing = middles[:, None, None], middles[None, :, None]
    alpha = roughness**2
    # Half vectors of a golden-ratio lattice, distributed as GGX has them.
    index = np.arange(TABLE_SAMPLES)
    first = (index + 0.5) / TABLE_SAMPLES
    second = (index * 0.6180339887498949) % 1.0
    cos_half = np.sqrt((1.0 - first) / (1.0 + (alpha**2 - 1.0) * first))
    sin_half = np.sqrt(np.maximum(1.0 - cos_half**2, 0.0))
    viewer_x, viewer_z = np.sqrt(1.0 - facing**2), facing
    view_half = viewer_x * sin_half * np.cos(2.0 * np.pi * second) + viewer_z * cos_half
    cos_light = 2.0 * view_half * cos_half - viewer_z
    # Smith's shadowing with Schlick's approximation, k = alpha / 2 for surroundings (Karis, eq. 4).
    k = alpha / 2.0
    shadowing = facing / (facing * (1.0 - k) + k) * cos_light / (cos_light * (1.0 - k) + k)
    visible = np.where(cos_light > 0.0, shadowing * view_half / (cos_half * facing), 0.0)
    fresnel = (1.0 - np.clip(view_half, 0.0, 1.0)) ** 5
    table = np.stack([((1.0 - fresnel) * visible).mean(-1), (fresnel * visible).mean(-1)], -1)
    return np.ascontiguousarray(table, np.float32)
