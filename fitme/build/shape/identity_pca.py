"""Principal components of sampled heads."""

from dataclasses import dataclass

import numpy as np

from fitme.arrays import Float64Array, Int64Array


@dataclass(frozen=True)
class IdentitySpace:
    """Heads as mean + coefficients · basis, coefficients with unit variance."""

    mean: Float64Array
    """(V, 3) metres."""
    basis: Float64Array
    """(K, V, 3) metres per standard deviation."""


def principal_components(samples: Float64Array, mirror: Int64Array, count: int) -> IdentitySpace:
    """PCA of samples (N, V, 3) and their mirror images: every component is symmetric or antisymmetric."""
    flipped = samples[:, mirror] * np.array([-1.0, 1.0, 1.0])
    data = np.concatenate([samples, flipped])
    mean = data.mean(0)
    flat = (data - mean).reshape(len(data), -1)
    gram = flat @ flat.T / len(flat)
    values, vectors = np.linalg.eigh(gram)
    order = np.argsort(-values)[:count]
    basis = (vectors[:, order] / np.sqrt(len(flat))).T @ flat
    return IdentitySpace(mean, basis.reshape(count, *mean.shape))
