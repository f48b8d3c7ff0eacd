"""Incremental fitter on renders of a known head: stages in order, warm starts, state that resumes."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch

from fitme.errors import InputError
from fitme.fit.fitter import IncrementalFitter
from fitme.fit.inversion.settings import InversionSettings
from fitme.fit.keyframe import Keyframe
from fitme.fit.settings import FitSettings
from fitme.fit.state import FitState
from fitme.fit.texture.mouth_interior import BEHIND_LIPS
from fitme.fit.texture.unprojection import texel_table
from fitme.fit.texture.unseen_expressions import UNCHANGED
from fitme.frame_pool import FramePool
from fitme.reflectance.expression_prior import packaged_expression_prior
from fitme.reflectance.generator import ReflectanceGenerator
from fitme.reflectance.generator_config import GeneratorConfig
from fitme.shape.expressions import EXPRESSION_NAMES
from fitme.shape.morphable_model import MorphableModel
from fitme.stage import Stage

SETTINGS = FitSettings(
    map_resolution=128,
    alignment_rounds=1,
    inversion=InversionSettings(
        crop_resolution=96, coarse_resolution=32, coarse_steps=20, inversion_steps=3, tuning_steps=3, refresh_steps=2
    ),
)
CONFIG = GeneratorConfig(
    resolution=64,
    noise_size=8,
    latent_size=16,
    trunk_channels=(16, 16, 16, 16),
    branches={"diffuse": (8,), "specular": (8,), "normals": (8,)},
    detail_maps=(4, 4),
)


def small_generator() -> ReflectanceGenerator:
    torch.manual_seed(0)
    generator = ReflectanceGenerator(CONFIG)
    generator.measure_mean_w(64)
    return generator


def new_fitter(model: MorphableModel) -> IncrementalFitter:
    return IncrementalFitter(model, small_generator(), SETTINGS)


def converge(fitter: IncrementalFitter) -> list[Stage]:
    stages = []
    while not fitter.converged:
        stages.append(fitter.refine(0.0).stage)
    return stages


def extract_correctives(fitter: IncrementalFitter, *frames: Keyframe) -> None:
    for frame in frames:
        fitter.add_expression_frame(frame)
    fitter.finish_correctives()


@pytest.fixture(scope="module")
def keyframes(photograph: Callable[..., Keyframe]) -> list[Keyframe]:
    return [photograph("left", -25.0), photograph("front"), photograph("right", 25.0)]


@pytest.fixture(scope="module")
def fitted(model: MorphableModel, keyframes: list[Keyframe]) -> tuple[IncrementalFitter, list[Stage]]:
    fitter = new_fitter(model)
    for keyframe in keyframes:
        fitter.add_keyframe(keyframe)
    return fitter, converge(fitter)


def test_stages_come_in_order_and_all(fitted: tuple[IncrementalFitter, list[Stage]]) -> None:
    fitter, stages = fitted
    order = [stage.position for stage in stages]
    assert order == sorted(order)
    assert set(stages) == set(Stage) - {Stage.WAITING}
    state = fitter.state()
    assert state.stage is Stage.TUNING
    assert state.w_plus is not None
    assert state.tuned
    assert [r.index for r in state.rounds] == list(range(len(stages)))


def test_finds_poses_and_shape(fitted: tuple[IncrementalFitter, list[Stage]], identity: torch.Tensor) -> None:
    state = fitted[0].state()
    for key, yaw in (("left", -25.0), ("front", 0.0), ("right", 25.0)):
        found = np.degrees(state.estimates[key].pose.yaw_pitch_roll()[0])
        assert abs(found - yaw) < 2.5, key
    assert np.corrcoef(state.identity[:10], identity.numpy()[:10])[0, 1] > 0.7


def test_tells_how_certain_it_is_of_the_form(
    model: MorphableModel,
    keyframes: list[Keyframe],
    fitted: tuple[IncrementalFitter, list[Stage]],
    identity: torch.Tensor,
) -> None:
    sigma = fitted[0].avatar().shape_sigma
    assert sigma is not None
    face = model.face_vertices
    single = new_fitter(model)
    single.add_keyframe(keyframes[1])
    while not single.stage.has_reached(Stage.SKIN):
        single.refine(0.0)
    assert single.avatar().shape_sigma is None, "not before all is fitted"
    converge(single)
    of_one = single.avatar().shape_sigma
    assert of_one is not None
    assert (sigma[face] < of_one[face]).float().mean() > 0.9, "three views are more certain than one"
    # Errors of the form, place and size of the head set aside, are about as large as it says.
    found, true = (model.neutral(i[None])[0, face] for i in (fitted[0].avatar().identity, identity))
    found, true = ((points - points.mean(0)) / (points - points.mean(0)).norm() for points in (found, true))
    metres = (model.mean[face] - model.mean[face].mean(0)).norm()
    error = metres * (found - true).square().mean(1).sqrt()
    assert 0.3 < float((error / sigma[face]).median()) < 2.0


def test_explains_its_keyframes(fitted: tuple[IncrementalFitter, list[Stage]], keyframes: list[Keyframe]) -> None:
    fitter = fitted[0]
    for keyframe in keyframes:
        estimate = fitter.fit_frame(keyframe.observation, keyframe.image)
        image, mask = fitter.render_estimate(estimate, keyframe.observation.camera)
        assert image.shape == keyframe.image.shape
        oval = keyframe.observation.face_mask(grow=-0.1)
        assert (mask[oval] == 255).mean() > 0.98
        error = image[oval].astype(float) - keyframe.image[oval]
        assert 10.0 * np.log10(255.0**2 / (error**2).mean()) > 27.0
        assert estimate.loss < 0.08


def test_the_same_keyframes_give_the_same_avatar(
    model: MorphableModel, keyframes: list[Keyframe], fitted: tuple[IncrementalFitter, list[Stage]]
) -> None:
    again = new_fitter(model)
    for keyframe in keyframes:
        again.add_keyframe(keyframe)
    torch.manual_seed(1)  # A fit does not depend on the global random state.
    converge(again)
    first, second = fitted[0].avatar().maps, again.avatar().maps
    assert torch.equal(first.diffuse, second.diffuse)
    assert torch.equal(first.normals, second.normals)


def test_nothing_left_to_do_means_idle(fitted: tuple[IncrementalFitter, list[Stage]]) -> None:
    fitter = fitted[0]
    before = fitter.state()
    report = fitter.refine(5.0)
    assert report.seconds < 0.5
    assert np.array_equal(before.identity, fitter.state().identity)


def test_resumes_from_its_state(
    fitted: tuple[IncrementalFitter, list[Stage]], model: MorphableModel, photograph: Callable[..., Keyframe]
) -> None:
    fitter = fitted[0]
    state = fitter.state()
    resumed = IncrementalFitter.from_state(state, model, small_generator(), SETTINGS)
    again = resumed.state()
    assert again.stage == state.stage
    np.testing.assert_array_equal(again.identity, state.identity)
    assert again.w_plus is not None
    assert state.w_plus is not None
    np.testing.assert_array_equal(again.w_plus, state.w_plus)
    assert again.tuned.keys() == state.tuned.keys()
    np.testing.assert_allclose(resumed.avatar().maps.diffuse.numpy(), fitter.avatar().maps.diffuse.numpy(), atol=1e-6)
    assert resumed.converged
    assert resumed.displays_all_keyframes
    resumed.add_keyframe(photograph("jaw", 10.0, jaw=0.5))
    assert not resumed.displays_all_keyframes
    np.testing.assert_array_equal(resumed.avatar().identity.numpy(), state.identity)
    converge(resumed)
    assert resumed.displays_all_keyframes
    assert len(resumed.state().rounds) > len(state.rounds)
    assert "jaw" in resumed.state().estimates
    # Warm: the latent moved on from where it was, not from the mean.
    moved = np.abs(resumed.state().w_plus - state.w_plus).mean()  # type: ignore[operator]
    mean = small_generator().mean_w.numpy()
    assert moved < 0.5 * np.abs(state.w_plus - mean).mean()


def test_expression_frames_change_skin_for_their_expression_alone(
    fitted: tuple[IncrementalFitter, list[Stage]], model: MorphableModel, photograph: Callable[..., Keyframe]
) -> None:
    fitter = IncrementalFitter.from_state(fitted[0].state(), model, small_generator(), SETTINGS)
    converge(fitter)
    before = fitter.avatar()
    keyframe = photograph("open", 5.0, jaw=0.6)
    chin = keyframe.image.copy()
    below = int(keyframe.observation.landmarks[17, 1])
    chin[below:, :, 1:] //= 2
    extract_correctives(fitter, replace(keyframe, image=chin))
    after = fitter.avatar()
    assert [k.key for k in fitter.keyframes] == [k.key for k in fitted[0].keyframes]
    np.testing.assert_array_equal(after.identity.numpy(), before.identity.numpy())
    # Behind the lips, the maps take what an open mouth shows for every expression.
    table = texel_table(model, before.maps.diffuse.shape[1])
    outside = ~table.within(BEHIND_LIPS)
    shown, kept = (table.from_map(avatar.maps.diffuse[0].numpy())[outside] for avatar in (after, before))
    np.testing.assert_array_equal(shown, kept)
    opened = torch.zeros(52)
    opened[EXPRESSION_NAMES.index("jawOpen")] = 0.6
    darker = [
        float(((after.maps_with(e).diffuse - before.maps.diffuse)[..., 1] < -0.05).float().mean())
        for e in (opened, torch.zeros(52))
    ]
    assert darker[0] > 0.005
    assert darker[1] < 0.2 * darker[0]
    # A resumed fit extracts the same correctives; those of removed frames are gone.
    again = IncrementalFitter.from_state(fitter.state(), model, small_generator(), SETTINGS)
    assert again.correctives_pending
    extract_correctives(again)
    assert_same_correctives(again, fitter)
    again.remove_expression_frame("open")
    again.apply_correctives()
    assert not again.correctives_pending
    assert again.state().expression_frames == ()
    correctives = again.avatar().correctives
    assert correctives is not None
    # Beside the keyframes' there are those of people in general.
    general = len(packaged_expression_prior().expressions) + len(UNCHANGED)
    assert len(correctives.expressions) == len(again.keyframes) + general


def assert_same_correctives(one: IncrementalFitter, other: IncrementalFitter) -> None:
    correctives = [fitter.avatar().correctives for fitter in (one, other)]
    assert correctives[0] is not None
    assert correctives[1] is not None
    np.testing.assert_allclose(correctives[0].expressions.numpy(), correctives[1].expressions.numpy(), atol=1e-3)
    np.testing.assert_allclose(correctives[0].deltas.float().numpy(), correctives[1].deltas.float().numpy(), atol=0.01)


def test_keyframes_precede_expression_frames(
    fitted: tuple[IncrementalFitter, list[Stage]], model: MorphableModel, photograph: Callable[..., Keyframe]
) -> None:
    fitter = IncrementalFitter.from_state(fitted[0].state(), model, small_generator(), SETTINGS)
    fitter.add_expression_frame(photograph("open", jaw=0.6))
    assert fitter.correctives_pending
    fitter.add_keyframe(photograph("up", 12.0))
    assert not fitter.correctives_pending
    with pytest.raises(InputError, match="no corrective to extract"):
        fitter.extract_correctives()
    with pytest.raises(InputError, match="open"):
        fitter.add_expression_frame(photograph("open"))
    converge(fitter)
    assert fitter.correctives_pending


def test_an_expression_frame_that_cannot_be_extracted_is_removed(
    fitted: tuple[IncrementalFitter, list[Stage]], model: MorphableModel, photograph: Callable[..., Keyframe]
) -> None:
    fitter = IncrementalFitter.from_state(fitted[0].state(), model, small_generator(), SETTINGS)
    keyframe = photograph("damaged", jaw=0.6)
    fitter.add_expression_frame(replace(keyframe, image=keyframe.image[..., :1]))
    fitter.extract_correctives()  # recalls the texture first
    with pytest.raises((RuntimeError, ValueError, IndexError)):
        fitter.extract_correctives()
    assert not fitter.correctives_pending
    assert fitter.expression_frames == ()


def test_frames_at_a_time_change_nothing_but_the_time(
    fitted: tuple[IncrementalFitter, list[Stage]],
    model: MorphableModel,
    photograph: Callable[..., Keyframe],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    frames = [photograph(name, jaw=jaw) for name, jaw in (("open", 0.6), ("half", 0.3), ("ajar", 0.15))]
    damaged = replace(frames[0], key="damaged", image=frames[0].image[..., :1])
    found = []
    for threads in (1, 3):
        monkeypatch.setattr("fitme.fit.fitter.FramePool", partial(FramePool, threads))
        fitter = IncrementalFitter.from_state(fitted[0].state(), model, small_generator(), SETTINGS)
        for frame in (frames[0], damaged, *frames[1:]):
            fitter.add_expression_frame(frame)
        failures = 0
        while fitter.correctives_pending:
            try:
                fitter.extract_correctives()
            except (RuntimeError, ValueError, IndexError):
                failures += 1
        fitter.apply_correctives()
        assert failures == 1
        assert [frame.key for frame in fitter.expression_frames] == ["open", "half", "ajar"]
        found.append(fitter.avatar().correctives)
    assert found[0] is not None
    assert found[1] is not None
    np.testing.assert_array_equal(found[0].deltas.numpy(), found[1].deltas.numpy())


def test_one_keyframe_is_enough(model: MorphableModel, keyframes: list[Keyframe]) -> None:
    fitter = new_fitter(model)
    fitter.add_keyframe(keyframes[1])
    fitter.refine(0.0)
    assert fitter.stage is Stage.LANDMARKS
    grey = fitter.avatar().maps.diffuse
    assert float(grey.std()) < 1e-6
    fitter.refine(0.0)
    assert fitter.stage is Stage.SKIN
    assert float(fitter.avatar().maps.diffuse.std()) > 0.01
    assert fitter.state().focal == SETTINGS.alignment.solver.focal_prior


def test_irises_and_scleras_can_be_left_out(
    model: MorphableModel, keyframes: list[Keyframe], monkeypatch: pytest.MonkeyPatch
) -> None:
    looked_at = []
    monkeypatch.setattr("fitme.fit.stages.limbus_views", lambda *_: looked_at.append("irises") or ())
    monkeypatch.setattr("fitme.fit.stages.sclera_color", lambda *_: looked_at.append("scleras"))
    for used in (True, False):
        looked_at.clear()
        settings = replace(
            SETTINGS,
            alignment=replace(SETTINGS.alignment, irises=used),
            fusion=replace(SETTINGS.fusion, scleras=used),
        )
        fitter = IncrementalFitter(model, small_generator(), settings)
        fitter.add_keyframe(keyframes[1])
        while not fitter.stage.has_reached(Stage.SKIN):
            fitter.refine(0.0)
        assert set(looked_at) == ({"irises", "scleras"} if used else set())


def test_keyframes_can_go(model: MorphableModel, keyframes: list[Keyframe]) -> None:
    fitter = new_fitter(model)
    for keyframe in keyframes[:2]:
        fitter.add_keyframe(keyframe)
    fitter.refine(0.0)
    fitter.remove_keyframe("left")
    fitter.refine(0.0)
    assert [k.key for k in fitter.keyframes] == ["front"]
    assert set(fitter.state().estimates) == {"front"}


def test_errors_name_what_is_missing(model: MorphableModel, keyframes: list[Keyframe]) -> None:
    fitter = new_fitter(model)
    with pytest.raises(InputError, match="add a keyframe"):
        fitter.refine(1.0)
    with pytest.raises(InputError, match="no avatar yet"):
        fitter.avatar()
    with pytest.raises(InputError, match="nothing to keep"):
        fitter.state()
    fitter.add_keyframe(keyframes[0])
    fitter.add_expression_frame(keyframes[1])
    with pytest.raises(InputError, match="until the fit has converged"):
        fitter.extract_correctives()
    with pytest.raises(InputError, match="left"):
        fitter.add_keyframe(replace(keyframes[1], key="left"))


def test_state_is_plain_arrays(fitted: tuple[IncrementalFitter, list[Stage]]) -> None:
    state: FitState = fitted[0].state()
    assert state.identity.dtype == np.float32
    assert all(value.dtype == np.float32 for value in state.tuned.values())
    assert state.maps is not None
    assert state.maps.diffuse.shape == (128, 128, 3)
    assert state.maps.diffuse.min() >= 0.0
    assert state.maps.diffuse.max() <= 1.0
