"""Lips that touch on a neutral face, as information about identity.

Keyframes of somebody who speaks or smiles explain parted lips by identity as well as by expression: the neutral face
would keep a slit between them, dark at the corners.
"""

import numpy as np

from fitme.fit.solver.marginal_information import MarginalInformation
from fitme.shape.morphable_model import MorphableModel

RIMS = ((13, 14), (82, 87), (312, 317), (81, 178), (311, 402), (80, 88), (310, 318), (191, 95), (415, 324))
"""Landmarks of MediaPipe's mesh on the inner rims of the upper and the lower lip, one above the other."""
GAP_SIGMA_M = 0.0003
"""Standard deviation of the offset between two rims about that of the mean head, whose lips touch."""


def closed_lips_information(model: MorphableModel) -> MarginalInformation:
    """Information that the rims of the lips of a neutral head lie on each other as on the mean one."""
    upper, lower = (list(rims) for rims in zip(*RIMS, strict=True))
    placed = model.landmarks(model.identity_basis)  # (K, 478, 3)
    count = model.identity_count
    precision = np.zeros((count + 1, count + 1))
    if bool(model.mediapipe_valid[upper + lower].all()):
        offsets = (placed[:, upper] - placed[:, lower]).reshape(count, -1).double().numpy()
        precision[:count, :count] = offsets @ offsets.T / GAP_SIGMA_M**2
    return MarginalInformation(precision, np.zeros(count + 1))
