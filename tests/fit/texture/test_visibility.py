"""Weights of usable pixels."""

from collections.abc import Callable, Iterator

import numpy as np
import pytest

from fitme.fit.keyframe import Keyframe
from fitme.fit.texture.visibility import AROUND_GROWTH, Visibility
from fitme.shape.model_file import load_default_model


@pytest.fixture
def visibility() -> Iterator[Visibility]:
    visibility = Visibility(load_default_model())
    yield visibility
    visibility.close()


def test_weights_are_one_on_the_face_and_zero_far_away(
    visibility: Visibility, photograph: Callable[..., Keyframe]
) -> None:
    keyframe = photograph("front")
    usable = visibility.usable_pixels(keyframe)
    assert usable.shape == keyframe.image.shape[:2]
    assert usable[keyframe.observation.face_mask(grow=-0.3)].min() > 0.95
    away = ~keyframe.observation.face_mask(grow=2.0 * AROUND_GROWTH)
    assert usable[away].max() < 0.01
    assert usable.min() >= 0.0
    assert usable.max() <= 1.0


def test_background_around_the_face_is_not_used(visibility: Visibility, photograph: Callable[..., Keyframe]) -> None:
    keyframe = photograph("front")
    usable = visibility.usable_pixels(keyframe)
    background = (np.abs(keyframe.image.astype(int) - keyframe.image[0, 0]).max(-1) < 3) & ~(
        keyframe.observation.face_mask(grow=0.15)
    )
    assert usable[background].mean() < 0.05
