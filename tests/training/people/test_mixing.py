"""Heads mixed from people: skin tones, blending, repeatability."""

import numpy as np
import pytest
import torch

from fitme.color import srgb_to_linear
from fitme.skin.skin_tone_classes import CLASS_NAMES, ita_class_index, skin_ita_deg
from fitme.skin.texel_geometry import default_texel_geometry
from fitme.training.people.mixing import PeopleBank, blend, curve
from fitme.training.people.people_set import PeopleSet


def test_draws_depend_on_the_random_numbers_alone(few_people: PeopleSet):
    bank = PeopleBank(few_people)
    first, second, other = (bank.draw(3, torch.Generator().manual_seed(seed)) for seed in (1, 1, 2))
    assert torch.equal(first.maps, second.maps)
    assert not torch.equal(first.maps, other.maps)
    assert first.maps.shape == (3, 6, 64, 64)
    assert first.maps[:, :4].min() >= 0.0
    assert first.maps[:, :4].max() <= 1.0


def test_draws_have_every_class_of_skin_tone(few_people: PeopleSet):
    maps = PeopleBank(few_people).draw(90, torch.Generator().manual_seed(0)).maps
    geometry = default_texel_geometry(64)
    linear = srgb_to_linear(maps[:, :3]).permute(0, 2, 3, 1).numpy()
    classes = ita_class_index(np.array([skin_ita_deg(head, geometry) for head in linear]))
    counts = np.bincount(classes, minlength=len(CLASS_NAMES))
    assert counts.min() >= 5


def test_people_are_unchanged_but_for_relief(few_people: PeopleSet):
    maps = PeopleBank(few_people).people(torch.tensor([2])).maps[0, :3].numpy()
    seen = few_people.share[2] == 255
    wanted = few_people.diffuse[2].transpose(2, 0, 1) / 255.0
    assert maps[:, seen] == pytest.approx(wanted[:, seen], abs=1e-6)


def test_curve_is_piecewise_linear_with_slope_one_beyond():
    places = torch.tensor([[[0.0, 1.0, 3.0]]]).expand(1, 3, -1)
    heights = torch.tensor([[[0.0, 2.0, 3.0]]]).expand(1, 3, -1)
    values = torch.tensor([-1.0, 0.5, 2.0, 4.0]).reshape(1, 1, 2, 2).expand(1, 3, -1, -1)
    wanted = torch.tensor([-1.0, 1.0, 2.5, 4.0]).reshape(2, 2)
    torch.testing.assert_close(curve(values, places, heights)[0, 1], wanted)


def test_a_blend_of_equal_images_is_that_image():
    random = torch.Generator().manual_seed(0)
    image = torch.rand(1, 1, 3, 32, 32, generator=random)
    masks = torch.rand(1, 2, 1, 32, 32, generator=random)
    masks = masks / masks.sum(1, keepdim=True)
    found = blend(image.expand(-1, 2, -1, -1, -1), masks, torch.ones(1, 1, 1, 1))
    torch.testing.assert_close(found, image[:, 0])
