"""Teeth of keyframes: looked for once, and again when what they were found by has changed."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch

from fitme.fit.alignment.face_crop import crop_face
from fitme.fit.estimate import KeyframeEstimate
from fitme.fit.keyframe import Keyframe
from fitme.fit.keyframes.keyframe_set import KeyframeEntry
from fitme.fit.teeth_stage import TeethStage
from fitme.geometry import HeadPose
from fitme.render.light import Light
from fitme.shape.expressions import EXPRESSION_COUNT, expression_index
from fitme.shape.morphable_model import MorphableModel

FOCAL = 1.0
"""Focal length over the longer side of the fixtures' images."""


def test_teeth_of_a_keyframe_follow_its_estimate_its_pixels_and_the_head(
    model: MorphableModel, identity: torch.Tensor, photograph: Callable[..., Keyframe]
) -> None:
    stage = TeethStage(model, 256)
    keyframe = photograph("open", jaw=0.6)
    usable = np.ones(keyframe.image.shape[:2], np.float32)
    expression = np.zeros(EXPRESSION_COUNT, np.float32)
    expression[expression_index("jawOpen")] = 0.6
    pose = HeadPose(np.zeros(3, np.float32), np.array([0.0, 0.0, -0.45], np.float32))
    estimate = KeyframeEstimate(pose, expression, Light.ambient().sh[0].numpy(), 0.0)
    entry = KeyframeEntry(keyframe, usable, crop_face(keyframe, usable, 96), estimate)
    head = stage.placed(identity.numpy())

    found = stage.of_keyframe(entry, head, FOCAL)
    assert found is not None
    assert stage.of_keyframe(entry, head.copy(), FOCAL) is found

    moved = head + np.float32(0.5)
    assert stage.of_keyframe(entry, moved, FOCAL) is not found
    assert stage.of_keyframe(entry, moved, 1.1 * FOCAL) is not stage.of_keyframe(entry, moved, FOCAL)

    found = stage.of_keyframe(entry, head, FOCAL)
    entry.usable = np.zeros_like(usable)
    covered = stage.of_keyframe(entry, head, FOCAL)
    assert covered is not found
    assert covered is None or not covered.weight.any()

    entry.usable = usable
    entry.estimate = replace(estimate, expression=np.zeros_like(expression))
    closed = stage.of_keyframe(entry, head, FOCAL)
    assert closed is None or closed.weight.sum() < 0.1 * found.weight.sum(), "lips that are closed hide teeth"
