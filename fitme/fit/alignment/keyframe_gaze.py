"""Gaze of keyframes on the head that was fitted to them: the tracker's is that of another head in another pose."""

import numpy as np

from fitme.arrays import Float32Array, Float64Array
from fitme.fit.solver.joint_estimate import GAZE, JointEstimate
from fitme.geometry import Camera
from fitme.shape.morphable_model import MorphableModel
from fitme.track.gaze import EyeModel, solve_gaze

VERGENCE = 1.0
"""A person's eyes diverge as they do: keyframes, unlike the frames of a video, need not agree with their neighbours."""


class KeyframeGaze:
    """Eyes and landmarks of a model, on which gaze is solved for."""

    def __init__(self, model: MorphableModel) -> None:
        self._eyes = EyeModel.of(model)
        self._mean, self._identity, self._expression = (part.double().numpy() for part in model.landmark_model())

    def of(self, observed: Float32Array, camera: Camera, estimate: JointEstimate, index: int) -> Float64Array:
        """Expression (52,) of keyframe `index` of an estimate, with the gaze of the irises among its landmarks.

        :param observed: (478, 2) pixels.
        :param camera: with the estimate's focal length.
        """
        expression: Float64Array = estimate.expressions[index].copy()
        landmarks = self._mean + np.tensordot(estimate.identity, self._identity, 1)
        landmarks = landmarks + np.tensordot(np.where(GAZE, 0.0, expression), self._expression, 1)
        found = solve_gaze(
            self._eyes.centers(estimate.identity), landmarks, estimate.rotations[index], estimate.translations[index],
            camera, observed.astype(np.float64), expression, VERGENCE,
        )  # fmt: skip
        expression[GAZE] = found[GAZE]
        return expression
