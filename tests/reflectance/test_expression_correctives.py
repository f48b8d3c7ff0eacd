"""Albedo correctives: at, between and far from the known expressions."""

import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fitme.reflectance.expression_correctives import FAR_M, HALF_FADE, AlbedoCorrectives, with_expression
from fitme.reflectance.maps import ReflectanceMaps

COUNT = 52
AMPLITUDE_M = 0.004
"""Displacement of the face by each expression."""


def correctives(deltas: list[float], side: int = 4) -> AlbedoCorrectives:
    """Correctives of expressions with one different coefficient each, at full activation."""
    maps = torch.stack([torch.full((side, side, 3), delta) for delta in deltas]).half()
    count = len(deltas)
    return AlbedoCorrectives(torch.eye(COUNT)[:count], AMPLITUDE_M**2 * torch.eye(COUNT), torch.eye(count), maps)


def test_a_known_expression_has_its_own_corrective() -> None:
    known = correctives([0.1, -0.2, 0.05])
    diffuse = torch.full((1, 4, 4, 3), 0.5)
    for index, delta in enumerate((0.1, -0.2, 0.05)):
        changed = known.albedo(diffuse, known.expressions[index])
        assert float(changed.mean()) == pytest.approx(0.5 + delta, abs=0.002)
    assert float(known.albedo(diffuse, 5.0 * torch.ones(COUNT)).mean()) == pytest.approx(0.5, abs=1e-3)


@given(st.lists(st.floats(0.0, 1.0), min_size=COUNT, max_size=COUNT))
def test_weights_are_shares(coefficients: list[float]) -> None:
    weights = correctives([0.1, -0.2, 0.05]).weights(torch.tensor(coefficients))
    assert (weights >= 0.0).all()
    assert float(weights.sum()) < 1.0 + 1e-5


def test_correctives_of_two_expressions_are_interpolated() -> None:
    known = correctives([0.1, -0.2])
    halfway = known.weights(known.expressions.mean(0))
    assert float(halfway[0]) == pytest.approx(float(halfway[1]), rel=1e-4)
    path = [known.weights(torch.lerp(*known.expressions, share)) for share in torch.linspace(0.0, 1.0, 41)]
    steps = torch.stack(path).diff(dim=0)
    assert (steps[:, 1] >= -1e-6).all()
    assert float(steps.abs().max()) < 0.3  # nothing jumps


@given(st.floats(0.0, 1.0))
def test_a_corrective_fades_with_distance(share: float) -> None:
    known = correctives([0.1])
    near, nearer = (float(known.weights(known.expressions[0] * level)[0]) for level in (share, min(1.0, share + 0.1)))
    assert nearer >= near
    fade = math.exp(-0.5 * (AMPLITUDE_M * (1.0 - share) / FAR_M) ** 2)
    assert near == pytest.approx((1.0 + HALF_FADE) * fade / (fade + HALF_FADE), rel=1e-3)


def test_changes_are_mixed_from_fewer_maps() -> None:
    plain = correctives([0.1, -0.2, 0.05])
    mixed = replace(plain, mixing=torch.tensor([[1.0], [-2.0], [0.5]]), deltas=plain.deltas[:1])
    diffuse = torch.full((1, 4, 4, 3), 0.5)
    for expression in (*plain.expressions, plain.expressions.mean(0)):
        assert torch.allclose(mixed.albedo(diffuse, expression), plain.albedo(diffuse, expression), atol=1e-4)


def test_the_albedo_stays_in_its_range() -> None:
    known = correctives([0.9, -0.9])
    for index in range(2):
        changed = known.albedo(torch.full((1, 4, 4, 3), 0.5), known.expressions[index])
        assert 0.0 <= float(changed.min()) <= float(changed.max()) <= 1.0


def test_without_correctives_maps_stay() -> None:
    maps = ReflectanceMaps.constant((0.2, 0.3, 0.4), 0.5, 4)
    assert with_expression(maps, None, torch.zeros(COUNT)) is maps
    changed = with_expression(maps, correctives([0.1]), torch.eye(COUNT)[0])
    assert (changed.diffuse > maps.diffuse).all()
    assert torch.equal(changed.specular, maps.specular)


def test_tensors_of_different_sizes_are_refused() -> None:
    with pytest.raises(ValueError, match="do not match"):
        AlbedoCorrectives(torch.zeros(2, COUNT), torch.eye(COUNT), torch.eye(2), torch.zeros(3, 4, 4, 3))
