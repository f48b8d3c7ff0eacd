"""Relief and specular factor of skin from the detail of its albedo.

Mesoscopic augmentation (Beeler et al., "High-Quality Single-Shot Capture of Facial Geometry", ACM Transactions on
Graphics 2010, section 6): small hollows receive less light, so what is dark beside its surroundings lies deeper. Large
differences are pigment or hair, so heights are bounded.
"""

import torch
import torch.nn.functional as functional
from torch import Tensor

from fitme.color import LUMINANCE, srgb_to_linear

COARSEST_TEXELS = 5.0
"""Standard deviation of the Gaussian above whose size the detail begins, texels of maps of 512 a side."""
DEPTH_TEXELS = 0.16
"""Depth of a hollow a tenth as dark again as its surroundings, in tenths of texels of maps of 512 a side."""
LARGEST_CONTRAST = 0.12
"""Logarithm of luminance over that of the surroundings beyond which the height does not change."""
SPECULAR_EXPONENT = 0.8
"""Exponent of a texel's contrast in its specular albedo: hollows are in the shade of their rims."""
_DARKEST = 0.01
_REFERENCE = 512


def with_relief(
    diffuse: Tensor,  # (B, 3, R, R) sRGB-encoded
    specular: Tensor,  # (B, 1, R, R)
    slopes: Tensor,  # (B, 2, R, R) coarse relief, along u and up the layout
    skin: Tensor,  # (1|B, 1, R, R) in [0, 1]
) -> Tensor:
    """Encoded maps (B, 6, R, R), as of `fitme.training.data.encoding`, with the relief of the albedo's detail added."""
    contrast = detail_contrast(diffuse) * skin
    unit = diffuse.shape[-1] / _REFERENCE
    height = 10.0 * DEPTH_TEXELS * unit * contrast
    along = 0.5 * (height.roll(-1, -1) - height.roll(1, -1))
    down = 0.5 * (height.roll(-1, -2) - height.roll(1, -2))
    # A surface that rises along u leans back: its normal has a negative slope there. Rows run downwards.
    fine = torch.cat([-along, down], 1)
    factor = (SPECULAR_EXPONENT * contrast).exp()
    return torch.cat([diffuse, (specular * factor).clamp(0.0, 1.0), slopes + fine * skin], 1)


def detail_contrast(diffuse: Tensor) -> Tensor:
    """(B, 1, R, R) logarithm of luminance of sRGB-encoded albedo (B, 3, R, R) over its surroundings', bounded."""
    luminance = (srgb_to_linear(diffuse) * torch.from_numpy(LUMINANCE).to(diffuse)[:, None, None]).sum(1, keepdim=True)
    logarithm = (luminance + _DARKEST).log()
    detail = logarithm - blurred(logarithm, COARSEST_TEXELS * diffuse.shape[-1] / _REFERENCE)
    return LARGEST_CONTRAST * torch.tanh(detail / LARGEST_CONTRAST)


def blurred(maps: Tensor, sigma: float) -> Tensor:
    """Maps (B, C, R, R) after a Gaussian of a standard deviation in texels."""
    reach = max(1, round(3.0 * sigma))
    offsets = torch.arange(-reach, reach + 1, dtype=maps.dtype, device=maps.device)
    kernel = (-0.5 * (offsets / sigma) ** 2).exp()
    kernel = kernel / kernel.sum()
    flat = maps.reshape(-1, 1, *maps.shape[2:])
    rows = functional.conv2d(functional.pad(flat, (reach, reach, 0, 0), mode="replicate"), kernel[None, None, None])
    both = functional.conv2d(functional.pad(rows, (0, 0, reach, reach), mode="replicate"), kernel[None, None, :, None])
    return both.reshape(maps.shape)
