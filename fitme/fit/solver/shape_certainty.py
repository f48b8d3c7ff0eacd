"""Certainty of a head's form: standard deviations of its vertices after all that its images told."""

import numpy as np

from fitme.arrays import Float32Array
from fitme.fit.solver.joint_estimate import SolverSettings
from fitme.fit.solver.marginal_information import MarginalInformation
from fitme.shape.morphable_model import MorphableModel

AXES = 3


def vertex_sigma(model: MorphableModel, information: MarginalInformation, settings: SolverSettings) -> Float32Array:
    """(V,) metres: root mean square, over the axes, of the standard deviation of each vertex of the neutral head.

    The posterior of identity is Gaussian (Laplace's approximation): its precision is that of the images, with the
    errors of landmarks and the focal length marginalised, and of the prior. It holds for heads that the model can
    have; the size of the head, which places of all vertices share, is part of it.

    :param information: of all images about identity, shared errors of landmarks, and log focal length.
    """
    count, errors = model.identity_count, len(information.potential) - 1 - model.identity_count
    prior = np.concatenate(
        [np.full(count, settings.identity_weight), np.ones(errors), [settings.focal_log_sigma**-2.0]]
    )
    covariance = np.linalg.inv(information.precision + np.diag(prior))[:count, :count]
    basis = model.identity_basis.double().flatten(1).numpy()  # (K, 3V)
    variance = (basis * (covariance @ basis)).sum(0).reshape(-1, AXES)
    return np.asarray(np.sqrt(np.maximum(variance.mean(1), 0.0)), np.float32)
