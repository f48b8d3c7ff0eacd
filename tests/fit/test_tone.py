import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from fitme.fit.tone import SKIN_LOG_COVARIANCE, SKIN_LOG_MEAN, ToneSettings, likely_skin_tone

SETTINGS = ToneSettings()
LIGHT_COVARIANCE = SETTINGS.shading_log_sigma**2 * np.ones((3, 3)) + SETTINGS.tint_log_sigma**2 * np.eye(3)
colors = st.lists(st.floats(0.01, 0.9), min_size=3, max_size=3).map(lambda c: np.array(c, np.float32))


@given(colors)
def test_no_other_split_is_likelier(face: np.ndarray) -> None:
    def cost(log_albedo: np.ndarray) -> float:
        skin = log_albedo - SKIN_LOG_MEAN
        light = np.log(face) - log_albedo - np.log(SETTINGS.mean_shading)
        return float(
            skin @ np.linalg.solve(SKIN_LOG_COVARIANCE, skin) + light @ np.linalg.solve(LIGHT_COVARIANCE, light)
        )

    found = np.log(likely_skin_tone(face, SETTINGS).astype(np.float64))
    for step in 0.05 * np.concatenate([np.eye(3), -np.eye(3), np.ones((1, 3))]):
        assert cost(found) < cost(found + step)


@given(colors, st.floats(1.1, 3.0))
def test_a_brighter_picture_is_lighter_skin_but_less_so_than_it_is_brighter(face: np.ndarray, factor: float) -> None:
    dim, bright = likely_skin_tone(face, SETTINGS), likely_skin_tone(face * np.float32(factor), SETTINGS)
    assert (bright > dim).all()
    assert (bright < dim * factor).all()


def test_redder_skin_of_the_same_brightness_is_darker() -> None:
    pale, red = likely_skin_tone(np.array([[0.25, 0.2, 0.18], [0.33, 0.18, 0.12]], np.float32), SETTINGS)
    assert red[1] < 0.8 * pale[1]


def test_hue_and_exposure_together_tell_more_than_exposure_alone() -> None:
    draw = np.random.default_rng(0)
    skin = draw.multivariate_normal(SKIN_LOG_MEAN, SKIN_LOG_COVARIANCE, 2000)
    light = np.log(SETTINGS.mean_shading) + draw.multivariate_normal(np.zeros(3), LIGHT_COVARIANCE, 2000)
    found = np.log(likely_skin_tone(np.exp(skin + light).astype(np.float32), SETTINGS))
    by_exposure = SKIN_LOG_MEAN + 0.75 * (skin + light - np.log(SETTINGS.mean_shading) - SKIN_LOG_MEAN)
    error, plain = (np.abs(values - skin)[:, 1].mean() for values in (found, by_exposure))
    assert error < 0.9 * plain
