"""PSNR and SSIM: against scikit-image, against recorded values, over masks and regions."""

import numpy as np
import pytest
import torch
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from fitme.color import linear_to_srgb
from fitme.metrics.similarity import image_psnr, image_ssim, psnr, ssim


def pair(seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Two similar albedos (2, 40, 48, 3)."""
    random = torch.Generator().manual_seed(seed)
    reference = torch.rand(2, 40, 48, 3, generator=random)
    reference = torch.nn.functional.avg_pool2d(reference.permute(0, 3, 1, 2), 3, 1, 1).permute(0, 2, 3, 1)
    noise = torch.tensor([0.02, 0.2])[:, None, None, None] * torch.randn(reference.shape, generator=random)
    return (reference + noise).clamp(0.0, 1.0), reference


def test_agrees_with_scikit_image():
    estimate, reference = pair(1)
    options = {"data_range": 1.0, "channel_axis": -1, "gaussian_weights": True, "use_sample_covariance": False}
    similarity, decibels = ssim(estimate, reference), psnr(estimate, reference)
    mask = np.zeros((40, 48), bool)
    mask[3:30, 5:44] = True
    masked = ssim(estimate, reference, torch.from_numpy(mask))
    for index in range(2):
        a, b = (linear_to_srgb(maps[index]).numpy().astype(np.float64) for maps in (estimate, reference))
        _, full = structural_similarity(a, b, full=True, **options)
        assert float(similarity[index]) == pytest.approx(full.mean(), abs=1e-4)
        assert float(masked[index]) == pytest.approx(full[mask].mean(), abs=1e-4)
        assert float(decibels[index]) == pytest.approx(peak_signal_noise_ratio(b, a, data_range=1.0), abs=1e-3)


def test_ssim_reproduces_recorded_values():
    estimate, reference = pair(1)
    mask = torch.zeros(40, 48)
    mask[3:30, 5:44] = 1.0
    assert ssim(estimate, reference).tolist() == pytest.approx([0.9760189652442932, 0.2716011703014374], abs=1e-5)
    assert ssim(estimate, reference, mask).tolist() == pytest.approx([0.974236786365509, 0.2481052726507187], abs=1e-5)


def test_texels_outside_the_mask_do_not_count():
    estimate, reference = pair(2)
    mask = torch.zeros(40, 48)
    mask[:, :24] = 1.0
    spoiled = estimate.clone()
    spoiled[:, :, 36:] = 0.0
    torch.testing.assert_close(psnr(spoiled, reference, mask), psnr(estimate, reference, mask))
    torch.testing.assert_close(ssim(spoiled, reference, mask), ssim(estimate, reference, mask))


def test_equal_maps():
    estimate, _ = pair(3)
    assert ssim(estimate, estimate).tolist() == pytest.approx([1.0, 1.0])
    assert float(psnr(estimate, estimate).min()) > 100.0


def test_image_scores_depend_on_the_region_only():
    true = np.random.default_rng(0).integers(0, 255, (60, 80, 3)).astype(np.uint8)
    region = np.zeros((60, 80), bool)
    region[20:40, 20:60] = True
    estimate = true.copy()
    estimate[:10] = 0
    assert image_psnr(estimate, true, region) > 100.0
    assert image_ssim(estimate, true, region) == pytest.approx(1.0, abs=1e-6)
    off = np.full_like(true, 100)
    assert image_psnr(off + 10, off, region) == pytest.approx(20.0 * np.log10(25.5), abs=1e-6)
    assert image_ssim(np.roll(true, 3, 1), true, region) < 0.5
