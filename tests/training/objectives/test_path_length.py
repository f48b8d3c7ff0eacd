"""Path-length regularisation against Jacobians that are built row by row."""

import json
import math

import pytest
import torch
from torch import Tensor, nn

from fitme.training.objectives.path_length import PathLength, path_lengths

BATCH, LAYERS, SIZE, CHANNELS, SIDE = 3, 4, 5, 2, 6


class BentMap(nn.Module):
    """A small smooth map of W+ to maps."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(CHANNELS * SIDE * SIDE, LAYERS * SIZE, dtype=torch.float64))

    def forward(self, w_plus: Tensor) -> Tensor:
        return torch.sin(w_plus.flatten(1) @ self.weight.T).unflatten(1, (CHANNELS, SIDE, SIDE))


@pytest.fixture
def bent() -> BentMap:
    torch.manual_seed(0)
    return BentMap()


def latents() -> Tensor:
    values = torch.randn(BATCH, LAYERS, SIZE, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    return values.requires_grad_(True)


def slow_lengths(module: nn.Module, w_plus: Tensor, generator: torch.Generator) -> Tensor:
    """|J^T y| with the Jacobian of every head written out."""
    noise = torch.randn(BATCH, CHANNELS, SIDE, SIDE, dtype=torch.float64, generator=generator) / SIDE
    lengths = []
    for one, y in zip(w_plus, noise, strict=True):
        jacobian = torch.autograd.functional.jacobian(lambda w: module(w[None])[0], one, create_graph=True)
        product = torch.einsum("chwld,chw->ld", jacobian, y)
        lengths.append((product.square().sum() / LAYERS).sqrt())
    return torch.stack(lengths)


def test_lengths_and_gradients_are_those_of_the_whole_jacobian(bent):
    w_plus = latents()
    found = path_lengths(bent(w_plus), w_plus, torch.Generator().manual_seed(2))
    expected = slow_lengths(bent, w_plus, torch.Generator().manual_seed(2))
    torch.testing.assert_close(found, expected)
    path = PathLength()
    path.mean = 0.7
    penalty = path.penalty(bent(w_plus), w_plus, torch.Generator().manual_seed(2))
    reference = (expected - path.mean).square().mean()
    for parameter in (bent.weight, w_plus):
        (gradient,) = torch.autograd.grad(penalty, parameter, retain_graph=True)
        (wanted,) = torch.autograd.grad(reference, parameter, retain_graph=True)
        torch.testing.assert_close(gradient, wanted)


def test_the_gradient_of_the_penalty_is_that_of_finite_differences(bent):
    w_plus = latents()

    def penalty(weight: Tensor) -> Tensor:
        outputs = torch.sin(w_plus.flatten(1) @ weight.T).unflatten(1, (CHANNELS, SIDE, SIDE))
        # The mean follows the lengths without being differentiated: a decay of one keeps it out of the differences.
        path = PathLength(decay=1.0)
        path.mean = 0.4
        return path.penalty(outputs, w_plus, torch.Generator().manual_seed(3))

    assert torch.autograd.gradcheck(penalty, (bent.weight,))


def test_an_orthonormal_jacobian_costs_nothing_at_its_own_length():
    side, gain = 24, 3.0
    size = side * side
    rotation = torch.linalg.qr(torch.randn(size, size, generator=torch.Generator().manual_seed(4)))[0]
    w_plus = torch.randn(8, 1, size, generator=torch.Generator().manual_seed(5)).requires_grad_(True)
    outputs = gain * (w_plus[:, 0] @ rotation.T).unflatten(1, (1, side, side))
    path = PathLength()
    path.mean = gain  # |J^T y| = gain * |y|, and |y| is one up to 1 / sqrt(2 size)
    penalty = path.penalty(outputs, w_plus, torch.Generator().manual_seed(6))
    assert float(penalty) < 2.0 * gain**2 / (2.0 * size)
    uneven = outputs * torch.linspace(0.2, 1.8, 8)[:, None, None, None]
    path.mean = gain
    assert float(path.penalty(uneven, w_plus, torch.Generator().manual_seed(6))) > 0.1 * gain**2


def test_the_running_mean_finds_the_length_and_resumes():
    w_plus = torch.randn(4, 2, 50, generator=torch.Generator().manual_seed(7)).requires_grad_(True)
    outputs = (2.0 * w_plus).unflatten(2, (1, 5, 10)).reshape(4, 1, 10, 10)

    def run(path: PathLength, first: int, last: int) -> None:
        for step in range(first, last):
            path.penalty(outputs, w_plus, torch.Generator().manual_seed(step))

    whole, part, resumed = PathLength(decay=0.9), PathLength(decay=0.9), PathLength(decay=0.9)
    run(whole, 0, 80)
    assert whole.mean == pytest.approx(2.0 / math.sqrt(2.0), rel=0.05)
    run(part, 0, 30)
    resumed.load_state_dict(json.loads(json.dumps(part.state_dict())))
    run(resumed, 30, 80)
    assert resumed.mean == whole.mean


def test_half_precision_outputs_and_lengths_of_zero_give_finite_gradients():
    w_plus = torch.randn(2, 1, 16, generator=torch.Generator().manual_seed(8)).requires_grad_(True)
    scale = torch.zeros(1, requires_grad=True)
    outputs = (w_plus.reshape(2, 1, 4, 4) * scale).bfloat16()
    penalty = PathLength().penalty(outputs, w_plus, torch.Generator().manual_seed(9))
    assert penalty.dtype == torch.float32
    penalty.backward()
    assert torch.isfinite(scale.grad).all()
