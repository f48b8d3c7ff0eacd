"""PSNR and SSIM: against scikit-image, against earlier figures, and over regions."""

import numpy as np
import pytest
import torch
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from fitme.color import linear_to_srgb
from fitme.metrics.similarity import image_psnr, image_ssim, psnr, ssim


def pair(seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Two similar albedos (2, 40, 48, 3)."""
    random = torch.Generator().manual_seed(seed)
    wanted = torch.rand(2, 40, 48, 3, generator=random)
    wanted = torch.nn.functional.avg_pool2d(wanted.permute(0, 3, 1, 2), 3, 1, 1).permute(0, 2, 3, 1)
    noise = torch.tensor([0.02, 0.2])[:, None, None, None] * torch.randn(wanted.shape, generator=random)
    return (wanted + noise).clamp(0.0, 1.0), wanted


def test_agrees_with_scikit_image():
    found, wanted = pair(1)
    options = {"data_range": 1.0, "channel_axis": -1, "gaussian_weights": True, "use_sample_covariance": False}
    similarity, decibels = ssim(found, wanted), psnr(found, wanted)
    mask = np.zeros((40, 48), bool)
    mask[3:30, 5:44] = True
    masked = ssim(found, wanted, torch.from_numpy(mask))
    for index in range(2):
        a, b = (linear_to_srgb(maps[index]).numpy().astype(np.float64) for maps in (found, wanted))
        _, full = structural_similarity(a, b, full=True, **options)
        assert float(similarity[index]) == pytest.approx(full.mean(), abs=1e-4)
        assert float(masked[index]) == pytest.approx(full[mask].mean(), abs=1e-4)
        assert float(decibels[index]) == pytest.approx(peak_signal_noise_ratio(b, a, data_range=1.0), abs=1e-3)


def test_figures_are_those_of_the_formula_in_torch_that_came_before():
    found, wanted = pair(1)
    mask = torch.zeros(40, 48)
    mask[3:30, 5:44] = 1.0
    assert ssim(found, wanted).tolist() == pytest.approx([0.9760189652442932, 0.2716011703014374], abs=1e-5)
    assert ssim(found, wanted, mask).tolist() == pytest.approx([0.974236786365509, 0.2481052726507187], abs=1e-5)


def test_what_the_mask_leaves_out_does_not_count():
    found, wanted = pair(2)
    mask = torch.zeros(40, 48)
    mask[:, :24] = 1.0
    spoiled = found.clone()
    spoiled[:, :, 36:] = 0.0
    torch.testing.assert_close(psnr(spoiled, wanted, mask), psnr(found, wanted, mask))
    torch.testing.assert_close(ssim(spoiled, wanted, mask), ssim(found, wanted, mask))


def test_equal_maps():
    found, _ = pair(3)
    assert ssim(found, found).tolist() == pytest.approx([1.0, 1.0])
    assert float(psnr(found, found).min()) > 100.0


def test_image_measures_look_at_the_region_only():
    true = np.random.default_rng(0).integers(0, 255, (60, 80, 3)).astype(np.uint8)
    region = np.zeros((60, 80), bool)
    region[20:40, 20:60] = True
    found = true.copy()
    found[:10] = 0
    assert image_psnr(found, true, region) > 100.0
    assert image_ssim(found, true, region) == pytest.approx(1.0, abs=1e-6)
    off = np.full_like(true, 100)
    assert image_psnr(off + 10, off, region) == pytest.approx(20.0 * np.log10(25.5), abs=1e-6)
    assert image_ssim(np.roll(true, 3, 1), true, region) < 0.5
