"""Factor analysis of landmark errors: known factors (direction of the head, identity) and hidden ones.

Error of landmark p in view v of person i, metres on a head of the mean's size, in view axes x and y:

    y_vp = P R_v (W_p f_v + L_p z_i + C_p c_v) + e_vp,   z, c ~ N(0, I),   e ~ N(0, s_p^2),

with R the head's rotation and P the choice of its first two rows, so that W, L and C are displacements in the head's
own frame. All are found by expectation maximisation (factor analysis; Rubin and Thayer, Psychometrika 1982), the known
factors' weights by ridge regression in the same step.
"""

from dataclasses import dataclass

import numpy as np
from scipy.linalg import cho_factor, cho_solve

from fitme.arrays import Float64Array, Int64Array

SMALLEST_SIGMA_M = 2e-4
"""Lower limit of a landmark's independent standard deviation, metres."""
RIDGE = 1e-3
"""Added to the normal matrix of hidden factors, relative to the number of views: keeps unused ones finite."""


@dataclass(frozen=True)
class ErrorViews:
    """Errors of L landmarks in N views, and the known factors of each view."""

    errors: Float64Array
    """(N, L, 2) metres, view axes."""
    rotation: Float64Array
    """(N, 3, 3) model to view."""
    known: Float64Array
    """(N, F) known factors."""
    person: Int64Array
    """(N,) views of one person follow each other."""


@dataclass(frozen=True)
class Factors:
    """Loads of known and hidden factors, and independent noise, of L landmarks."""

    known: Float64Array
    """(L, 3, F) metres."""
    person: Float64Array
    """(L, 3, M) metres per standard deviation."""
    frame: Float64Array
    """(L, 3, C) metres per standard deviation."""
    sigma: Float64Array
    """(L,) metres."""

    @property
    def hidden(self) -> Float64Array:
        """(L, 3, M + C)."""
        return np.concatenate([self.person, self.frame], 2)


@dataclass(frozen=True)
class Hidden:
    """Posterior of the hidden factors of each view."""

    mean: Float64Array
    """(N, M + C)."""
    covariance: Float64Array
    """(N, M + C, M + C)."""
    log_likelihood: float
    """Per view, up to a constant."""


def known_residual(views: ErrorViews, known: Float64Array) -> Float64Array:
    """(N, L, 2) errors minus the regression on the known factors."""
    displacement = np.einsum("nf,lxf->nlx", views.known, known, optimize=True)
    return np.asarray(views.errors - displacement @ views.rotation[:, :2].transpose(0, 2, 1))


def infer_hidden(views: ErrorViews, factors: Factors) -> Hidden:
    """Posterior of the hidden factors of each view, jointly over the views of each person."""
    # Information of each view about its own factors, projected onto the image plane.
    hidden, person_count = factors.hidden, factors.person.shape[2]
    count = hidden.shape[2]
    residual = known_residual(views, factors.known)
    weight = factors.sigma**-2.0
    moments = np.einsum("laj,l,lbk->abjk", hidden, weight, hidden, optimize=True)  # (3, 3, m, m)
    plane = views.rotation[:, :2].transpose(0, 2, 1) @ views.rotation[:, :2]  # (N, 3, 3)
    information = np.tensordot(plane, moments, 2)  # (N, m, m)
    lifted = residual @ views.rotation[:, :2]  # (N, L, 3)
    pull = np.tensordot(lifted * weight[:, None], hidden, 2)  # (N, m)
    mean, covariance = np.zeros((len(residual), count)), np.zeros((len(residual), count, count))
    likelihood = (
        -0.5 * float((residual**2 * weight[:, None]).sum()) - residual.shape[0] * 2 * np.log(factors.sigma).sum()
    )
    own = count - person_count
    # Views of a person share its factors: one dense system for each person.
    for rows in np.split(np.arange(len(residual)), np.flatnonzero(np.diff(views.person)) + 1):
        size = person_count + len(rows) * own
        joint, right = np.eye(size), np.zeros(size)
        places = []
        for k, row in enumerate(rows):
            place = np.append(np.arange(person_count), person_count + k * own + np.arange(own))
            places.append(place)
            joint[np.ix_(place, place)] += information[row]
            right[place] += pull[row]
        factor = cho_factor(joint, lower=True)
        solution, inverse = cho_solve(factor, right), cho_solve(factor, np.eye(size))
        likelihood += 0.5 * float(right @ solution) - float(np.log(np.diag(factor[0])).sum())
        for place, row in zip(places, rows, strict=True):
            mean[row], covariance[row] = solution[place], inverse[np.ix_(place, place)]
    return Hidden(mean, covariance, likelihood / len(residual))


def maximise(views: ErrorViews, hidden: Hidden, person_count: int, known_ridge: Float64Array) -> Factors:
    """Weights of all factors, given the hidden ones' posterior; `known_ridge` (F,) is the known ones' penalty.

    Hidden factors are scaled to unit covariance on the way (parameter expansion; Liu, Rubin and Wu, Biometrika 1998):
    where noise is small, their scale would hardly move otherwise.
    """
    known_count = views.known.shape[1]
    all_factors = np.concatenate([views.known, hidden.mean], 1)  # (N, A)
    count = all_factors.shape[1]
    second = all_factors[:, :, None] * all_factors[:, None, :]
    second[:, known_count:, known_count:] += hidden.covariance
    plane = views.rotation[:, :2].transpose(0, 2, 1) @ views.rotation[:, :2]
    normal = np.tensordot(second, plane, (0, 0)).transpose(0, 2, 1, 3).reshape(3 * count, 3 * count)
    lifted = views.errors @ views.rotation[:, :2]  # (N, L, 3)
    right = np.tensordot(all_factors, lifted, (0, 0)).transpose(0, 2, 1).reshape(3 * count, -1)
    penalty = np.append(known_ridge, np.full(count - known_count, RIDGE * len(all_factors)))
    normal[np.diag_indices_from(normal)] += np.repeat(penalty, 3)
    weights = cho_solve(cho_factor(normal), right).reshape(count, 3, -1).transpose(2, 1, 0)  # (L, 3, A)
    shift = np.einsum("na,lxa->nlx", all_factors, weights, optimize=True)
    residual = views.errors - shift @ views.rotation[:, :2].transpose(0, 2, 1)
    loads = weights[..., known_count:]
    moment = second[:, known_count:, known_count:].mean(0)
    of_person, of_frame = slice(0, person_count), slice(person_count, None)
    spread = np.tensordot(plane, hidden.covariance, (0, 0))  # (3, 3, m, m)
    unsure = np.einsum("abjk,laj,lbk->l", spread, loads, loads, optimize=True)
    variance = ((residual**2).sum((0, 2)) + unsure) / (2 * len(residual))
    return Factors(
        weights[..., :known_count],
        loads[..., of_person] @ np.linalg.cholesky(moment[of_person, of_person]),
        loads[..., of_frame] @ np.linalg.cholesky(moment[of_frame, of_frame]),
        np.maximum(np.sqrt(variance), SMALLEST_SIGMA_M),
    )


def start_factors(
    views: ErrorViews, known_ridge: Float64Array, person_count: int, frame_count: int, seed: int
) -> Factors:
    """Start of the expectation maximisation: known factors by regression, hidden ones at random, of the residuals'
    size."""
    nothing = Hidden(np.zeros((len(views.errors), 0)), np.zeros((len(views.errors), 0, 0)), 0.0)
    plain = maximise(views, nothing, 0, known_ridge)
    g = np.random.default_rng(seed)
    count = person_count + frame_count
    # Random mixtures of the residuals themselves, so that the first guess is as smooth as they are.
    lifted = known_residual(views, plain.known) @ views.rotation[:, :2]  # (N, L, 3)
    mixture = g.standard_normal((count, len(lifted))) / np.sqrt(len(lifted) * count)
    loads = np.tensordot(mixture, lifted, 1).transpose(1, 2, 0)
    return Factors(plain.known, loads[..., :person_count], loads[..., person_count:], plain.sigma)


def find_factors(
    views: ErrorViews, known_ridge: Float64Array, person_count: int, frame_count: int, rounds: int, seed: int
) -> Factors:
    """Factors by `rounds` of expectation maximisation from a random start."""
    factors = start_factors(views, known_ridge, person_count, frame_count, seed)
    for _ in range(rounds):
        factors = maximise(views, infer_hidden(views, factors), person_count, known_ridge)
    return factors
