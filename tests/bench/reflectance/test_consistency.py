"""Retrieval of partners: it learns what belongs together, and only that."""

import pytest
import torch

from fitme.bench.reflectance.consistency import CANDIDATES, RESOLUTION, learn_partners, retrieve_partners

HEADS = 96


def related_maps(seed: int, count: int = HEADS) -> torch.Tensor:
    """Maps (count, 6, 128, 128) whose modalities share blobs of random amounts; slopes are small."""
    random = torch.Generator().manual_seed(seed)
    places = torch.randn(12, 8, 8, generator=torch.Generator().manual_seed(100))
    field = torch.einsum("nk,khw->nhw", torch.randn(count, 12, generator=random), places) / 12**0.5
    field = torch.nn.functional.interpolate(field[:, None], size=(RESOLUTION, RESOLUTION), mode="bilinear")
    return torch.cat([0.5 + 0.1 * field.expand(-1, 4, -1, -1), 0.05 * field.expand(-1, 2, -1, -1)], 1)


def test_it_finds_partners_that_share_causes_and_guesses_where_none_are_shared():
    network = learn_partners(related_maps(1), seed=0, steps=35)
    unseen = related_maps(2, 2 * CANDIDATES)
    found = retrieve_partners(network, unseen)
    assert found.specular > 0.8 and found.normals > 0.8
    strangers = torch.cat([unseen[:, :3], related_maps(3, 2 * CANDIDATES)[:, 3:]], 1)
    guessed = retrieve_partners(network, strangers)
    assert guessed.specular < 0.2 and guessed.normals < 0.2


def test_the_seed_decides():
    maps = related_maps(4, 40)
    first, second = (learn_partners(maps, seed=7, steps=3).state_dict() for _ in range(2))
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_too_few_heads():
    with pytest.raises(ValueError, match="too few"):
        learn_partners(related_maps(1, 8), steps=1)
    with pytest.raises(ValueError, match="group"):
        retrieve_partners(learn_partners(related_maps(1, 32), steps=1), related_maps(1, 8))
