"""Fréchet distance between two sets of features, each modelled as a Gaussian (Heusel et al., "GANs Trained by a Two
Time-Scale Update Rule Converge to a Local Nash Equilibrium", NeurIPS 2017, eq. 6)."""

import torch
from torch import Tensor


def frechet_distance(a: Tensor, b: Tensor) -> float:
    """Fréchet distance |mean(a) - mean(b)|² + tr(A + B - 2 (A B)^½) of features (N, D) and (M, D) with sample
    covariances A and B.

    A B has the non-zero eigenvalues of (X Yᵀ)(X Yᵀ)ᵀ, X and Y being the centred features over the square roots of
    N - 1 and M - 1, so that the trace of its root is the sum of the singular values of X Yᵀ, which avoids the root
    of a singular matrix when samples are few. ValueError where the shapes do not fit or a set has fewer than two.
    """
    if a.ndim != 2 or b.ndim != 2 or a.shape[1] != b.shape[1] or min(len(a), len(b)) < 2:
        raise ValueError(f"features are {tuple(a.shape)} and {tuple(b.shape)}: (N, D) and (M, D) are needed, N, M >= 2")
    a, b = a.double(), b.double()
    x = (a - a.mean(0)) / (len(a) - 1) ** 0.5
    y = (b - b.mean(0)) / (len(b) - 1) ** 0.5
    shift = (a.mean(0) - b.mean(0)).square().sum()
    shared = torch.linalg.svdvals(x @ y.T).sum()
    return float(shift + x.square().sum() + y.square().sum() - 2.0 * shared)
