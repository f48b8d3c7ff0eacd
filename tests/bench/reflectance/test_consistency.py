"""Retrieval of partner maps: above chance for related maps, at chance for unrelated ones."""

import pytest
import torch

from fitme.bench.reflectance.consistency import CANDIDATES, RESOLUTION, retrieve_partners, train_retrieval

HEADS = 96


def related_maps(seed: int, count: int = HEADS) -> torch.Tensor:
    """Maps (count, 6, 128, 128) whose modalities share blobs of random amounts; slopes are small."""
    random = torch.Generator().manual_seed(seed)
    places = torch.randn(12, 8, 8, generator=torch.Generator().manual_seed(100))
    field = torch.einsum("nk,khw->nhw", torch.randn(count, 12, generator=random), places) / 12**0.5
    field = torch.nn.functional.interpolate(field[:, None], size=(RESOLUTION, RESOLUTION), mode="bilinear")
    return torch.cat([0.5 + 0.1 * field.expand(-1, 4, -1, -1), 0.05 * field.expand(-1, 2, -1, -1)], 1)


def test_related_partners_are_retrieved_and_unrelated_ones_at_chance():
    network = train_retrieval(related_maps(1), seed=0, steps=35)
    held_out = related_maps(2, 2 * CANDIDATES)
    found = retrieve_partners(network, held_out)
    assert found.specular > 0.8 and found.normals > 0.8
    unrelated = torch.cat([held_out[:, :3], related_maps(3, 2 * CANDIDATES)[:, 3:]], 1)
    by_chance = retrieve_partners(network, unrelated)
    assert by_chance.specular < 0.2 and by_chance.normals < 0.2


def test_training_is_deterministic_for_a_seed():
    maps = related_maps(4, 40)
    first, second = (train_retrieval(maps, seed=7, steps=3).state_dict() for _ in range(2))
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_too_few_heads():
    with pytest.raises(ValueError, match="too few"):
        train_retrieval(related_maps(1, 8), steps=1)
    with pytest.raises(ValueError, match="group"):
        retrieve_partners(train_retrieval(related_maps(1, 32), steps=1), related_maps(1, 8))
