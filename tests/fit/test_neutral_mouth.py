"""The neutral head of somebody who smiles or speaks in every image: shut lips, a mouth as wide as it is."""

from collections.abc import Callable

import numpy as np
import pytest
import torch

from fitme.fit.keyframe import Keyframe
from fitme.shape.landmark_groups import LEFT_EYE_CORNERS, LIP_RIMS, MOUTH_CORNERS, RIGHT_EYE_CORNERS
from fitme.shape.morphable_model import MorphableModel
from fitme.stage import Stage

from .test_fitter import new_fitter

LARGEST_GAP_MM = 1.5
OUTER_EYE_CORNERS = LEFT_EYE_CORNERS[1], RIGHT_EYE_CORNERS[1]
LARGEST_CHANGE = 0.03
"""Of the width of the mouth over that of the eyes: in millimetres it follows the size of the head, which landmarks of
somebody without irises do not tell."""


def gap_and_width(model: MorphableModel, identity: np.ndarray) -> tuple[float, float]:
    """Largest vertical distance of the lips' rims, millimetres, and width of the mouth of a neutral head, over the
    distance of the eyes' outer corners."""
    landmarks = 1e3 * model.landmarks(model.neutral(torch.from_numpy(identity)[None].float()))[0].double().numpy()
    upper, lower = np.array(LIP_RIMS).T
    mouth, eyes = (
        float(np.linalg.norm(np.subtract(*landmarks[list(ends)]))) for ends in (MOUTH_CORNERS, OUTER_EYE_CORNERS)
    )
    return float(np.abs(landmarks[upper] - landmarks[lower])[:, 1].max()), mouth / eyes


def neutral_head(model: MorphableModel, keyframes: list[Keyframe]) -> np.ndarray:
    fitter = new_fitter(model)
    for keyframe in keyframes:
        fitter.add_keyframe(keyframe)
    while not fitter.stage.has_reached(Stage.SKIN):
        fitter.refine(0.0)
    return fitter.avatar().identity.numpy()


@pytest.fixture(scope="module")
def mouth(model: MorphableModel, photograph: Callable[..., Keyframe]) -> Callable[..., tuple[float, float]]:
    def fitted(**expression: float) -> tuple[float, float]:
        keyframes = [photograph(f"{yaw}", yaw, **expression) for yaw in (-25.0, 0.0, 25.0)]
        return gap_and_width(model, neutral_head(model, keyframes))

    return fitted


def test_a_smile_or_speech_in_every_image_is_not_the_neutral_mouth(mouth: Callable[..., tuple[float, float]]) -> None:
    gap, width = mouth()
    assert gap < LARGEST_GAP_MM
    for expression in ({"smile": 0.8, "jaw": 0.1}, {"jaw": 0.35}):
        gap, found = mouth(**expression)
        assert gap < LARGEST_GAP_MM
        assert found == pytest.approx(width, rel=LARGEST_CHANGE)
