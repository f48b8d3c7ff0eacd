import pytest
import torch

from fitme.errors import ConfigError
from fitme.training.objectives.discriminator import BranchedDiscriminator, DiscriminatorConfig
from fitme.training.objectives.reconstruction import by_modality

SMALL = DiscriminatorConfig(resolution=16, branch_channels=(4, 6), joint_channels=(8,))
POSITION = torch.zeros(1, 2, 16, 16)


def test_one_score_each_with_gradient_to_every_modality_and_weight():
    discriminator = BranchedDiscriminator(SMALL)
    maps = torch.rand(3, 6, 16, 16, requires_grad=True)
    scores = discriminator(by_modality(maps), POSITION)
    assert scores.shape == (3,)
    scores.sum().backward()
    assert (maps.grad.abs().sum((0, 2, 3)) > 0.0).all()
    assert all(p.grad is not None and p.grad.abs().sum() > 0.0 for p in discriminator.parameters())


def test_branches_depend_on_their_own_modality_only():
    discriminator = BranchedDiscriminator(SMALL)
    maps = torch.rand(1, 6, 16, 16, requires_grad=True)
    seen = discriminator.branches["specular"](torch.cat([by_modality(maps)["specular"], POSITION], 1))
    seen.sum().backward()
    assert maps.grad[:, 3].abs().sum() > 0.0
    assert maps.grad[:, [0, 1, 2, 4, 5]].abs().sum() == 0.0


def test_it_learns_to_detect_inconsistent_modalities():
    """Real: specular equals the mean diffuse; fake: the same maps, paired with another's specular."""
    torch.manual_seed(0)
    discriminator = BranchedDiscriminator(SMALL)
    optimizer = torch.optim.Adam(discriminator.parameters(), 1e-2)

    def pairs(count):
        level = torch.rand(count, 1, 1, 1)
        diffuse = level.expand(-1, 3, 16, 16)
        together = torch.cat([diffuse, level.expand(-1, 1, 16, 16), torch.zeros(count, 2, 16, 16)], 1)
        mixed = together.clone()
        mixed[:, 3] = together.roll(1, 0)[:, 3]
        return together, mixed

    for _ in range(40):
        real, fake = pairs(24)
        loss = torch.nn.functional.softplus(-discriminator(by_modality(real), POSITION)).mean()
        loss = loss + torch.nn.functional.softplus(discriminator(by_modality(fake), POSITION)).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    real, fake = pairs(64)
    with torch.no_grad():
        gap = discriminator(by_modality(real), POSITION).mean() - discriminator(by_modality(fake), POSITION).mean()
    assert gap > 0.5


def test_missing_modalities_and_impossible_sizes_are_refused():
    discriminator = BranchedDiscriminator(SMALL)
    with pytest.raises(ConfigError, match="together"):
        discriminator({"diffuse": torch.rand(1, 3, 16, 16)}, POSITION)
    with pytest.raises(ConfigError, match="halves"):
        DiscriminatorConfig(resolution=8)
