"""Kernel distance (KID) between two sets of features: squared maximum mean discrepancy, polynomial kernel (Bińkowski
et al., "Demystifying MMD GANs", ICLR 2018)."""

from dataclasses import dataclass

import torch
from torch import Tensor

POWER = 3
GROUPS = 10
"""Groups of the delete-a-group jackknife."""


@dataclass(frozen=True)
class KernelDistance:
    """Unbiased estimate, which may be below 0, with its standard error."""

    value: float
    standard_error: float


def kernel_distance(a: Tensor, b: Tensor) -> KernelDistance:
    """Distance of features (N, D) from features (M, D).

    Its standard error is by a delete-a-group jackknife over both sets (Kott, Journal of Official Statistics 2001).

    :raises ValueError: if the shapes do not fit, or a set has fewer than two features for each of `GROUPS` groups.
    """
    if a.ndim != 2 or b.ndim != 2 or a.shape[1] != b.shape[1] or min(len(a), len(b)) < 2 * GROUPS:
        raise ValueError(
            f"features are {tuple(a.shape)} and {tuple(b.shape)}: (N, D) and (M, D) are needed, N, M >= {2 * GROUPS}"
        )
    a, b = a.double(), b.double()
    kernels = _kernel(a, a), _kernel(a, b), _kernel(b, b)
    group_a, group_b = torch.arange(len(a)) % GROUPS, torch.arange(len(b)) % GROUPS
    left_out = torch.tensor([_estimate(kernels, group_a != group, group_b != group) for group in range(GROUPS)])
    everything = _estimate(kernels, group_a >= 0, group_b >= 0)
    variance = (GROUPS - 1) / GROUPS * (left_out - left_out.mean()).square().sum()
    return KernelDistance(everything, float(variance.sqrt()))


def _kernel(a: Tensor, b: Tensor) -> Tensor:
    return (a @ b.T / a.shape[1] + 1.0) ** POWER


def _estimate(kernels: tuple[Tensor, Tensor, Tensor], in_a: Tensor, in_b: Tensor) -> float:
    """Unbiased squared discrepancy of the chosen features (N,) and (M,) bool (ibid., eq. 4)."""
    within_a, between, within_b = kernels
    own = [_mean_off_diagonal(kernel[chosen][:, chosen]) for kernel, chosen in ((within_a, in_a), (within_b, in_b))]
    return sum(own) - 2.0 * float(between[in_a][:, in_b].mean())


def _mean_off_diagonal(kernel: Tensor) -> float:
    count = len(kernel)
    return float((kernel.sum() - kernel.diagonal().sum()) / (count * (count - 1)))
