"""Constants of the reflection model of skin, for every renderer and for exporters and documentation.

The formulas are in `fitme.render.shading` for torch tensors, and in `fitme.render.cpu.reflection_formulas` for compiled
kernels: `fitme.render.cpu.shading`, with gradients, and `fitme.render.forward.shading`, in single precision.

Outgoing light = occlusion (albedo * diffuse shading + specular albedo * specular shading), all linear. A specular
albedo of 1 reflects 4 % at normal incidence, as a specular factor of 1 does in glTF's KHR_materials_specular.
"""

from torch import Tensor

SH_COUNT = 9
"""Coefficients of real spherical harmonics up to order 2: enough for irradiance (Ramamoorthi and Hanrahan, 2001)."""
SH_BAND_0 = 0.28209479177387814
"""sqrt(1 / (4 pi))."""
SH_BAND_1 = 0.4886025119029199
"""sqrt(3 / (4 pi))."""
SH_BAND_2 = 1.0925484305920792
"""sqrt(15 / (4 pi)), of xy, yz and xz."""
SH_BAND_2_ZONAL = 0.31539156525252005
"""sqrt(5 / (16 pi)), of 3 z^2 - 1."""
SH_BAND_2_SECTORAL = 0.5462742152960396
"""sqrt(15 / (16 pi)), of x^2 - y^2."""
SH_NORMS = (
    SH_BAND_0, SH_BAND_1, SH_BAND_1, SH_BAND_1, SH_BAND_2, SH_BAND_2, SH_BAND_2_ZONAL, SH_BAND_2, SH_BAND_2_SECTORAL,
)  # fmt: skip
"""(9,) factors of `sh_polynomials` that make the basis orthonormal, in the order of `Light.sh`."""

NORMAL_REFLECTANCE = 0.04
"""Mirror reflectance at normal incidence of a dielectric of index 1.5."""
GRAZING_REFLECTANCE = 0.2
"""Mirror reflectance of the surroundings at grazing incidence for a GGX roughness of 0.53, by integrating the lobe:
masking between facets keeps skin far from a mirror."""
HEMISPHERICAL_REFLECTANCE = 0.092
"""Fresnel reflectance of the same dielectric averaged over the cosine-weighted hemisphere, for light without a
known viewing direction."""
DEFAULT_SHININESS = 24.0
"""Blinn-Phong exponent of skin: GGX roughness about 0.53."""
DIFFUSE_NORMAL_SHARE = 0.5
"""Share of the normal map in the normal of the diffuse term. Subsurface scattering blurs its relief (Ma et al.
2007, "Rapid Acquisition of Specular and Diffuse Normal Maps")."""
MIN_COSINE = 1e-3
"""Lower bound of the half vector's cosine, which keeps the gradient of the power finite; such a lobe is invisible."""
SMALLEST_SQUARE = 1e-12
"""Lower bound of a squared length before its root."""


def blinn_phong_factor(shininess: Tensor | float) -> Tensor | float:
    """Normalisation of the Blinn-Phong lobe, (s + 8) / (8 pi) * pi: the narrower the lobe, the higher its peak, at
    constant reflected energy (Akenine-Moeller et al., "Real-Time Rendering", 3rd ed., section 7.6). The factor pi is
    included in the intensities of `Light`.

    :param shininess: exponent s > 0, a number or a tensor.
    """
    return (shininess + 8.0) / 8.0
