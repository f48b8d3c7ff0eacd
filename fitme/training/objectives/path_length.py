"""Path-length regularisation (Karras et al., "Analyzing and Improving the Image Quality of StyleGAN", CVPR 2020,
section 3.2, equation 4): a step of fixed length in W should change the maps by a fixed amount, wherever it is taken and
wherever it leads, which makes the generator easier to invert.
"""

import math

import torch
from torch import Tensor

MEAN_DECAY = 0.99
"""Decay of the running mean of the path lengths, as in StyleGAN2."""
_EPSILON = 1e-12
"""Keeps the gradient of a length of zero finite."""


class PathLength:
    """Penalty E[(|J^T y| - a)^2] with its running mean length a; y are random maps."""

    def __init__(self, decay: float = MEAN_DECAY) -> None:
        self.decay = decay
        self.mean = 0.0
        """Mean length a: exponential mean of the lengths so far; 0 before the first."""

    def penalty(
        self,
        raw_outputs: Tensor,  # (B, C, R, R) computed from `w_plus`
        w_plus: Tensor,  # (B, L, D) requiring gradients
        generator: torch.Generator,
    ) -> Tensor:
        """Penalty, a scalar with a gradient for the generator's parameters, after `mean` has moved towards this batch.
        The caller multiplies it by its weight and by the steps between two uses.

        |J^T y| of W+ is the root mean square over layers of the lengths, as in StyleGAN2's code.
        """
        lengths = path_lengths(raw_outputs, w_plus, generator)
        average = float(lengths.detach().mean())
        self.mean = self.decay * self.mean + (1.0 - self.decay) * average
        return (lengths - self.mean).square().mean()

    def state_dict(self) -> dict[str, float]:
        """State, for `load_state_dict`."""
        return {"mean": self.mean}

    def load_state_dict(self, state: dict[str, float]) -> None:
        """Continue from `state_dict`."""
        self.mean = float(state["mean"])


def path_lengths(raw_outputs: Tensor, w_plus: Tensor, generator: torch.Generator) -> Tensor:
    """Lengths |J^T y| (B,) for y ~ N(0, 1 / (H W)) of the outputs' shape, at least in single precision,
    differentiable."""
    outputs = raw_outputs.to(torch.promote_types(raw_outputs.dtype, torch.float32))
    height, width = outputs.shape[-2:]
    noise = torch.randn(outputs.shape, generator=generator, device=generator.device, dtype=outputs.dtype)
    weighted = (outputs * noise.to(outputs.device)).sum() / math.sqrt(height * width)
    (gradient,) = torch.autograd.grad(weighted, w_plus, create_graph=True)  # (B, L, D)
    return (gradient.square().sum(2).mean(1) + _EPSILON).sqrt()
