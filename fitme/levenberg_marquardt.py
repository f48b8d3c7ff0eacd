"""The Levenberg-Marquardt iteration (Marquardt, SIAM J. Applied Mathematics 1963) of every non-linear least-squares
problem of the package: what a step is belongs to the problem; damping, acceptance and stopping belong here."""

from collections.abc import Callable
from typing import Protocol, TypeVar

import numpy as np

DAMPING_INCREASE = 10.0
"""Factor on the damping after a rejected step."""
DAMPING_DECREASE = 0.3
"""Factor on the damping after an accepted step."""


class Evaluation(Protocol):
    """A state of a problem together with its cost."""

    @property
    def cost(self) -> float:
        """Sum of squared residuals, robust weights and priors included; an additive constant may be left out."""


EvaluationT = TypeVar("EvaluationT", bound=Evaluation)


def levenberg_marquardt(
    start: EvaluationT,
    step: Callable[[EvaluationT, float], EvaluationT],
    *,
    iterations: int,
    damping: float,
    smallest_gain: float = 0.0,
) -> EvaluationT:
    """The best of the states that damped Gauss-Newton steps lead to from `start`.

    :param step: evaluates the state to which one Gauss-Newton step leads from an evaluated state, under a damping
        relative to the diagonal of the normal matrix. Bounds on parameters are the step's to keep
        (`fitme.bounded_newton`). It may raise `numpy.linalg.LinAlgError` where the normal matrix is singular, which
        counts as a rejected step.
    :param iterations: largest number of steps, rejected ones included.
    :param damping: damping of the first step.
    :param smallest_gain: the iteration ends after an accepted step that lowers the cost by less than this share of the
        cost before it.
    """
    best = start
    for _ in range(iterations):
        try:
            candidate = step(best, damping)
        except np.linalg.LinAlgError:
            damping *= DAMPING_INCREASE
            continue
        gain = best.cost - candidate.cost
        if not gain > 0.0:  # a cost that is not a number is rejected as well
            damping *= DAMPING_INCREASE
            continue
        converged = gain < smallest_gain * best.cost
        best, damping = candidate, damping * DAMPING_DECREASE
        if converged:
            break
    return best
