import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fitme.training.objectives.reconstruction import ReconstructionWeights, contrast_loss, reconstruction_losses

WEIGHTS = ReconstructionWeights(contrast=2.0)
EVEN = torch.ones(1, 1, 64, 64)


def strands(seed: int, size: int = 64) -> torch.Tensor:
    """Maps (1, 6, size, size) of fine structure without any of its own brightness."""
    return 0.1 * torch.randn(1, 6, size, size, generator=torch.Generator().manual_seed(seed))


def test_equal_maps_cost_nothing() -> None:
    assert float(contrast_loss(strands(0), strands(0), EVEN, WEIGHTS)) == 0.0


def test_fading_costs_more_than_misplacing() -> None:
    wanted = strands(0)
    misplaced, faded = (float(contrast_loss(x, wanted, EVEN, WEIGHTS)) for x in (strands(1), 0.3 * wanted))
    assert faded > 3.0 * misplaced
    values = [
        float(reconstruction_losses({64: x}, wanted, EVEN, WEIGHTS)["maps_64"]) for x in (strands(1), 0.3 * wanted)
    ]
    assert values[1] < values[0]


@given(level=st.floats(-0.5, 0.5))
def test_brightness_does_not_matter(level: float) -> None:
    wanted, found = strands(0), strands(2)
    shifted = contrast_loss(found + level, wanted, EVEN, WEIGHTS)
    torch.testing.assert_close(shifted, contrast_loss(found, wanted, EVEN, WEIGHTS), rtol=1e-3, atol=1e-5)


def test_what_does_not_count_costs_nothing() -> None:
    left = EVEN.clone()
    left[..., 32:] = 0.0
    wanted = strands(0)
    found = wanted.clone()
    found[..., 40:] = 0.0
    assert float(contrast_loss(found, wanted, left, WEIGHTS)) == pytest.approx(0.0, abs=1e-7)
    assert float(contrast_loss(found, wanted, EVEN, WEIGHTS)) > 0.01


def test_it_is_taken_at_the_finest_resolution_there_is() -> None:
    maps = strands(0)
    coarse = torch.nn.functional.avg_pool2d(maps, 2)
    losses = reconstruction_losses({16: torch.zeros(1, 6, 16, 16), 32: coarse}, maps, EVEN, WEIGHTS)
    assert float(losses["contrast"]) == 0.0
    assert "contrast" not in reconstruction_losses({32: coarse}, maps, EVEN, ReconstructionWeights())


def test_gradients_are_right() -> None:
    wanted = strands(0, 32).double()
    found = strands(1, 32).double().requires_grad_()
    even = torch.ones(1, 1, 32, 32, dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda x: contrast_loss(x, wanted, even, WEIGHTS), (found,), fast_mode=True)
