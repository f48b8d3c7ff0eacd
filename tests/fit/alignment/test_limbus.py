"""The rim of the iris, in eyes that are drawn."""

import cv2
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fitme.fit.alignment.limbus import LimbusView, limbus_views, pooled_radius
from fitme.geometry import Camera, HeadPose
from fitme.shape.expressions import EXPRESSION_COUNT, expression_index
from fitme.shape.landmark_groups import LANDMARK_COUNT, LEFT_EYE, LEFT_IRIS, RIGHT_EYE, RIGHT_IRIS
from fitme.shape.morphable_model import MorphableModel
from fitme.track.observation import FaceObservation, FaceStatus, FrameQuality

Image = npt.NDArray[np.uint8]
Drawn = tuple[Image, FaceObservation]

HEIGHT, WIDTH = 80, 200
OVERSAMPLING = 8


def drawn_eyes(radius_px: float, g: np.random.Generator, *, yaw_rad: float = 0.0, blink: float = 0.0) -> Drawn:
    """Two eyes whose irises have a radius, a little off the middle, blurred, noisy and compressed; the tracker's
    irises are of another size and place."""
    y, x = (np.mgrid[: HEIGHT * OVERSAMPLING, : WIDTH * OVERSAMPLING] + 0.5) / OVERSAMPLING
    image = np.full(x.shape, g.uniform(0.05, 0.6))
    landmarks = np.zeros((LANDMARK_COUNT, 2))
    white, iris = g.uniform(0.3, 0.6), g.uniform(0.02, 0.2)
    for rim, ring, middle in ((LEFT_EYE, LEFT_IRIS, 140.0), (RIGHT_EYE, RIGHT_IRIS, 60.0)):
        center = np.array([middle, 40.0]) + g.uniform(-1.0, 1.0, 2)
        half, above, below = 2.1 * radius_px, 1.0 * radius_px, 0.85 * radius_px
        slid = center[0] + g.normal(0.0, 0.15) * radius_px
        along = np.clip((x - slid) / half, -1.0, 1.0)
        arch = 1.0 - along**2
        is_open = (y - center[1] > -above * arch) & (y - center[1] < below * arch)
        distance = np.hypot((x - center[0]) / np.cos(yaw_rad), y - center[1]) / radius_px
        image = np.where(is_open, np.where(distance < 0.35, 0.01, np.where(distance < 1.0, iris, white)), image)
        u = np.linspace(-1.0, 1.0, 9)
        lids = [np.stack([slid + half * u, center[1] + side * (1.0 - u**2)], 1) for side in (below, -above)]
        landmarks[list(rim)] = np.concatenate([lids[0], lids[1][-2:0:-1]])
        tracked_px = radius_px * np.exp(g.normal(0.0, 0.08))
        cross = np.array([[0, 0], [1, 0], [0, -1], [-1, 0], [0, 1]])
        landmarks[list(ring)] = center + g.normal(0.0, 0.06 * radius_px, 2) + tracked_px * cross
    image = cv2.resize(image, (WIDTH, HEIGHT), interpolation=cv2.INTER_AREA)
    image = cv2.GaussianBlur(image, (0, 0), g.uniform(0.3, 0.9)) + 0.004 * g.standard_normal(image.shape)
    encoded = np.rint(255.0 * np.clip(image, 0.0, 1.0) ** (1.0 / 2.2)).astype(np.uint8)
    file = cv2.imencode(".jpg", np.repeat(encoded[..., None], 3, 2), [cv2.IMWRITE_JPEG_QUALITY, 85])[1]
    expression = np.zeros(EXPRESSION_COUNT, np.float32)
    expression[[expression_index("eyeBlinkLeft"), expression_index("eyeBlinkRight")]] = blink
    observation = FaceObservation(
        landmarks.astype(np.float32),
        np.zeros(LANDMARK_COUNT, np.float32),
        HeadPose(np.array([0.0, yaw_rad, 0.0], np.float32), np.array([0.0, 0.0, -0.5], np.float32)),
        expression,
        Camera.centered(700.0, WIDTH, HEIGHT),
        FrameQuality(1.0, 0.5, 0.0, 100.0, 0.0),
        FaceStatus.OK,
        None,
    )
    return np.asarray(cv2.imdecode(file, cv2.IMREAD_COLOR), np.uint8), observation


@pytest.mark.parametrize(("radius_px", "yaw_rad"), [(6.0, 0.0), (8.0, 0.28), (10.0, -0.2)])
def test_finds_the_rim_that_was_drawn(model: MorphableModel, radius_px: float, yaw_rad: float) -> None:
    g = np.random.default_rng(3)
    views = [view for _ in range(6) for view in limbus_views(*drawn_eyes(radius_px, g, yaw_rad=yaw_rad), model)]
    assert len(views) >= 10
    found = pooled_radius([(view, 1e-3) for view in views], 1e-3 * radius_px)
    assert found is not None
    assert found == pytest.approx(1e-3 * radius_px * np.exp(-0.038), rel=0.04)


def test_closed_and_averted_eyes_say_nothing(model: MorphableModel) -> None:
    g = np.random.default_rng(4)
    assert len(limbus_views(*drawn_eyes(8.0, g), model)) == 2
    assert not limbus_views(*drawn_eyes(8.0, g, blink=0.9), model)
    assert not limbus_views(*drawn_eyes(8.0, g, yaw_rad=0.6), model)
    image, observation = drawn_eyes(8.0, g)
    assert not limbus_views(np.full_like(image, 90), observation, model)


@given(st.floats(0.3, 3.0), st.integers(0, 2**31))
def test_a_radius_goes_with_the_metres_of_a_pixel(factor: float, seed: int) -> None:
    g = np.random.default_rng(seed)
    radii = np.exp(np.linspace(1.0, 3.0, 60))
    rim = g.uniform(1.8, 2.2)  # Logarithm of a radius that people's irises can have.
    views = [(LimbusView(0, radii, np.exp(-0.5 * ((np.log(radii) - rim) / 0.1) ** 2)), 1e-3)] * 3
    expected_m = 1e-3 * float(np.exp(2.0))
    one = pooled_radius(views, expected_m)
    other = pooled_radius([(view, factor * metres) for view, metres in views], factor * expected_m)
    assert one is not None
    assert other == pytest.approx(factor * one, rel=1e-6)
    assert pooled_radius([], expected_m) is None


def test_a_pupils_rim_is_no_limbus() -> None:
    """The rim of a pupil in a light iris is the sharper one, and too small for any person's iris."""
    radii = np.exp(np.linspace(1.0, 3.0, 100))
    rims = [(0.9, 1.4), (0.6, 2.0)]  # score and logarithm of the radius
    score = np.sum([height * np.exp(-0.5 * ((np.log(radii) - at) / 0.05) ** 2) for height, at in rims], 0)
    views = [(LimbusView(0, radii, score), 1e-3)]
    limbus_m = 1e-3 * float(np.exp(2.0))
    assert pooled_radius(views, 1.1 * limbus_m) == pytest.approx(limbus_m, rel=0.01)
    assert pooled_radius(views, 0.73 * limbus_m) is None
    falling = [(LimbusView(0, radii, 1.0 / radii), 1e-3)]
    assert pooled_radius(falling, limbus_m) is None  # Nothing stands out: what lies beyond is no evidence.
