"""Fine relief of skin from the detail of its albedo.

Mesoscopic augmentation (Beeler et al., "High-Quality Single-Shot Capture of Facial Geometry", ACM Transactions on
Graphics 2010, section 6): small hollows receive less light, so what is dark beside its surroundings lies deeper. Images
show no normals: observed and synthesised skin get their relief by one rule, and no seam between them.
"""

import numpy as np

from fitme.arrays import Float32Array
from fitme.color import LUMINANCE
from fitme.fit.texture.skin.detail import SKIN_REGIONS
from fitme.fit.texture.skin.mask import OFFSET
from fitme.fit.texture.texel_blur import low_pass, map_low_pass
from fitme.fit.texture.unprojection import TexelTable
from fitme.reflectance.skin_detail import REFERENCE_RESOLUTION

COARSEST_TEXELS = 0.9
"""Standard deviation of the Gaussian above whose size detail begins, texels of maps of 512 a side."""
HEIGHT_TEXELS = 1.5
"""Height per unit of the logarithm of luminance, texels of maps of 512 a side."""
LARGEST_CONTRAST = 0.12
"""Logarithm of luminance over that of the surroundings beyond which the height does not change: pigment and hair."""
STEEPEST_NORMAL_Z = 1e-3
"""Lower bound of the z of normals whose slopes are taken."""
HAIR_LOG, HAIR_TOLERANCE = 0.25, 0.25
"""Logarithm by which a place is darker than the skin around it from which it counts as hair, and over which relief
fades there."""
HAIR_SIGMA, AROUND_SIGMA = 0.004, 0.03
"""Standard deviations of the Gaussians over such a place and the skin around it, as shares of the map's side."""


def with_relief(table: TexelTable, normals: Float32Array, albedo: Float32Array) -> Float32Array:
    """(1, R, R, 3) unit tangent-space normals with the relief of the albedo's detail added.

    :param albedo: (N, 3) linear, of the table's texels.
    """
    unit = table.resolution / REFERENCE_RESOLUTION
    inside = table.within(SKIN_REGIONS)[:, None].astype(np.float32)
    light = (np.log(albedo + OFFSET) @ LUMINANCE)[:, None]
    mask = table.to_map(inside)[..., 0]
    values = table.to_map(light * inside)[..., 0]
    surroundings = map_low_pass(values, mask, COARSEST_TEXELS * unit)
    height = HEIGHT_TEXELS * unit * LARGEST_CONTRAST * np.tanh((values - surroundings) / LARGEST_CONTRAST)

    # Brows and beards are hair, whose contrast is no relief.
    darker = low_pass(table, light, inside, AROUND_SIGMA) - low_pass(table, light, inside, HAIR_SIGMA)
    bare = inside * (1.0 - np.clip((darker - HAIR_LOG) / HAIR_TOLERANCE, 0.0, 1.0))
    height *= table.to_map(bare.astype(np.float32))[..., 0]

    # A surface that rises along u leans back: its normal has a negative slope there. Rows run downwards.
    along, down = np.gradient(height, axis=1), np.gradient(height, axis=0)
    slopes = normals[0, ..., :2] / np.maximum(normals[0, ..., 2:], STEEPEST_NORMAL_Z) + np.stack([-along, down], -1)
    vectors = np.concatenate([slopes, np.ones_like(slopes[..., :1])], -1)
    return np.asarray(vectors / np.linalg.norm(vectors, axis=-1, keepdims=True), np.float32)[None]
