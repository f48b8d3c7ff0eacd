"""How alike two albedo maps look: PSNR and SSIM, over the texels that count."""

import torch
import torch.nn.functional as functional
from torch import Tensor

from fitme.color import linear_to_srgb

SSIM_DEVIATION_TEXELS = 1.5
SSIM_WINDOW = 11
"""Texels a side of the Gaussian window, as in Wang et al. 2004."""
SSIM_STABILISERS = (0.01**2, 0.03**2)
"""C1 and C2 for values in [0, 1]."""
_SMALLEST_ERROR = 1e-12


def psnr(found: Tensor, wanted: Tensor, mask: Tensor | None = None) -> Tensor:
    """Decibels (B,) between linear albedos (B, H, W, C), compared sRGB-encoded; over the texels of `mask` (H, W) in
    [0, 1] where one is given."""
    error = (linear_to_srgb(found) - linear_to_srgb(wanted)).square().mean(-1)
    return -10.0 * _mean_over(error, mask).clamp(min=_SMALLEST_ERROR).log10()


def ssim(found: Tensor, wanted: Tensor, mask: Tensor | None = None) -> Tensor:
    """Structural similarity (B,) of linear albedos (B, H, W, C), compared sRGB-encoded, mean over channels and over the
    texels of `mask` (H, W) in [0, 1] where one is given.

    Wang et al., "Image Quality Assessment: From Error Visibility to Structural Similarity", IEEE TIP 2004, eq. 13,
    with their Gaussian window; maps are mirrored at their edges.
    """
    x, y = (linear_to_srgb(maps).permute(0, 3, 1, 2) for maps in (found, wanted))
    mean_x, mean_y = _smooth(x), _smooth(y)
    variance_x = _smooth(x * x) - mean_x.square()
    variance_y = _smooth(y * y) - mean_y.square()
    covariance = _smooth(x * y) - mean_x * mean_y
    c1, c2 = SSIM_STABILISERS
    skin_probability = (2.0 * mean_x * mean_y + c1) * (2.0 * covariance + c2)
    skin_probability = skin_probability / ((mean_x.square() + mean_y.square() + c1) * (variance_x + variance_y + c2))
    return _mean_over(skin_probability.mean(1), mask)


def _mean_over(values: Tensor, mask: Tensor | None) -> Tensor:
    """(B, H, W) to (B,)."""
    if mask is None:
        return values.mean((1, 2))
    return (values * mask).sum((1, 2)) / mask.sum()


def _smooth(x: Tensor) -> Tensor:
    """(B, C, H, W), blurred by the window."""
    reach = SSIM_WINDOW // 2
    offsets = torch.arange(-reach, reach + 1, dtype=x.dtype)
    kernel = torch.exp(-0.5 * (offsets / SSIM_DEVIATION_TEXELS) ** 2)
    kernel = kernel / kernel.sum()
    channels = x.shape[1]
    for axis in (2, 3):
        first, last = x.narrow(axis, 0, reach).flip(axis), x.narrow(axis, x.shape[axis] - reach, reach).flip(axis)
        weight = kernel.reshape((1, 1, -1, 1) if axis == 2 else (1, 1, 1, -1)).expand(channels, -1, -1, -1)
        x = functional.conv2d(torch.cat([first, x, last], axis), weight, groups=channels)
    return x
