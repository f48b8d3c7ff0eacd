"""Size of heads: by the volume of heads of a shape, and by irises."""

from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fitme.fit.alignment.head_scale import (
    IRIS_LOG_SIGMA,
    IRIS_RADIUS_M,
    MEASURED_LOG_BIAS,
    KeyframeEyes,
    determined_directions,
    iris_information,
    volume_information,
)
from fitme.fit.alignment.limbus import LimbusView
from fitme.fit.estimate import KeyframeEstimate
from fitme.fit.solver.marginal_information import MarginalInformation
from fitme.geometry import Camera, HeadPose
from fitme.shape.expressions import EXPRESSION_COUNT
from fitme.shape.morphable_model import MorphableModel

CAMERA = Camera.centered(704.0, 640, 480)
FOCAL = 1.1
DISTANCE_M = 0.5


def size_of(model: MorphableModel, identity: torch.Tensor) -> torch.Tensor:
    """To first order about the mean head, as defined."""
    face = model.mean[model.face_vertices].double()
    outward = face - face.mean(0)
    size = (outward**2).sum(1).mean().sqrt()
    moved = torch.einsum("k,kvx->vx", identity, model.identity_basis[:, model.face_vertices].double())
    return size + (moved * outward).sum(1).mean() / size


def solved(total: MarginalInformation) -> npt.NDArray[np.float64]:
    """Most likely identity (K,) under information and the prior, focal length marginalised without information."""
    precision = total.precision[:-1, :-1]
    return np.linalg.solve(precision + np.eye(len(precision)), total.potential[:-1])


def keyframe_eyes(model: MorphableModel, radius_m: float, count: int = 8) -> list[KeyframeEyes]:
    """Sharp sights of both eyes of the mean head, whose irises have a radius."""
    estimate = KeyframeEstimate(
        HeadPose(np.zeros(3, np.float32), np.array([0.0, 0.0, -DISTANCE_M], np.float32)),
        np.zeros(EXPRESSION_COUNT, np.float32),
        np.zeros((9, 3), np.float32),
        0.0,
    )
    views = []
    for eye, rim in ((0, 473), (1, 468)):
        depth = DISTANCE_M - float(model.landmarks(model.mean[None])[0, rim, 2])
        radius_px = radius_m * FOCAL * CAMERA.width / depth
        tried = radius_px * np.exp(np.linspace(-0.4, 0.4, 81))
        views.append(LimbusView(eye, tried, np.exp(-0.5 * (np.log(tried / radius_px) / 0.05) ** 2)))
    return [KeyframeEyes(tuple(views), estimate, CAMERA)] * (count // 2)


def test_counts_the_directions_that_are_told() -> None:
    precision = np.zeros((7, 7))
    precision[0, 0], precision[1, 1] = 1e6, 1.0
    assert determined_directions(MarginalInformation(precision, np.zeros(7)), 5) == pytest.approx(1.5, abs=1e-3)
    # A direction that only a known focal length would determine does not count.
    precision[2, 2] = precision[6, 6] = 1e6
    precision[2, 6] = precision[6, 2] = 1e6 - 1.0
    assert determined_directions(MarginalInformation(precision, np.zeros(7)), 5) < 2.5


def test_heads_of_a_shape_are_as_large_as_they_are_drawn(model: MorphableModel) -> None:
    """Shape is determined in many directions, but not size: the MAP head is too small, and the volume correction
    removes the bias."""
    g = np.random.default_rng(0)
    count, noise = model.identity_count, 0.01
    basis = model.identity_basis[:, model.face_vertices].double().numpy()  # (K, V, 3)
    basis = (basis - basis.mean(1, keepdims=True)).reshape(count, -1).T  # (3V, K)
    face = model.mean[model.face_vertices].double().numpy()
    middle = (face - face.mean(0)).ravel()
    ratios = []
    for _ in range(40):
        true = middle + basis @ g.normal(size=count)
        direction = true / np.linalg.norm(true)
        across = np.zeros((len(direction), count + 1))
        across[:, :-1] = (basis - np.outer(direction, direction @ basis)) / noise
        right = (direction * (direction @ middle) - middle) / noise + g.normal(size=len(direction))
        information = MarginalInformation(across.T @ across, across.T @ right)
        for corrected in (False, True):
            found = np.zeros(count)
            for _ in range(3):
                total = (
                    information + volume_information(model, found.astype(np.float32), information)
                    if corrected
                    else information
                )
                found = np.linalg.solve(total.precision[:-1, :-1] + np.eye(count), total.potential[:-1])
            ratios.append(np.log(np.linalg.norm(middle + basis @ found) / np.linalg.norm(true)))
    plain, mended_ratio = np.mean(ratios[::2]), np.mean(ratios[1::2])
    assert plain < -0.008
    assert abs(mended_ratio) < 0.7 * abs(plain)


@given(st.floats(0.0, 200.0), st.integers(0, 2**31))
def test_volume_is_the_logarithm_of_size(model: MorphableModel, follows: float, seed: int) -> None:
    g = np.random.default_rng(seed)
    identity = torch.from_numpy(g.normal(size=model.identity_count)).requires_grad_()
    information = np.zeros((model.identity_count + 1,) * 2)
    information[3, 3] = information[5, 5] = 1e9
    measured_information = MarginalInformation(information, np.zeros(len(information)))
    (slope,) = torch.autograd.grad((2.0 + follows) * size_of(model, identity).log(), identity)
    found = identity.detach().numpy()
    total = volume_information(model, found.astype(np.float32), measured_information, follows)
    assert -total.gradient(np.append(found, 0.0))[:-1] == pytest.approx(slope.numpy(), rel=1e-4, abs=1e-6)


@pytest.mark.parametrize("factor", [0.9, 1.0, 1.1])
def test_a_head_whose_irises_are_too_large_is_too_large(model: MorphableModel, factor: float) -> None:
    mean = np.zeros(model.identity_count, np.float32)
    measured = factor * IRIS_RADIUS_M * np.exp(MEASURED_LOG_BIAS)
    total = iris_information(model, mean, FOCAL, keyframe_eyes(model, measured))
    assert total is not None
    found = torch.from_numpy(solved(total))
    grown = float((size_of(model, found) / size_of(model, torch.zeros_like(found))).log())
    # People's irises differ, so that only a part of the difference is attributed to the head's size.
    assert grown == pytest.approx(-0.45 * np.log(factor), abs=0.02)


def test_says_no_more_of_size_than_irises_are_alike(model: MorphableModel) -> None:
    mean = np.zeros(model.identity_count, np.float32)
    few, many = (
        iris_information(model, mean, FOCAL, keyframe_eyes(model, IRIS_RADIUS_M, count)) for count in (2, 2000)
    )
    assert few is not None
    assert many is not None
    assert np.trace(few.precision) < np.trace(many.precision)
    slope = np.sqrt(np.diagonal(many.precision))  # rank one: slope of log size over its standard deviation
    size = float(size_of(model, torch.zeros(model.identity_count, dtype=torch.float64)))
    unit = np.zeros(model.identity_count)
    unit[0] = 1.0
    by_first = float(size_of(model, torch.from_numpy(unit))) / size - 1.0
    assert slope[0] < abs(by_first) / IRIS_LOG_SIGMA


def test_without_eyes_nothing_is_said(model: MorphableModel) -> None:
    mean = np.zeros(model.identity_count, np.float32)
    closed = [replace(eyes, views=()) for eyes in keyframe_eyes(model, IRIS_RADIUS_M)]
    assert iris_information(model, mean, FOCAL, closed) is None
