"""PSNR and SSIM of albedo maps and of images, sRGB-encoded, over a mask or region.

SSIM is scikit-image's, a dependency of training and benchmarks but not of a fit: imported on the first call.
"""

import math
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from fitme.arrays import BoolArray, Float64Array, UInt8Array
from fitme.color import linear_to_srgb

FULL_SCALE = 255.0
"""Largest code of an 8-bit image."""
_SMALLEST_ERROR = 1e-12
_SMALLEST_IMAGE_ERROR = 1e-9
"""Lower bounds of mean squared errors, of values in [0, 1] and of 8-bit codes, so that equal inputs have a PSNR."""


def decibels(mean_square: float, peak: float) -> float:
    """Peak signal-to-noise ratio, 10 log10(peak^2 / mean squared error)."""
    return 10.0 * math.log10(peak**2 / mean_square)


def psnr(estimate: Tensor, reference: Tensor, mask: Tensor | None = None) -> Tensor:
    """PSNR in dB (B,) between linear albedos (B, H, W, C).

    :param mask: (H, W) weights in [0, 1] of the texels; uniform if None.
    """
    error = (linear_to_srgb(estimate) - linear_to_srgb(reference)).square().mean(-1)  # (B, H, W)
    mean = error.mean((1, 2)) if mask is None else (error * mask).sum((1, 2)) / mask.sum()
    return -10.0 * mean.clamp(min=_SMALLEST_ERROR).log10()


def ssim(estimate: Tensor, reference: Tensor, mask: Tensor | None = None) -> Tensor:
    """Structural similarity (B,) of linear albedos (B, H, W, C), mean over channels and texels. Carries no gradient.

    :param mask: (H, W) weights in [0, 1] of the texels; uniform if None.
    """
    pairs = zip(*(linear_to_srgb(maps).detach().cpu().double().numpy() for maps in (estimate, reference)), strict=True)
    weights = None if mask is None else mask.cpu().numpy()
    means = [np.average(_ssim_map(*pair, peak=1.0), weights=weights) for pair in pairs]
    return torch.tensor(np.array(means), dtype=estimate.dtype, device=estimate.device)


def image_psnr(estimate: UInt8Array, reference: UInt8Array, region: BoolArray) -> float:
    """PSNR in dB of sRGB images (H, W, 3) over a region (H, W); NaN if the region is empty."""
    if not region.any():
        return math.nan
    difference = reference[region].astype(np.float64) - estimate[region]
    return decibels(max(float((difference**2).mean()), _SMALLEST_IMAGE_ERROR), FULL_SCALE)


def image_ssim(estimate: UInt8Array, reference: UInt8Array, region: BoolArray) -> float:
    """Structural similarity of sRGB images (H, W, 3) over a region (H, W), outside of which both count as black."""
    # Outside the region's bounding box all pixels are black in both images and need no windows.
    rows, columns = np.flatnonzero(region.any(1)), np.flatnonzero(region.any(0))
    window = (slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1))
    inside = region[window]
    pair = [np.where(inside[..., None], image[window], 0).astype(np.float64) for image in (estimate, reference)]
    return float(_ssim_map(*pair, peak=FULL_SCALE)[inside].mean())


def _ssim_map(a: npt.NDArray[Any], b: npt.NDArray[Any], *, peak: float) -> Float64Array:
    """(H, W) structural similarity of (H, W, C), mean over channels.

    Wang et al., "Image Quality Assessment: From Error Visibility to Structural Similarity", IEEE TIP 2004, eq. 13, with
    their Gaussian window and constants; images are mirrored at their edges.
    """
    from skimage.metrics import structural_similarity  # 0.4 s to import

    _, similarity = structural_similarity(  # type: ignore[no-untyped-call]
        a, b, data_range=peak, channel_axis=-1, full=True, gaussian_weights=True, use_sample_covariance=False
    )
    return np.asarray(similarity.mean(-1))
