"""Reference keyframes are chosen for variety, and marginalised ones count as if they were active."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from fitme.fit.inversion.adam import Adam, Group
from fitme.fit.keyframes.keyframe_set import reference_keyframes
from fitme.fit.keyframes.marginalized import MarginalizedKeyframes
from fitme.fit.solver.gauss_newton import marginal_information_of, solve_jointly
from fitme.fit.solver.joint_estimate import JointEstimate, SolverSettings
from fitme.fit.solver.marginal_information import MarginalInformation
from fitme.fit.solver.point_targets import MeshBasis, PointTargets
from fitme.fit.texture.delighting import BandSums, ViewAlbedo
from fitme.fit.texture.settings import FusionSettings
from fitme.fit.texture.unprojection import TexelTable, texel_table
from fitme.geometry import Camera
from fitme.shape.morphable_model import MorphableModel

SETTINGS = FusionSettings()


@pytest.fixture(scope="module")
def table(model: MorphableModel) -> TexelTable:
    return texel_table(model, 64)


def view(table: TexelTable, seed: int) -> ViewAlbedo:
    random = np.random.default_rng(seed)
    index = np.flatnonzero(random.random(len(table.rows)) < 0.6).astype(np.int32)
    albedo = random.uniform(0.1, 0.9, (len(index), 3)).astype(np.float16)
    return ViewAlbedo(index, albedo, random.uniform(0.01, 1.0, len(index)).astype(np.float16))


def test_adding_and_subtracting_a_view_leaves_the_sums(table: TexelTable) -> None:
    views = [view(table, seed) for seed in range(4)]
    sums = BandSums.empty(len(table.rows))
    for item in views:
        sums.add(table, item, SETTINGS.detail_power, SETTINGS.band_sigma)
    before = sums.copy()
    extra = view(table, 9)
    sums.add(table, extra, SETTINGS.detail_power, SETTINGS.band_sigma)
    assert not np.allclose(sums.albedo(), before.albedo())
    sums.add(table, extra, SETTINGS.detail_power, SETTINGS.band_sigma, sign=-1.0)
    observed = before.weight > 1e-3
    np.testing.assert_allclose(sums.albedo()[observed], before.albedo()[observed], atol=1e-5)


def test_sums_are_empty_after_all_are_reactivated(table: TexelTable) -> None:
    marginalized = MarginalizedKeyframes(table, SETTINGS)
    assert marginalized.texture() is None
    assert marginalized.information() is None
    information = MarginalInformation(np.eye(3), np.ones(3))
    marginalized.marginalize("a", view(table, 0), 1.0, information)
    marginalized.marginalize("b", view(table, 1), 2.0, information)
    texture = marginalized.texture()
    assert texture is not None
    assert texture.sharpest == 2.0
    marginalized.reactivate("a")
    marginalized.reactivate("a")
    assert "a" not in marginalized
    assert "b" in marginalized
    marginalized.reactivate("b")
    assert marginalized.texture() is None


def test_reference_keyframes_are_the_most_different_and_worst_explained() -> None:
    directions = {name: np.radians([yaw, 0.0]) for name, yaw in (("l", -40), ("m", 2), ("r", 40), ("n", 0), ("x", 3))}
    losses = dict.fromkeys(("l", "m", "r", "x"), 0.05)
    assert set(reference_keyframes(directions, losses, ["n"], 2)) == {"l", "r"}
    assert reference_keyframes(directions, losses | {"m": 0.06}, ["l", "r", "n"], 1) == ["x"]
    assert reference_keyframes(directions, losses | {"m": 0.2}, ["l", "r", "n"], 1) == ["m"]
    assert sorted(reference_keyframes(directions, losses, ["n"], 9)) == ["l", "m", "r", "x"]
    assert reference_keyframes({"n": np.zeros(2)}, {}, ["n"], 4) == []


def test_marginal_information_replaces_keyframes_in_the_joint_solve(model: MorphableModel) -> None:
    basis, camera, settings = MeshBasis(model), Camera.centered(500.0, 640, 480), SolverSettings(robust_scale=1e6)
    random = np.random.default_rng(2)
    triangles = random.choice(len(model.triangles), 150, replace=False)
    points = basis.points(triangles, np.full((150, 3), 1.0 / 3.0, np.float32))
    identity = np.zeros(model.identity_count)
    identity[:5] = random.normal(size=5)
    count = 3
    start = JointEstimate(
        500.0 / 640.0, np.zeros(model.identity_count), np.tile(np.eye(3), (count, 1, 1)),
        np.tile([0.0, 0.0, -0.5], (count, 1)), np.zeros((count, 52)),
    )  # fmt: skip
    targets = []
    for turn in (-0.4, 0.0, 0.4):
        turned = np.array([[np.cos(turn), 0.0, np.sin(turn)], [0.0, 1.0, 0.0], [-np.sin(turn), 0.0, np.cos(turn)]])
        shape = points.mean + points.identity @ identity
        placed = shape @ turned.T + np.array([0.0, 0.0, -0.5])
        depth = -placed[:, 2]
        pixels = np.stack([320.0 + 500.0 * placed[:, 0] / depth, 240.0 - 500.0 * placed[:, 1] / depth], -1)
        targets.append(PointTargets(points, pixels, np.full(150, 1.0), camera))
        start.rotations[len(targets) - 1] = turned
    together = solve_jointly(targets, start, replace(settings, iterations=12))
    evidence = marginal_information_of(targets[1], together, 1, settings) + marginal_information_of(
        targets[2], together, 2, settings
    )
    first = JointEstimate(
        start.focal, start.identity, start.rotations[:1], start.translations[:1], start.expressions[:1]
    )
    alone = solve_jointly(targets[:1], first, replace(settings, iterations=12))
    helped = solve_jointly(targets[:1], first, replace(settings, iterations=12), prior=evidence)
    off = [np.abs(found.identity - together.identity).max() for found in (alone, helped)]
    assert off[1] < 0.1 * off[0]
    assert abs(np.log(helped.focal / together.focal)) < 0.01


def test_adam_keeps_its_state_across_slices() -> None:
    random = torch.Generator().manual_seed(0)
    gradients = [torch.randn(4, 3, generator=random) for _ in range(6)]
    reference = torch.zeros(4, 3, requires_grad=True)
    optimizer = torch.optim.Adam([reference], 0.1)
    value = torch.zeros(4, 3)
    descent = Adam()
    for gradient in gradients:
        reference.grad = gradient.clone()
        optimizer.step()
        leaf, still = value.clone().requires_grad_(), torch.ones(2, requires_grad=True)
        leaf.grad = gradient.clone()
        descent.step([Group([leaf, still], 0.1)])
        assert leaf.grad is None
        assert torch.equal(still, torch.ones(2))
        value = leaf.detach()
    torch.testing.assert_close(value, reference.detach())
