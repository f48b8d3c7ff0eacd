"""Outlier rejection: keyframes that contradict the others are dropped, ordinary spread is kept."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from fitme.fit.fitter import IncrementalFitter
from fitme.fit.inversion.settings import InversionSettings
from fitme.fit.keyframe import Keyframe
from fitme.fit.keyframes.outliers import OutlierSettings, identity_outlier, outlier
from fitme.fit.settings import FitSettings
from fitme.fit.texture.disagreement import disagreement
from fitme.reflectance.generator import ReflectanceGenerator
from fitme.reflectance.generator_config import GeneratorConfig
from fitme.shape.morphable_model import MorphableModel
from fitme.track.occlusion import FaceOcclusion, Occlusion

SETTINGS = OutlierSettings()
FAIR = {"a": 0.020, "b": 0.022, "c": 0.019, "d": 0.025, "e": 0.021}


def test_the_worst_is_dropped_and_ordinary_spread_kept() -> None:
    assert outlier(FAIR, FAIR, SETTINGS) is None
    assert outlier(FAIR | {"bad": 0.11}, [*FAIR, "bad"], SETTINGS) == "bad"
    # Not among the candidates: it was compared in an earlier round.
    assert outlier(FAIR | {"bad": 0.11}, FAIR, SETTINGS) is None
    # Twice the others' disagreement is nothing when all agree well.
    assert outlier({key: 0.1 * value for key, value in FAIR.items()} | {"f": 0.005}, ["f"], SETTINGS) is None
    # Two against one is no majority that counts.
    assert outlier({"a": 0.02, "b": 0.02, "bad": 0.2}, ["bad"], SETTINGS) is None
    assert outlier(FAIR | {"alone": float("nan")}, ["alone"], SETTINGS) is None


def test_disagreement_is_bounded_for_each_texel_and_needs_something_shared() -> None:
    expected = np.full((200, 3), 0.3, np.float32)
    observed = expected.copy()
    weight = np.ones(200, np.float32)
    assert disagreement(expected, observed, weight) == pytest.approx(0.0, abs=1e-6)
    observed[:20] = 1.0
    assert disagreement(expected, observed, weight) == pytest.approx(0.025, abs=1e-3)
    assert np.isnan(disagreement(expected, observed, 0.01 * weight))


def test_another_person_is_an_outlier_among_poses_of_one_person() -> None:
    random = np.random.default_rng(0)
    person = random.normal(size=128)
    person *= 1.4 / np.linalg.norm(person)
    poses = {str(i): (person + 0.02 * random.normal(size=128)).astype(np.float32) for i in range(5)}
    assert identity_outlier(poses, 0.6, SETTINGS) is None
    other = random.normal(size=128)
    other *= 1.4 / np.linalg.norm(other)
    assert identity_outlier(poses | {"other": other.astype(np.float32)}, 0.6, SETTINGS) == "other"


@pytest.mark.parametrize("told", [True, False])
def test_a_fit_keeps_a_cover_out_of_the_skin(
    told: bool, model: MorphableModel, photograph: Callable[..., Keyframe], monkeypatch: pytest.MonkeyPatch
) -> None:
    """By leaving out the cover where it is told by comparison with the images before, else by dropping the image."""
    if not told:
        nothing = Occlusion(0.0, np.zeros((0, 2), np.float32), 0.0)
        monkeypatch.setattr(FaceOcclusion, "check", lambda *_: nothing)
    keyframes = [photograph(str(yaw), yaw) for yaw in (-20.0, -8.0, 0.0, 10.0, 20.0)]
    covered = keyframes[2].image.copy()
    landmarks = keyframes[2].observation.landmarks
    low, high = landmarks.min(0).astype(int), landmarks.max(0).astype(int)
    covered[(low[1] + high[1]) // 2 : high[1], low[0] : high[0]] = (40, 80, 160)
    generator = ReflectanceGenerator(
        GeneratorConfig(
            resolution=64, noise_size=8, latent_size=16, trunk_channels=(16, 16, 16, 16),
            branches={"diffuse": (8,), "specular": (8,), "normals": (8,)}, detail_maps=(4, 4),
        )
    )  # fmt: skip
    inversion = InversionSettings(crop_resolution=96, coarse_steps=1, inversion_steps=1, tuning_steps=1)
    settings = FitSettings(map_resolution=128, alignment_rounds=0, inversion=inversion)
    fitter = IncrementalFitter(model, generator, settings)
    for keyframe in keyframes:
        fitter.add_keyframe(keyframe)
    fitter.add_keyframe(replace(keyframes[2], key="covered", image=covered))
    while not fitter.converged:
        fitter.refine(0.0)
    kept = [keyframe.key for keyframe in keyframes]
    if told:
        assert not fitter.dropped
        _, texture = fitter.fused_texture()
        seen = texture.observed[texture.confidence > 0.5]
        redness = seen[:, 0] - seen[:, 2]
        assert np.percentile(redness, 2.0) > 0.0, "no blue in the skin"
        kept.append("covered")
    else:
        assert set(fitter.dropped) == {"covered"}
        assert "other keyframes" in fitter.dropped["covered"]
        assert "covered" not in fitter.state().estimates
    assert [keyframe.key for keyframe in fitter.keyframes] == kept
