from dataclasses import replace

import pytest
import torch

from fitme.errors import ConfigError
from fitme.reflectance.generator import ReflectanceGenerator
from fitme.reflectance.generator_config import GeneratorConfig
from fitme.reflectance.layers import PositionalMix
from fitme.reflectance.modality import CORE_NAMES
from fitme.reflectance.raw_outputs import decode, encode_raw

from ..conftest import TINY


@pytest.fixture(autouse=True)
def linear_model(tiny_generator):
    flat = {name: torch.zeros(1, count, 64, 64) for name, count in (("diffuse", 3), ("specular", 1), ("normals", 2))}
    tiny_generator.set_linear_model(flat, torch.randn(5, 6, 32, 32) * 0.1)


def random_w_plus(generator: ReflectanceGenerator, batch: int) -> torch.Tensor:
    return torch.randn(batch, generator.num_layers, generator.config.latent_size)


def test_maps_have_the_documented_shapes_and_ranges(tiny_generator):
    maps = tiny_generator.synthesize(random_w_plus(tiny_generator, 2))
    assert maps.diffuse.shape == (2, 64, 64, 3)
    assert maps.specular.shape == (2, 64, 64, 1)
    assert maps.normals.shape == (2, 64, 64, 3)
    for albedo in (maps.diffuse, maps.specular):
        assert albedo.min() >= 0.0 and albedo.max() <= 1.0
    torch.testing.assert_close(maps.normals.norm(dim=-1), torch.ones(2, 64, 64))
    assert maps.normals[..., 2].min() > 0.0


def test_a_batch_equals_its_members_one_by_one(tiny_generator):
    w_plus = random_w_plus(tiny_generator, 3)
    together = tiny_generator.synthesize(w_plus)
    for index in range(3):
        alone = tiny_generator.synthesize(w_plus[index : index + 1])
        torch.testing.assert_close(alone.diffuse[0], together.diffuse[index], rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(alone.normals[0], together.normals[index], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("resolution", [4, 16, 32])
def test_a_coarse_synthesis_is_the_start_of_the_full_one(tiny_generator, resolution):
    w_plus = random_w_plus(tiny_generator, 1)
    coarse = tiny_generator.synthesize(w_plus, resolution)
    assert coarse.diffuse.shape == (1, resolution, resolution, 3)
    if resolution >= TINY.trunk_resolution:
        raw = tiny_generator.raw_pyramid(w_plus)[resolution]
        torch.testing.assert_close(decode(raw).diffuse, coarse.diffuse)


def test_every_row_of_w_plus_has_an_effect_on_its_branch_only(tiny_generator):
    w_plus = random_w_plus(tiny_generator, 1).requires_grad_()
    maps = tiny_generator.synthesize(w_plus)
    (gradient,) = torch.autograd.grad(maps.diffuse.sum() + maps.specular.sum() + maps.normals.sum(), w_plus)
    assert (gradient.abs().sum(-1) > 0.0).all()
    (diffuse_only,) = torch.autograd.grad(tiny_generator.synthesize(w_plus).diffuse.sum(), w_plus)
    trunk_rows = 1 + 3 * len(TINY.trunk_channels)
    branch_rows = 3 * TINY.branch_levels
    assert (diffuse_only[0, : trunk_rows + branch_rows].abs().sum(-1) > 0.0).all()
    assert (diffuse_only[0, trunk_rows + branch_rows :] == 0.0).all()


def test_an_unknown_resolution_is_refused(tiny_generator):
    with pytest.raises(ConfigError, match="48"):
        tiny_generator.synthesize(random_w_plus(tiny_generator, 1), 48)
    with pytest.raises(ConfigError, match="128"):
        tiny_generator.synthesize(random_w_plus(tiny_generator, 1), 128)


def test_branches_must_reach_the_resolution():
    with pytest.raises(ConfigError, match="specular"):
        replace(GeneratorConfig(), branches=GeneratorConfig().branches | {"specular": (8,)})


def test_raw_encoding_inverts_decoding():
    maps = torch.rand(2, 6, 8, 8) * 0.8 + 0.1
    maps[:, 4:] = maps[:, 4:] - 0.5
    decoded = decode(encode_raw(maps))
    again = decoded.normals[..., :2] / decoded.normals[..., 2:]
    torch.testing.assert_close(again.permute(0, 3, 1, 2), maps[:, 4:], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(decoded.specular.permute(0, 3, 1, 2), maps[:, 3:4], rtol=1e-4, atol=1e-5)


def test_positional_maps_are_mixed_by_styles(tiny_generator):
    mix = PositionalMix(3, 2, 5).double()
    maps, w = torch.randn(3, 4, 4, dtype=torch.float64), torch.randn(2, 5, dtype=torch.float64)
    style = mix.style(w)  # (2, 3)
    for item in range(2):
        for output in range(2):
            expected = sum(mix.weight[output, k] * style[item, k] * maps[k] for k in range(3)) / 3**0.5
            torch.testing.assert_close(mix(maps, w)[item, output], expected)
    assert torch.autograd.gradcheck(lambda m, latent: mix(m, latent), (maps.requires_grad_(), w.requires_grad_()))


@pytest.mark.parametrize("resolution, branches", [(512, 3), (1024, 4)])
def test_larger_maps_by_configuration(resolution, branches):
    narrow = (8,) * branches
    config = replace(
        GeneratorConfig(), resolution=resolution, trunk_channels=(16,) * 5, branches=dict.fromkeys(CORE_NAMES, narrow),
        trunk_positions=1, branch_positions=1, linear_components=2, detail_maps=(2,) * (branches + 1),
    )  # fmt: skip
    generator = ReflectanceGenerator(config)
    with torch.no_grad():
        maps = generator.synthesize(torch.randn(1, generator.num_layers, config.latent_size))
    assert maps.diffuse.shape == (1, resolution, resolution, 3)
