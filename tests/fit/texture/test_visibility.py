"""Weights of usable pixels."""

from collections.abc import Callable, Iterator
from dataclasses import replace

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


def test_what_covers_the_first_keyframe_alone_is_left_out_of_it(
    visibility: Visibility, photograph: Callable[..., Keyframe]
) -> None:
    clean = photograph("front")
    x, y = clean.observation.landmarks[[13, 152]].mean(0).astype(int)
    radius = int(0.3 * np.ptp(clean.observation.landmarks[:, 0]))
    image = clean.image.copy()
    image[y - radius : y + radius, x - radius : x + radius] = (20, 60, 180)
    covered = replace(clean, key="covered", image=image)
    keyframes = [covered, clean, replace(clean, key="third")]
    visibility.learn_face(keyframes)
    chin = [float(visibility.usable_pixels(keyframe)[y, x]) for keyframe in keyframes]
    assert chin == pytest.approx([0.0, 1.0, 1.0], abs=0.05)
