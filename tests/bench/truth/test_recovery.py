"""Deviation from the mean face that a fit recovers, on the default model's own heads."""

import numpy as np
import pytest
import torch

from fitme.bench.truth.metrics import Similarity
from fitme.bench.truth.recovery import Recovery, score_recovery
from fitme.bench.truth.scores import outer_triangles
from fitme.geometry import rotation_matrix
from fitme.shape.face_regions import FaceRegion
from fitme.shape.model_file import load_default_model
from fitme.shape.normals import vertex_normals

UNMOVED = Similarity(1.0, np.eye(3), np.zeros(3))


def recovered(share: float, to_fit: Similarity = UNMOVED) -> dict[FaceRegion, Recovery]:
    """Recovery of a fit that has a share of a person's coefficients, in a frame of its own."""
    model = load_default_model()
    person = 0.9 * torch.randn(1, model.identity_count, generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        true, fitted = (model.neutral(factor * person)[0].double().numpy() for factor in (1.0, share))
        normals = vertex_normals(model.mean[None], model.triangles)[0].double().numpy()
        landmarks = model.landmarks(model.mean[None])[0].double().numpy()
    allowed = outer_triangles(model)
    face = allowed[model.face_triangles[torch.from_numpy(allowed)].numpy()]
    scan = true[model.triangles.numpy()[face]].mean(1)
    return score_recovery(
        scan, UNMOVED, to_fit, model.mean.double().numpy(), normals, to_fit.apply(fitted),
        model.triangles.numpy().astype(np.int64), allowed, landmarks,
    )  # fmt: skip


def test_a_fit_of_half_the_deviation_has_half_the_slope_in_every_region():
    whole, half = recovered(1.0), recovered(0.5)
    assert set(whole) == set(FaceRegion)
    for region in FaceRegion:
        assert whole[region].correlation > 0.99
        assert whole[region].slope == pytest.approx(1.0, abs=0.01)
        assert half[region].correlation > 0.9
        assert half[region].slope == pytest.approx(0.5, abs=0.1)


def test_the_frame_and_the_size_of_the_fit_make_no_difference():
    turn = rotation_matrix(torch.tensor([0.3, -0.2, 0.5], dtype=torch.float64)).numpy()
    moved = recovered(0.5, Similarity(1.1, turn, np.array([0.1, 0.2, -0.7])))
    for region, expected in recovered(0.5).items():
        assert moved[region].slope == pytest.approx(expected.slope, rel=1e-4)


def test_the_mean_face_recovers_nothing():
    for recovery in recovered(0.0).values():
        assert abs(recovery.slope) < 1e-6
