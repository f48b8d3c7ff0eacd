"""Reflection of light by hair, for rendering and for taking the light out of what images show.

Diffuse light on hair is softer than on skin, since light passes between strands: spherical-harmonics irradiance at the
envelope's normal is mixed with its mean over all directions. Directional lights follow Kajiya and Kay, "Rendering Fur
with Three Dimensional Textures", SIGGRAPH 1989: diffuse by the sine between strand and light, one specular lobe round
the mirror cone of the strand, and a second, broader one in the colour of the hair, shifted towards its root (Marschner
et al., "Light Scattering from Human Hair Fibers", SIGGRAPH 2003).
"""

from fitme.arrays import Float32Array, Float64Array
from fitme.render.reflection import SH_BAND_0

DIRECTION_SHARE = 0.5
"""Share of the irradiance that depends on the envelope's normal; the rest is the mean over all directions."""
LEAST_SHADING = 0.15
"""Shading below which no light is taken out, over the mean irradiance."""
WRAP = 0.3
"""Cosine beyond the terminator to which directional light reaches between the strands."""
PRIMARY_EXPONENT, PRIMARY_STRENGTH, PRIMARY_SHIFT = 60.0, 0.04, -0.08
"""Lobe of light reflected by the strands' surface: exponent, strength, and shift along the strand (towards the tip)."""
SECONDARY_EXPONENT, SECONDARY_STRENGTH, SECONDARY_SHIFT = 12.0, 0.25, 0.12
"""Lobe of light that went through the strands, in the colour of the hair."""


def softened(sh: Float32Array) -> Float32Array:
    """Coefficients (9, 3) of the irradiance on hair, of those on skin (9, 3): all but their mean is reduced."""
    soft = DIRECTION_SHARE * sh
    soft[0] = sh[0]
    return soft


def mean_irradiance(sh: Float32Array) -> Float64Array:
    """(3,) irradiance / pi over all directions of coefficients (9, 3)."""
    mean: Float64Array = sh[0].astype(float) * SH_BAND_0
    return mean
