"""Areas and densities of scalp hair, brows, beard and lashes. Maps are (H, W) float32 in [0, 1]."""

from functools import lru_cache

import numpy as np

from fitme.arrays import Float32Array, RealArray
from fitme.shape.regions import Region
from fitme.skin.attributes import SkinAttributes
from fitme.skin.texel_geometry import TexelGeometry

HAIRLINE = np.array([
    (-0.2, 0.108), (0.06, 0.104), (0.12, 0.103), (0.18, 0.120), (0.23, 0.170), (0.25, 0.215), (0.285, 0.255),
    (0.312, 0.300), (0.317, 0.355), (0.342, 0.372), (0.362, 0.300), (0.385, 0.272), (0.435, 0.270), (0.463, 0.300),
    (0.466, 0.440), (0.452, 0.520), (0.460, 0.585), (0.52, 0.625), (0.52, -0.05), (-0.2, -0.05),
])  # fmt: skip
"""Outline of the hair on the head as (|u - 0.5|, v): forehead, temple, sideburn, round the ear, nape. Points beyond
the axis of symmetry keep the axis from being an edge."""
_FOREHEAD_POINTS, _TEMPLE_POINTS = slice(0, 4), slice(2, 6)

LONG_HAIR = np.array([
    (0.23, 0.160), (0.262, 0.230), (0.272, 0.350), (0.280, 0.480), (0.300, 0.600), (0.310, 0.720), (0.320, 0.90),
    (0.52, 0.90), (0.52, 0.10), (0.30, 0.10),
])  # fmt: skip
"""Outline of long hair beside the face, in front of the ears."""
LONG_HAIR_SHIFT = 0.05
"""Additional distance from the face of the shortest long hair, layout units."""

BEARD = np.array([
    (-0.2, 0.482), (0.035, 0.474), (0.062, 0.490), (0.095, 0.530), (0.13, 0.552), (0.20, 0.512), (0.255, 0.440),
    (0.285, 0.360), (0.318, 0.355), (0.342, 0.365), (0.345, 0.460), (0.33, 0.560), (0.27, 0.650), (0.18, 0.715),
    (0.08, 0.735), (-0.2, 0.735),
])  # fmt: skip
"""Outline of the area where a beard can grow."""

SCALP_EDGE, BEARD_EDGE = 0.012, 0.016
"""Softness of the outlines, layout units."""


def _inside(distance: Float32Array, softness: float) -> Float32Array:
    """Mask (H, W) of the inside of an outline from signed distances (H, W), negative inside."""
    return (1.0 / (1.0 + np.exp(np.clip(distance / softness * 2.5, -30.0, 30.0)))).astype(np.float32)


def scalp_hair(
    geometry: TexelGeometry, attributes: SkinAttributes, strands: Float32Array
) -> tuple[Float32Array, Float32Array]:
    """Area of the roots of scalp hair, and its coverage of the skin; the noise of the `strands` (H, W) frays the
    hairline."""
    # The hairline moves with the attributes: forehead points up, temples back.
    outline = HAIRLINE.copy()
    outline[_FOREHEAD_POINTS, 1] -= attributes.hairline_rise
    outline[_TEMPLE_POINTS] -= (
        attributes.temple_recession * np.array([0.0, 0.035]) * np.array([[0.3], [1.0], [1.0], [0.4]])
    )
    hair = _inside(geometry.polygon(outline) + 0.006 * strands, SCALP_EDGE)
    if attributes.hair_length > 0.0:
        long_hair = LONG_HAIR + np.array([LONG_HAIR_SHIFT * (1.0 - attributes.hair_length), 0.0])
        hair = np.maximum(hair, _inside(geometry.polygon(long_hair) + 0.006 * strands, SCALP_EDGE))
    crown = np.clip((0.16 - geometry.v) / 0.1, 0.0, 1.0) * np.clip((attributes.temple_recession - 0.4) * 1.5, 0.0, 1.0)
    density = attributes.hair_density * (1.0 - 0.7 * crown * (attributes.hair_density < 0.8))
    roots = np.where(geometry.skin_like, hair, 0.0).astype(np.float32)
    return roots, (roots * density).astype(np.float32)


@lru_cache(maxsize=4)
def beard_area(geometry: TexelGeometry) -> Float32Array:
    """Area of the roots of beard hair: around the lips, on chin and jaw."""
    area = _inside(geometry.polygon(BEARD), BEARD_EDGE) * (1.0 - _inside(geometry.lips - 0.006, 0.008))
    return np.asarray(np.where(geometry.skin_like & ~geometry.is_region(Region.LIPS), area, 0.0), np.float32)


def beard_hair(geometry: TexelGeometry, attributes: SkinAttributes, raggedness: Float32Array) -> Float32Array:
    """Density of beard hair longer than stubble; `raggedness` (H, W) is noise that breaks it up."""
    u, v = geometry.u, geometry.v
    _, mouth_v = geometry.landmark(61, 291)
    moustache = np.exp(-0.5 * ((v - 0.487) / 0.022) ** 2) * (u < 0.13)
    chin = np.exp(-0.5 * (u / 0.075) ** 2) * _inside(mouth_v + 0.03 - v, 0.03)
    sideburns = np.clip((u - 0.22) / 0.05, 0.0, 1.0)
    jaw = np.clip((v - 0.53) / 0.06, 0.0, 1.0) * np.clip(u / 0.09, 0.0, 1.0)
    parts = np.stack([moustache, chin, jaw, sideburns])  # (4, H, W)
    weight = parts / np.maximum(parts.sum(0), 0.35)
    density = (weight * np.array(attributes.beard_density)[:, None, None]).sum(0)
    ragged = np.clip(1.0 + 0.12 * raggedness, 0.0, 1.5)
    return np.asarray(np.clip(beard_area(geometry) * density * ragged, 0.0, 1.0), np.float32)


def brow_hair(geometry: TexelGeometry, attributes: SkinAttributes, strands: Float32Array) -> Float32Array:
    """Coverage by the brows, whose single hairs `strands` (H, W) cover in [0, 1]."""
    total = np.zeros_like(geometry.u)
    for brow in geometry.brows:
        along = brow.along / attributes.brow_length
        # Full at the inner third, narrowing outwards.
        half = attributes.brow_width * np.interp(along, [0.0, 0.08, 0.3, 0.75, 1.0], [0.7, 1.0, 1.05, 0.75, 0.3])
        across = (brow.across - attributes.brow_lift) / np.maximum(half, 1e-4)
        ends = _ramp(along, 0.0, 0.06) * (1.0 - _ramp(along, 0.9, 1.02))
        body = np.exp(-(np.abs(across) ** 2.6)) * np.where(np.abs(across) < 3.0, 1.0, 0.0)
        total = np.maximum(total, body * ends)
    density = attributes.brow_density
    opacity = total * (0.4 * density + density * (0.45 + 0.6 * density) * strands)
    return np.clip(np.where(geometry.skin_like, 1.2 * opacity, 0.0), 0.0, 1.0).astype(np.float32)


def lash_line(geometry: TexelGeometry, attributes: SkinAttributes) -> Float32Array:
    """Coverage of the rims of the eyelids by lashes and eyeliner; upper lashes are denser."""
    upper = _ramp(geometry.below_eye, -0.004, 0.006)
    width = 0.0035 + 0.0035 * attributes.eyeliner
    rim = np.exp(-0.5 * (geometry.eyelids / width) ** 2)
    darkness = rim * (0.35 + 0.65 * upper) * np.clip(attributes.lash_darkness + attributes.eyeliner, 0.0, 1.0)
    return np.where(geometry.skin_like, darkness, 0.0).astype(np.float32)


def _ramp(x: RealArray, low: float, high: float) -> RealArray:
    """Smooth step from 0 at `low` to 1 at `high`."""
    t = np.clip((x - low) / (high - low), 0.0, 1.0)
    return np.asarray(t * t * (3.0 - 2.0 * t))
