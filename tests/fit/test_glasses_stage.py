"""Glasses in a fit: left out of the pixels that show skin, drawn or not as the settings say, and resumed."""

from collections.abc import Callable
from dataclasses import replace

import cv2
import numpy as np
import pytest

from fitme.arrays import Float32Array
from fitme.fit.alignment.face_crop import crop_face
from fitme.fit.estimate import KeyframeEstimate
from fitme.fit.glasses_stage import GlassesStage
from fitme.fit.keyframe import Keyframe
from fitme.fit.keyframes.keyframe_set import KeyframeEntry, KeyframeSet
from fitme.fit.keyframes.marginalized import MarginalizedKeyframes
from fitme.fit.settings import FitSettings
from fitme.fit.texture.unprojection import texel_table
from fitme.geometry import HeadPose
from fitme.glasses.settings import GlassesMode, GlassesSettings
from fitme.render.light import Light
from fitme.shape.morphable_model import MorphableModel

POSE = HeadPose(np.zeros(3, np.float32), np.array([0.0, 0.0, -0.45], np.float32))
FOCAL = 1.0
CROP = 96


@pytest.fixture
def keyframe_set(model: MorphableModel, photograph: Callable[..., Keyframe]) -> KeyframeSet:
    """One keyframe with black rims round both eyes, as solved."""
    keyframe = photograph("front")
    image = keyframe.image.copy()
    for x in (0.032, -0.032):
        center = round(160.0 + 320.0 * x / 0.425), round(120.0 + 320.0 * 0.005 / 0.425)
        cv2.ellipse(image, center, (17, 14), 0.0, 0.0, 360.0, (6, 6, 6), 3, cv2.LINE_AA)
    keyframe = replace(keyframe, image=image)
    usable = np.ones(image.shape[:2], np.float32)
    estimate = KeyframeEstimate(POSE, np.zeros(52, np.float32), Light.ambient(0.8).sh[0].numpy(), 0.0)
    found = KeyframeSet(MarginalizedKeyframes(texel_table(model, 64), FitSettings().fusion), 4)
    found.add(KeyframeEntry(keyframe, usable, crop_face(keyframe, usable, CROP), estimate), new=True)
    return found


def _identity(model: MorphableModel) -> Float32Array:
    return np.zeros(model.identity_count, np.float32)


def test_they_are_left_out_of_the_skin_once(model: MorphableModel, keyframe_set: KeyframeSet) -> None:
    stage = GlassesStage(model, GlassesSettings(), CROP)
    stage.fit(keyframe_set, _identity(model), FOCAL)
    assert stage.shown is not None
    (entry,) = keyframe_set.entries.values()
    rim = entry.keyframe.image.max(-1) < 30
    assert entry.usable[rim].mean() < 0.1
    assert 0.5 < entry.usable.mean() < 1.0
    assert entry.crop.usable.min() < 0.1, "the crop of the dense stages as well"
    before = entry.usable
    stage.fit(keyframe_set, _identity(model), FOCAL)
    assert entry.usable is before
    # A stage that goes on from stored glasses leaves them out before anything is sampled.
    resumed = GlassesStage(model, GlassesSettings(), CROP)
    resumed.glasses = stage.glasses
    entry.usable, entry.glasses_left_out = np.ones_like(entry.usable), False
    resumed.leave_out(keyframe_set, FOCAL)
    assert entry.usable[rim].mean() < 0.1


def test_a_setting_leaves_them_out_or_in_the_skin(model: MorphableModel, keyframe_set: KeyframeSet) -> None:
    (entry,) = keyframe_set.entries.values()
    skin = GlassesStage(model, GlassesSettings(mode=GlassesMode.SKIN), CROP)
    skin.fit(keyframe_set, _identity(model), FOCAL)
    assert skin.shown is None and entry.usable.min() == 1.0
    omitted = GlassesStage(model, GlassesSettings(mode=GlassesMode.LEFT_OUT), CROP)
    omitted.fit(keyframe_set, _identity(model), FOCAL)
    assert omitted.shown is None and entry.usable.min() < 0.1
