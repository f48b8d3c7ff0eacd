"""The sclera as an observation of the light: its colour, the prediction of its colour, and the skin albedo given
both."""

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fitme.build.sclera.light_transfer import cast_rays, sclera_transfer
from fitme.build.sclera.measure import ScleraErrors, ScleraRenderer, covariances, statistics_of, trend
from fitme.color import linear_to_bytes
from fitme.fit.lighting.albedo_scale import (
    SKIN_SPECULAR,
    SKIN_TONES,
    SPECULAR_REFLECTION,
    AlbedoScaleSettings,
    LightObservation,
    expected_skin_albedo,
)
from fitme.fit.lighting.sclera import (
    EYE_HUE_LOG_SIGMA,
    EYE_LEVEL_LOG_SIGMA,
    SCLERA_STATISTICS_PATH,
    ScleraObservation,
    covariance_growth,
    load_sclera_statistics,
    log_reflection,
    observe_light,
    sclera_color,
)
from fitme.reflectance.packaged_models import packaged_generator
from fitme.shape.landmark_groups import LEFT_EYE, LEFT_EYE_CORNERS, LEFT_IRIS, RIGHT_EYE, RIGHT_EYE_CORNERS, RIGHT_IRIS
from fitme.shape.morphable_model import MorphableModel

FloatArray = npt.NDArray[np.float32]
SETTINGS = AlbedoScaleSettings()
STATISTICS = load_sclera_statistics()
WHITE = np.array([0.30, 0.27, 0.24], np.float32)
SKIN = np.array([0.20, 0.12, 0.09], np.float32)
SURROUNDINGS = np.array([3.5449] + 8 * [0.0], np.float32)
"""Light from everywhere, shading 1."""


def eyes(opening: float = 5.0, width: float = 34.0) -> tuple[npt.NDArray[np.uint8], FloatArray, FloatArray]:
    """An image of two eyes, half as open as `opening` pixels, landmarks, and weights of 1."""
    down, across = np.mgrid[:120, :220] + 0.5
    image = np.tile(SKIN, (120, 220, 1))
    landmarks = np.zeros((478, 2), np.float32)
    angles = np.linspace(0.0, 2.0 * np.pi, 16, endpoint=False)
    for lids, corners, iris, x in (
        (RIGHT_EYE, RIGHT_EYE_CORNERS, RIGHT_IRIS, 60.0),
        (LEFT_EYE, LEFT_EYE_CORNERS, LEFT_IRIS, 160.0),
    ):
        landmarks[list(lids)] = np.stack([x + 0.5 * width * np.cos(angles), 60.0 + opening * np.sin(angles)], -1)
        landmarks[list(corners)] = [[x - 0.5 * width, 60.0], [x + 0.5 * width, 60.0]]
        landmarks[list(iris)] = [[x, 60], [x + 6, 60], [x, 54], [x - 6, 60], [x, 66]]
        inside = ((across - x) / (0.5 * width)) ** 2 + ((down - 60.0) / max(opening, 0.1)) ** 2 < 1.0
        image[inside] = WHITE
        image[inside & (np.hypot(across - x, down - 60.0) < 6.0)] = 0.02
        image[inside & (np.hypot(across - x - 9.0, down - 58.0) < 1.2)] = 0.9  # a catchlight
    return linear_to_bytes(image.astype(np.float32)), landmarks, np.ones((120, 220), np.float32)


def observation(
    sclera: FloatArray = WHITE, skin: FloatArray = SKIN, light: FloatArray = SURROUNDINGS
) -> ScleraObservation:
    return ScleraObservation(sclera, skin, light)


def test_sclera_is_found_between_lids_iris_and_catchlight() -> None:
    color = sclera_color(*eyes())
    assert color is not None
    np.testing.assert_allclose(color, WHITE, rtol=0.06)


@pytest.mark.parametrize("opening", [0.0, 0.8])
def test_closed_eyes_have_no_sclera(opening: float) -> None:
    assert sclera_color(*eyes(opening)) is None


def test_covered_and_overexposed_eyes_and_eyes_outside_of_the_image_have_no_sclera() -> None:
    image, landmarks, usable = eyes()
    assert sclera_color(image, landmarks, 0.0 * usable) is None
    assert sclera_color(np.full_like(image, 255), landmarks, usable) is None
    assert sclera_color(image, landmarks + np.float32(500.0), usable) is None
    assert sclera_color(image, landmarks - np.float32(500.0), usable) is None
    assert sclera_color(image, 0.0 * landmarks, usable) is None


def test_one_covered_eye_leaves_the_other() -> None:
    image, landmarks, usable = eyes()
    usable[:, :110] = 0.0
    color = sclera_color(image, landmarks, usable)
    assert color is not None
    np.testing.assert_allclose(color, WHITE, rtol=0.06)


def test_an_observation_without_information_changes_nothing() -> None:
    assert observe_light([], SKIN) is None
    vague = LightObservation(np.array([[[1.0, 0.0, -1.0]]]), 1e6 * np.eye(3)[None], np.zeros(1), -np.inf)
    np.testing.assert_allclose(
        expected_skin_albedo(SKIN, SETTINGS, observation=vague), expected_skin_albedo(SKIN, SETTINGS), rtol=1e-3
    )


@given(st.floats(0.3, 3.0))
def test_exposure_makes_no_difference_to_the_ratio(factor: float) -> None:
    face = np.float32(factor) * SKIN
    reference = observe_light([observation()], SKIN)
    exposed = observe_light([observation(np.float32(factor) * WHITE, face)], face)
    assert reference is not None
    assert exposed is not None
    np.testing.assert_allclose(exposed.log_shading - np.log(factor), reference.log_shading, atol=1e-5)


@given(st.floats(1.05, 2.0), st.integers(0, len(SKIN_TONES) - 1))
def test_beside_a_brighter_sclera_skin_is_darker(factor: float, tone: int) -> None:
    face = (0.5 * (SKIN_TONES[tone] + SPECULAR_REFLECTION * SKIN_SPECULAR)).astype(np.float32)
    white = np.array([0.27, 0.25, 0.24], np.float32)
    dim, bright = (observe_light([observation(np.float32(f) * white, face)], face) for f in (1.0, factor))
    lighter, darker = (expected_skin_albedo(face, SETTINGS, observation=e) for e in (dim, bright))
    assert darker.mean() < lighter.mean()


def test_hue_of_the_sclera_is_that_of_the_light() -> None:
    blue = WHITE * np.array([0.9, 1.0, 1.1], np.float32)
    plain, cold = (
        expected_skin_albedo(SKIN, SETTINGS, observation=observe_light([observation(w)], SKIN)) for w in (WHITE, blue)
    )
    assert cold[2] / cold[0] < 0.97 * plain[2] / plain[0]


@pytest.mark.parametrize("contrast", [(-0.5, -0.69, -0.74), (-0.1, -0.15, -0.2), (-1.5, -1.5, -1.5)])
def test_lashes_and_lids_are_not_taken_for_sclera(contrast: tuple[float, float, float]) -> None:
    """Where the eyes should be, something as red as the skin or redder."""
    lids = SKIN * np.exp(np.array(contrast, np.float32))
    found = expected_skin_albedo(SKIN, SETTINGS, observation=observe_light(8 * [observation(lids)], SKIN))
    np.testing.assert_allclose(found, expected_skin_albedo(SKIN, SETTINGS), rtol=0.08)


def test_one_catchlight_among_views_makes_no_difference() -> None:
    plain = observe_light(5 * [observation()], SKIN)
    glared = observe_light([*(4 * [observation()]), observation(3.0 * WHITE)], SKIN)
    assert plain is not None
    assert glared is not None
    np.testing.assert_allclose(glared.log_shading, plain.log_shading, atol=1e-6)


def test_views_add_up_but_never_to_certainty() -> None:
    spreads = []
    for count in (1, 4, 1000):
        observed = observe_light(count * [observation()], SKIN)
        assert observed is not None
        assert (np.linalg.eigvalsh(observed.covariance) > 0.9 * EYE_HUE_LOG_SIGMA**2).all()
        spreads.append(np.trace(observed.covariance[0]))
    assert spreads[0] > spreads[1] > spreads[2] > 3.0 * EYE_LEVEL_LOG_SIGMA**2


def test_lids_and_brow_keep_light_from_above_off() -> None:
    def lit_from(x: float, y: float, z: float) -> float:
        light = SURROUNDINGS.copy()
        light[1:4] = 0.8 * np.array([y, z, x])
        return float(log_reflection(light)[0, 0, 1])

    assert lit_from(0.0, 1.0, 0.0) < lit_from(0.0, 0.0, 0.0) - 0.01
    assert lit_from(0.0, 0.0, 1.0) > lit_from(0.0, 1.0, 0.0) + 0.1
    assert lit_from(1.0, 0.0, 0.0) == pytest.approx(lit_from(-1.0, 0.0, 0.0))


def test_skin_around_the_eyes_shines_into_them() -> None:
    reflection = log_reflection(SURROUNDINGS)[0]
    assert (np.diff(reflection[:, 1]) < 0.0).all()  # tones go from light to dark


def test_rays_hit_what_a_plain_test_says() -> None:
    draw = np.random.default_rng(2)
    points, directions = draw.normal(size=(12, 3)), draw.normal(size=(9, 3))
    triangles = draw.normal(size=(15, 3, 3)) * 2.0
    reached = np.zeros((12, 9), np.bool_)
    along, aside = triangles[:, 1] - triangles[:, 0], triangles[:, 2] - triangles[:, 0]
    cast_rays(points, directions, triangles[:, 0].copy(), along, aside, reached)
    expected = np.ones_like(reached)
    for p, point in enumerate(points):
        for d, direction in enumerate(directions):
            for k in range(len(triangles)):
                system = np.stack([along[k], aside[k], -direction], 1)
                u, v, distance = np.linalg.solve(system, point - triangles[k, 0])
                expected[p, d] &= not (u >= 0.0 and v >= 0.0 and u + v <= 1.0 and distance > 0.0)
    assert 0.1 < reached.mean() < 0.9
    np.testing.assert_array_equal(reached, expected)


def test_transfer_is_that_of_the_default_model(model: MorphableModel) -> None:
    transfer, openness = sclera_transfer(model)
    np.testing.assert_allclose(transfer, STATISTICS.transfer, atol=0.005)
    np.testing.assert_allclose(openness, STATISTICS.openness, atol=0.01)


def test_skin_albedo_is_better_with_the_eyes_than_without() -> None:
    """People under light drawn from its prior, whose eyes err by the shipped covariances."""
    draw = np.random.default_rng(3)
    views = 4
    own = EYE_LEVEL_LOG_SIGMA**2 * np.ones((3, 3)) + EYE_HUE_LOG_SIGMA**2 * np.eye(3) + STATISTICS.people_covariance
    with_eyes, without = [], []
    balanced = SETTINGS.light_priors()[0]
    for _ in range(300):
        skin = SKIN_TONES[draw.integers(len(SKIN_TONES))] * np.exp(SETTINGS.hue_log_sigma * draw.standard_normal(3))
        light = SETTINGS.mean_shading * np.exp(draw.multivariate_normal(np.zeros(3), balanced.covariance[0]))
        face = ((skin + SPECULAR_REFLECTION * SKIN_SPECULAR) * light).astype(np.float32)
        expected = log_reflection(SURROUNDINGS, skin[None])[0, 0] + np.log(light)
        person = draw.multivariate_normal(np.zeros(3), own)
        missed = person + draw.multivariate_normal(np.zeros(3), STATISTICS.view_covariance, views)
        observations = [observation(np.exp(expected + off).astype(np.float32), face) for off in missed]
        truth = np.log(skin)
        with_eyes.append(
            np.log(expected_skin_albedo(face, SETTINGS, observation=observe_light(observations, face))) - truth
        )
        without.append(np.log(expected_skin_albedo(face, SETTINGS)) - truth)
    error, plain = (np.abs(np.array(values)[:, 1]).mean() for values in (with_eyes, without))
    assert error < 0.75 * plain
    assert np.abs(np.mean(with_eyes, 0)).max() < 0.1


def test_synthetic_heads_look_as_predicted_within_the_shipped_covariances(model: MorphableModel) -> None:
    """People on whom the statistics were not measured, rendered and found by MediaPipe."""
    errors = ScleraRenderer(model, packaged_generator()).errors(first=91_000, people=2)
    missed = errors.error - STATISTICS.log_bias - STATISTICS.shading_slope * errors.shading[:, None]
    spread = np.sqrt(
        covariance_growth(errors.shading)[:, None] * np.diag(STATISTICS.people_covariance + STATISTICS.view_covariance)
    )
    assert len(errors.person) >= 5
    assert ((np.abs(missed) / spread).mean(0) < 1.5).all()
    assert (np.abs(missed) / spread).max() < 5.0


def test_trend_and_covariances_are_those_of_the_drawn_errors() -> None:
    draw = np.random.default_rng(5)
    person = np.repeat(np.arange(800), 4)
    shading = 0.3 * draw.standard_normal(len(person))
    own, view = 0.1 * draw.standard_normal((800, 3)), 0.15 * draw.standard_normal((len(person), 3))
    growth = np.sqrt(1.0 + (2.0 * shading[:, None]) ** 2)
    error = 0.05 - 0.4 * shading[:, None] + growth * (own[person] + view)
    slope, unevenness = trend(shading, error[:, 1])
    assert slope == pytest.approx(-0.4, abs=0.04)
    assert unevenness == pytest.approx(2.0, abs=0.3)
    between, within = covariances((error - 0.05 + 0.4 * shading[:, None]) / growth, person)
    np.testing.assert_allclose(between, 0.1**2 * np.eye(3), atol=0.0015)
    np.testing.assert_allclose(within, 0.15**2 * np.eye(3), atol=0.0015)


def test_eyes_in_deep_shade_carry_less_information() -> None:
    behind = SURROUNDINGS.copy()
    behind[2] = -1.5
    even, shaded = (observe_light([observation(light=light)], SKIN) for light in (SURROUNDINGS, behind))
    assert even is not None
    assert shaded is not None
    assert (np.diag(shaded.covariance[0]) > 1.5 * np.diag(even.covariance[0])).all()


def test_statistics_survive_their_file(tmp_path: Path) -> None:
    STATISTICS.save(tmp_path / "sclera.json")
    assert (tmp_path / "sclera.json").read_text() == SCLERA_STATISTICS_PATH.read_text()


def test_statistics_are_those_of_the_drawn_errors() -> None:
    draw = np.random.default_rng(6)
    person = np.repeat(np.arange(400), 4)
    error = 0.02 + 0.1 * draw.standard_normal((400, 3))[person] + 0.15 * draw.standard_normal((len(person), 3))
    errors = ScleraErrors(person, np.ones((len(person), 3)), 0.2 * draw.standard_normal(len(person)), error)
    found = statistics_of(errors, STATISTICS.transfer, STATISTICS.openness)
    assert found.shading_slope == pytest.approx(0.0, abs=0.05)
    np.testing.assert_allclose(found.log_bias, 0.02, atol=0.02)
    np.testing.assert_allclose(found.people_covariance, 0.1**2 * np.eye(3), atol=0.003)
    np.testing.assert_allclose(found.view_covariance, 0.15**2 * np.eye(3), atol=0.003)
