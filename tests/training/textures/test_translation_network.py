"""Translation network from textures to reflectance: files, invariances, training, the shipped weights."""

from dataclasses import replace

import numpy as np
import pytest
import torch
import typer
from typer.testing import CliRunner

from fitme.color import linear_to_srgb, srgb_to_linear
from fitme.commands.train_translation import train_translation
from fitme.errors import ConfigError, InputError, ModelFileError
from fitme.reflectance.weights import PAINTED_WEIGHTS
from fitme.render.light import Light
from fitme.render.shading import diffuse_shading
from fitme.skin.painter import synthesize_skin
from fitme.skin.texel_geometry import default_texel_geometry
from fitme.synthetic.lights import smooth_and_sharp_lights
from fitme.training.data.dataset import HELD_OUT_SEED, build_dataset
from fitme.training.data.encoding import decode_bytes, encode_maps
from fitme.training.textures.baked_textures import BakingSettings, bake, head_surface
from fitme.training.textures.translation_network import (
    DEFAULT_TRANSLATION,
    TextureTranslator,
    TranslationConfig,
    default_translator,
    load_translator,
    save_translator,
    translate,
    without_smooth_light,
)
from fitme.training.textures.translation_trainer import (
    TranslationTrainer,
    TranslationTraining,
    held_out_maps,
    score_translation,
)

TINY = TranslationConfig((8, 8), detail_channels=4, resolution=64)
SETTINGS = TranslationTraining(steps=6, batch=2, warm_up_steps=1, bfloat16=False)
LARGEST_FILE_BYTES = 3e6


@pytest.fixture(scope="module")
def skins(tmp_path_factory):
    return build_dataset(tmp_path_factory.mktemp("skins"), 8, 64)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def test_weights_come_back_as_they_were_saved(tmp_path):
    torch.manual_seed(1)
    network = TextureTranslator(TINY)
    save_translator(network, tmp_path / "w.safetensors", dtype=torch.float32)
    again = load_translator(tmp_path / "w.safetensors")
    assert again.config == TINY and not again.training
    texture, coverage = torch.rand(1, 3, 32, 32), torch.ones(1, 1, 32, 32)
    torch.testing.assert_close(again(texture, coverage), network(texture, coverage))
    assert not list(tmp_path.glob("*.partial"))


def test_damaged_missing_and_foreign_weights_are_refused(tmp_path):
    path = tmp_path / "w.safetensors"
    with pytest.raises(ModelFileError, match="train translation"):
        load_translator(path)
    save_translator(TextureTranslator(TINY), path)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(ModelFileError, match="whole safetensors"):
        load_translator(path)
    with pytest.raises(ModelFileError, match="fitme-texture-translation"):
        load_translator(PAINTED_WEIGHTS)


def test_uncovered_texels_have_no_influence():
    torch.manual_seed(2)
    network = TextureTranslator(TINY)
    texture, coverage = torch.rand(1, 3, 64, 64), torch.ones(1, 1, 64, 64)
    coverage[..., :20] = 0.0
    other = torch.where(coverage > 0, texture, torch.rand_like(texture))
    torch.testing.assert_close(network(texture, coverage), network(other, coverage))


def test_smooth_light_is_found_and_divided_out():
    surface = head_surface(64)
    mean = torch.full((1, 3, 64, 64), 0.6)
    coverage = surface.covered.float()[None, None]
    light = smooth_and_sharp_lights(1, (0.1, 0.9), 0.1, generator(1))
    only_smooth = Light(0.5 * light.sh, light.directions[:, :0], light.colors[:, :0])
    shading = diffuse_shading(surface.normals[None], only_smooth).permute(0, 3, 1, 2)
    bright = ((shading > 0.15) & (coverage > 0)).all(1)[0] & (surface.face[..., 0] > 0)
    lit = linear_to_srgb(srgb_to_linear(mean) * shading)
    flat = srgb_to_linear(without_smooth_light(lit, coverage, mean))[0, :, bright]
    before = (srgb_to_linear(mean) * shading)[0, :, bright]
    assert (flat.std(1) / flat.mean(1)).max() < 0.35 * (before.std(1) / before.mean(1)).min()
    same = without_smooth_light(mean, coverage, mean)
    torch.testing.assert_close(same, mean, rtol=0.0, atol=0.01)


def test_maps_are_in_their_ranges_at_any_fitting_resolution():
    torch.manual_seed(3)
    network = TextureTranslator(TINY)
    for size in (32, 64, 128):
        maps = translate(network, 3.0 * torch.rand(2, size, size, 3), torch.ones(2, size, size))
        assert maps.diffuse.shape == (2, size, size, 3) and maps.specular.shape == (2, size, size, 1)
        assert maps.diffuse.min() > 0.0 and maps.diffuse.max() < 1.0
        torch.testing.assert_close(maps.normals.norm(dim=-1), torch.ones(2, size, size))
    with pytest.raises(InputError, match="multiple of 4"):
        translate(network, torch.rand(1, 34, 34, 3), torch.ones(1, 34, 34))


def test_impossible_networks_are_refused(skins):
    with pytest.raises(ConfigError, match="two resolutions"):
        TranslationConfig((8,))
    with pytest.raises(ConfigError, match="use 256"):
        TranslationTrainer(skins, SETTINGS, TranslationConfig((4,) * 7))


def test_plain_textures_are_the_albedo_and_lit_ones_are_not(skins):
    maps = skins.batch(np.arange(4), np.zeros(4, bool))
    clean = BakingSettings(
        blurred_share=0.0, largest_noise=0.0, compressed_share=0.0, without_eyes_and_mouth_share=0.0,
        front_only_share=0.0, hole_share=0.0,
    )  # fmt: skip
    covered = torch.from_numpy(default_texel_geometry(64).covered)
    plain, coverage = bake(maps, clean, generator(), lit=False)
    torch.testing.assert_close(plain[:, :, covered], maps[:, :3][:, :, covered])
    torch.testing.assert_close(coverage, covered.float().expand(4, 1, -1, -1))
    lit, _ = bake(maps, clean, generator(), lit=True)
    assert (lit - maps[:, :3])[:, :, covered].abs().mean() > 0.02
    torch.testing.assert_close(lit, bake(maps, clean, generator(), lit=True)[0])


def test_degradations_stay_small_and_holes_are_marked(skins):
    maps = skins.batch(np.arange(8), np.zeros(8, bool))
    settings = BakingSettings(without_eyes_and_mouth_share=1.0, front_only_share=1.0)
    texture, coverage = bake(maps, settings, generator(), lit=False)
    eyes_and_mouth = head_surface(64).eyes_and_mouth
    assert (coverage[:, 0, eyes_and_mouth] == 0.0).all() and (texture[:, :, eyes_and_mouth] == 0.0).all()
    seen = (coverage > 0.99).expand_as(texture)
    assert (texture - maps[:, :3])[seen].abs().mean() < 0.04
    assert 0.2 < float(seen.float().mean()) < 0.95


def test_light_falls_on_a_head_from_where_it_comes(skins):
    surface = head_surface(64)
    torch.testing.assert_close(surface.normals.norm(dim=-1)[surface.covered], torch.ones(int(surface.covered.sum())))
    light = smooth_and_sharp_lights(1, (0.1, 0.9), 0.1, generator(4))
    facing = (surface.normals @ light.directions[0, 0])[surface.covered]
    single = replace(light, sh=torch.zeros_like(light.sh))
    shading = diffuse_shading(surface.normals[None], single)[0].mean(-1)[surface.covered]
    assert shading[facing > 0.5].min() > 0.0 and shading[facing < 0.0].abs().max() < 1e-6


def test_a_run_repeats_itself(skins):
    def run():
        trainer = TranslationTrainer(skins, SETTINGS, TINY)
        return [report.loss for report in trainer.run()], trainer.finished()

    (losses, network), (again, same) = run(), run()
    assert losses == again
    for a, b in zip(network.parameters(), same.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=0.0, atol=0.0)


def test_a_run_ends_when_its_time_is_over(skins):
    trainer = TranslationTrainer(skins, replace(SETTINGS, steps=10**6, minutes=0.02), TINY)
    steps = [report.step for report in trainer.run()]
    assert 1 <= len(steps) < 10**4


@torch.no_grad()
def test_training_brings_the_maps_nearer(skins):
    maps = skins.batch(np.arange(8), np.zeros(8, bool))
    texture, coverage = bake(maps, BakingSettings(plain_share=0.0), generator(9))

    def error(steps, rate):
        trainer = TranslationTrainer(skins, replace(SETTINGS, steps=steps, learning_rate=rate), TINY)
        with torch.enable_grad():
            list(trainer.run())
        return float((trainer.finished()(texture, coverage) - maps).abs().mean())

    assert error(60, 5e-3) < 0.99 * error(1, 1e-6)


def test_the_command_trains_writes_and_measures(tmp_path):
    build_dataset(tmp_path / "skins", 3, 64)
    app = typer.Typer()
    app.command()(train_translation)
    arguments = ["--data", str(tmp_path / "skins"), "--out", str(tmp_path / "w.safetensors"), "--steps", "2"]
    result = CliRunner().invoke(app, [*arguments, "--batch", "1", "--measure", "1"])
    assert result.exit_code == 0, result.output
    assert "lit_psnr_db" in result.output
    assert load_translator(tmp_path / "w.safetensors").config.resolution == 64
    wrong = [*arguments[:3], str(tmp_path / "no" / "w.safetensors")]
    assert isinstance(CliRunner().invoke(app, wrong).exception, InputError)


def test_the_shipped_network_beats_simpler_predictors():
    assert DEFAULT_TRANSLATION.stat().st_size <= LARGEST_FILE_BYTES
    assert sum(p.numel() for p in default_translator().parameters()) <= 1.4e6
    score = score_translation(default_translator(), held_out_maps(6, 256))
    assert score.lit_psnr_db > score.lit_texture_psnr_db + 2.0
    assert score.lit_psnr_db > score.mean_psnr_db + 3.0
    assert score.plain_psnr_db > 28.0
    assert score.specular_error < score.mean_specular_error
    assert score.normal_error_deg < score.flat_normal_error_deg


def test_held_out_heads_are_those_of_the_reserved_seeds():
    skin = synthesize_skin(HELD_OUT_SEED, 64)
    encoded = torch.from_numpy(encode_maps(skin.arrays))
    torch.testing.assert_close(held_out_maps(1, 64), decode_bytes(encoded[None]))
