"""Adaptive augmentation: neutral changes, each kind of change, and the control of the probability."""

import json

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fitme.training.objectives.augmentation import (
    BLANK,
    HIGHEST_PROBABILITY,
    UPDATES_PER_ADJUSTMENT,
    AdaptiveAugmentation,
    Changes,
    change,
    color_transform,
    draw_changes,
    mirror,
    mirror_position,
)

RESOLUTION = 16


def generator_of(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def maps_of(batch: int, resolution: int = RESOLUTION, seed: int = 0) -> torch.Tensor:
    colors = torch.rand(batch, 4, resolution, resolution, generator=generator_of(seed))
    slopes = 0.3 * torch.randn(batch, 2, resolution, resolution, generator=generator_of(seed + 1))
    return torch.cat([colors, slopes], 1)


def position_of(resolution: int = RESOLUTION) -> torch.Tensor:
    centres = (torch.arange(resolution) + 0.5) / resolution * 2.0 - 1.0
    return torch.stack(torch.meshgrid(centres, centres, indexing="xy"))[None]


def neutral(batch: int) -> Changes:
    one, zero = torch.ones(batch), torch.zeros(batch)
    return Changes(
        zero.bool(),
        torch.zeros(batch, 2, dtype=torch.int64),
        color_transform(zero, one, one, zero),
        torch.ones(batch, 3),
        None,
        torch.zeros(batch, 4, dtype=torch.int64),
    )


def changed(**parts) -> Changes:
    batch = len(next(iter(parts.values())))
    return Changes(**{**vars(neutral(batch)), **parts})


def test_nothing_changes_at_probability_zero():
    maps, position = maps_of(3), position_of()
    found, place = AdaptiveAugmentation()(maps, position, generator_of(0))
    assert found is maps and place is position
    for changes in (draw_changes(0.0, 3, RESOLUTION, generator_of(4)), neutral(3)):
        found, place = change(maps, position, changes)
        assert torch.equal(found, maps) and torch.equal(place, position.expand(3, -1, -1, -1))


def test_maps_that_drew_no_change_stay_exactly_as_they_are():
    maps = maps_of(1).expand(200, -1, -1, -1)
    found, _ = change(maps, position_of(), draw_changes(0.05, 200, RESOLUTION, generator_of(1)))
    untouched = (found == maps).flatten(1).all(1).float().mean()
    # Nine kinds at 5 %, of which mirroring happens half of the time: 0.95^8 * 0.975 = 0.65 stay.
    assert 0.5 < float(untouched) < 0.8


def test_probability_rises_when_the_discriminator_overfits_and_falls_otherwise():
    augmentation = AdaptiveAugmentation(target=0.6, speed_images=1000)
    for _ in range(UPDATES_PER_ADJUSTMENT - 1):
        augmentation.update(torch.ones(25))
        assert augmentation.p == 0.0
    augmentation.update(torch.ones(25))
    assert augmentation.p == pytest.approx(0.1) and augmentation.statistic == 1.0
    for _ in range(10 * UPDATES_PER_ADJUSTMENT):
        augmentation.update(torch.ones(25))
    assert augmentation.p == HIGHEST_PROBABILITY
    sure_of_three_quarters = torch.tensor([2.0, 0.1, 1.0, -3.0])  # r_t = 0.5 < 0.6
    for _ in range(UPDATES_PER_ADJUSTMENT):
        augmentation.update(sure_of_three_quarters)
    assert augmentation.statistic == 0.5 and augmentation.p == pytest.approx(HIGHEST_PROBABILITY - 0.016)
    for _ in range(20 * UPDATES_PER_ADJUSTMENT):
        augmentation.update(-torch.ones(25))
    assert augmentation.p == 0.0


def test_state_goes_through_json_and_resumes_in_the_middle_of_an_adjustment():
    scores = torch.randn(11, 7, generator=generator_of(2)) + 2.0
    whole, first = AdaptiveAugmentation(speed_images=200), AdaptiveAugmentation(speed_images=200)
    for row in scores:
        whole.update(row)
    for row in scores[:6]:
        first.update(row)
    second = AdaptiveAugmentation(speed_images=200)
    second.load_state_dict(json.loads(json.dumps(first.state_dict())))
    for row in scores[6:]:
        second.update(row)
    assert second.state_dict() == whole.state_dict() and whole.p > 0.0


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_gradients_are_those_of_finite_differences(seed):
    draws = draw_changes(0.9, 2, 6, generator_of(seed))
    assert draws.noise is not None
    maps = maps_of(2, 6).double().requires_grad_(True)
    assert torch.autograd.gradcheck(lambda x: change(x, position_of(6).double(), draws)[0], (maps,))
    assert torch.autograd.gradgradcheck(lambda x: change(x, position_of(6).double(), draws)[0].square(), (maps,))


def test_mirroring_twice_is_the_identity_and_keeps_whole_positions():
    maps, position = maps_of(2), position_of()
    assert torch.equal(mirror(mirror(maps)), maps)
    assert torch.equal(mirror(maps)[:, 4], -maps[:, 4].flip(-1))
    torch.testing.assert_close(mirror_position(position), position)


def test_a_mirrored_crop_lies_at_the_other_side():
    maps, position = maps_of(1), position_of()
    window = slice(2, 8)
    mirrored = changed(mirrored=torch.tensor([True]))
    found, place = change(maps[..., window], position[..., window], mirrored)
    opposite = slice(RESOLUTION - 8, RESOLUTION - 2)
    assert torch.equal(found, mirror(maps)[..., opposite])
    torch.testing.assert_close(place, position[..., opposite])


@settings(max_examples=25, deadline=None)
@given(st.integers(-5, 5), st.integers(-5, 5))
def test_translation_moves_maps_and_positions_alike(down, right):
    maps, position = maps_of(1), position_of()
    found, place = change(maps, position, changed(shift=torch.tensor([[down, right]])))
    rows = (torch.arange(RESOLUTION) - down).clamp(0, RESOLUTION - 1)
    columns = (torch.arange(RESOLUTION) - right).clamp(0, RESOLUTION - 1)
    assert torch.equal(found, maps[:, :, rows][..., columns])
    assert torch.equal(place, position[:, :, rows][..., columns])


@settings(max_examples=50, deadline=None)
@given(st.floats(0.3, 3.0), st.floats(0.0, 3.0), st.floats(-3.0, 3.0), st.floats(-0.3, 0.3))
def test_colors_keep_their_grey_and_turn_about_it(contrast, saturation, hue, brightness):
    values = [torch.tensor([x], dtype=torch.float64) for x in (brightness, contrast, saturation, hue)]
    transform = color_transform(*values)[0]
    color = torch.tensor([0.7, 0.4, 0.2], dtype=torch.float64)
    found = transform[:, :3] @ color + transform[:, 3]
    assert float(found.mean()) == pytest.approx((float(color.mean()) - 0.5) * contrast + 0.5 + brightness)
    distance = (color - color.mean()).norm() * contrast * saturation
    assert float((found - found.mean()).norm()) == pytest.approx(float(distance), abs=1e-12)
    if saturation > 0.01:
        cosine = (found - found.mean()) @ (color - color.mean()) / (distance * (color - color.mean()).norm())
        assert float(cosine) == pytest.approx(float(torch.tensor(hue, dtype=torch.float64).cos()), abs=1e-9)


def test_gain_and_cutout_touch_only_what_they_should():
    maps = maps_of(2)
    gain = torch.tensor([[2.0, 1.0, 1.0], [1.0, 0.5, 0.5]])
    square = torch.tensor([[-2, 3, 6, 6], [0, 0, 0, 0]])
    found, _ = change(maps, position_of(), changed(gain=gain, cutout=square))
    inside = torch.zeros(RESOLUTION, RESOLUTION, dtype=torch.bool)
    inside[0:4, 3:9] = True
    assert torch.equal(found[0][:, inside], torch.tensor(BLANK)[:, None].expand(-1, 24))
    assert torch.equal(found[0, 3][~inside], 2.0 * maps[0, 3][~inside])
    assert torch.equal(found[0, :3][:, ~inside], maps[0, :3][:, ~inside])
    assert torch.equal(found[1], torch.cat([maps[1, :4], 0.5 * maps[1, 4:]]))


def test_draws_have_the_distribution_they_should():
    draws = draw_changes(0.6, 4000, 32, generator_of(9))
    assert float(draws.mirrored.float().mean()) == pytest.approx(0.3, abs=0.03)
    # Whole shifts are drawn among nine a side, of which (0, 0) cannot be told from none.
    assert float((draws.shift != 0).any(1).float().mean()) == pytest.approx(0.6 * (1 - 1 / 64), abs=0.03)
    assert int(draws.shift.abs().max()) == 4
    assert float((draws.gain[:, 0] != 1.0).float().mean()) == pytest.approx(0.6, abs=0.03)
    assert float((draws.cutout[:, 2] > 0).float().mean()) == pytest.approx(0.6, abs=0.03)
    assert abs(float(draws.gain.log2().mean())) < 0.02
    assert draws.noise is not None
    assert float((draws.noise != 0).flatten(1).any(1).float().mean()) == pytest.approx(0.6, abs=0.03)
    assert abs(float(draws.noise.mean())) < 1e-3


def test_real_and_generated_maps_are_changed_alike_from_equal_draws():
    augmentation = AdaptiveAugmentation(probability=0.7)
    maps = maps_of(4)
    first, place = augmentation(maps, position_of(), generator_of(3))
    again, place_again = augmentation(maps, position_of(), generator_of(3))
    other, _ = augmentation(maps, position_of(), generator_of(5))
    assert torch.equal(first, again) and torch.equal(place, place_again) and not torch.equal(first, other)


def test_changes_of_another_batch_are_refused():
    draws = draw_changes(0.9, 3, RESOLUTION, generator_of(0))
    with pytest.raises(ValueError, match="drawn for maps"):
        change(maps_of(2), position_of(), draws)
