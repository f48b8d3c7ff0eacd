"""A face without expression has its lids at rest, and closes its eyes no farther than to."""

from dataclasses import replace

import numpy as np
import torch

from fitme.avatar import Avatar
from fitme.export.portrait import avatar_vertices
from fitme.export.surface import posed_heads
from fitme.reflectance.maps import ReflectanceMaps
from fitme.shape.expressions import expression_index
from fitme.shape.model_file import load_default_model
from fitme.stage import Stage


def test_lids_rest_on_the_neutral_head_and_blinks_close_the_rest() -> None:
    model = load_default_model()
    wide_open = Avatar(torch.zeros(model.identity_count), ReflectanceMaps.grey(), 1.0, Stage.TUNING)
    calm = replace(wide_open, resting_lids=0.2)
    before, after = (posed_heads(avatar, model, None) for avatar in (wide_open, calm))
    blink, wide = (1 + expression_index(f"{name}Left") for name in ("eyeBlink", "eyeWide"))
    lid = np.argmax(np.linalg.norm(before.vertices[blink] - before.vertices[0], axis=1))
    falls = (before.vertices[0] - after.vertices[0])[lid, 1]
    assert 0.0005 < falls < 0.004
    np.testing.assert_allclose(after.vertices[0], avatar_vertices(calm, model, {}), atol=1e-6)
    # Closed and wide open eyes are as before.
    np.testing.assert_allclose(after.vertices[blink][lid], before.vertices[blink][lid], atol=1e-6)
    np.testing.assert_allclose(after.vertices[wide][lid], before.vertices[wide][lid], atol=1e-6)
