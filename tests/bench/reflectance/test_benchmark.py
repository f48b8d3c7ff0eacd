"""The parts of the reflectance benchmark, on small networks and few heads."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from fitme.bench.reflectance.benchmark import Extent, Part, measure
from fitme.bench.reflectance.consistency import RESOLUTION
from fitme.bench.reflectance.inversion import inversion_rows
from fitme.bench.reflectance.power_spectra import SpectrumRatio
from fitme.bench.reflectance.samples import TONE_RESOLUTION, frechet_rows, tone_rows
from fitme.bench.reflectance.sets import FeatureSet, as_reflectance, extract_features, held_out_maps, sample_batches
from fitme.bench.reflectance.spectra import REFERENCE_VARIABLE, reference_rows, summary_rows
from fitme.bench.reflectance.speed import speed_rows
from fitme.reflectance.generator import ReflectanceGenerator
from fitme.reflectance.generator_config import GeneratorConfig
from fitme.reflectance.packaged_models import packaged_generator
from fitme.skin.skin_tone_classes import skin_ita_deg
from fitme.skin.texel_geometry import default_texel_geometry
from fitme.training.contact_sheets import sample_latents, synthesize_all
from fitme.training.data.dataset import HELD_OUT_SEED, MapDataset, build_dataset
from fitme.training.data.encoding import encoded_maps


@pytest.fixture(scope="module")
def generator() -> ReflectanceGenerator:
    """Small generator of 64 texels a side."""
    torch.manual_seed(3)
    config = GeneratorConfig(
        resolution=64,
        noise_size=8,
        latent_size=12,
        mapping_layers=2,
        trunk_channels=(16, 16, 12),
        branches={"diffuse": (8, 6), "specular": (4, 4), "normals": (6, 4)},
        trunk_positions=2,
        branch_positions=2,
        detail_maps=(3, 2, 2),
        linear_components=5,
        linear_resolution=32,
    )
    generator = ReflectanceGenerator(config)
    generator.measure_mean_w(64)
    return generator.eval().requires_grad_(False)


@pytest.fixture(scope="module")
def held_out(tmp_path_factory: pytest.TempPathFactory) -> MapDataset:
    return build_dataset(Path(tmp_path_factory.mktemp("maps")), 3, 64, first_seed=HELD_OUT_SEED)


def test_encoding_of_maps_is_inverted(held_out: MapDataset):
    maps = held_out_maps(held_out, 0, 3)
    torch.testing.assert_close(encoded_maps(as_reflectance(maps)), maps, atol=1e-5, rtol=1e-4)


def test_inversion_rows_are_means_over_all_heads(generator: ReflectanceGenerator, held_out: MapDataset):
    messages: list[str] = []
    rows = inversion_rows(generator, held_out, 3, messages.append, steps=8, tuning_steps=4)
    values = {row.name: row.value for row in rows}
    first = "W+ inversion of 3 held-out maps, 8 steps"
    tuned = "the same, 4 more steps of weight tuning"
    assert values[f"{first}: PSNR, mean of the worst tenth"] < values[f"{first}: diffuse albedo PSNR, mean"]
    assert values[f"{tuned}: diffuse albedo PSNR, mean"] > values[f"{first}: diffuse albedo PSNR, mean"]
    assert 0.0 < values[f"{first}: diffuse albedo SSIM, mean"] < 1.0
    assert len(messages) == 1


def test_samples_drawn_like_the_real_set_have_a_ratio_of_one():
    features = torch.randn(300, 20, generator=torch.Generator().manual_seed(1))
    everything = FeatureSet(features, 2.0 * features + 1.0, torch.zeros(300, 1))
    real, samples = everything.part(0, 200), everything.part(200, 300)
    rows = {row.name: row for row in frechet_rows(real, samples)}
    ratios = [row for name, row in rows.items() if "ratio" in name]
    assert [row.value for row in ratios] == [pytest.approx(1.0, abs=0.35)] * 2
    assert all(row.target == "<= 3" for row in ratios)
    shifted = replace(samples, texture_features=samples.texture_features + 2.0)
    worse = {row.name: row.value for row in frechet_rows(real, shifted)}
    assert worse["FID of diffuse maps on EfficientNet-lite0, ratio of the two"] > 10.0


def test_features_depend_on_the_maps_only():
    maps = next(sample_batches(packaged_generator(), 2, seed=4))
    first, again, other = extract_features([maps]), extract_features([maps]), extract_features([maps.flip(0)])
    assert first.thumbnails.shape == (2, 6, RESOLUTION, RESOLUTION)
    for name in ("texture_features", "portrait_features"):
        assert torch.equal(getattr(first, name), getattr(again, name))
        torch.testing.assert_close(getattr(first, name), getattr(other, name).flip(0), atol=1e-2, rtol=1e-2)
        assert float((getattr(first, name)[0] - getattr(first, name)[1]).norm()) > 1.0


def test_tone_shares_sum_to_a_hundred(generator: ReflectanceGenerator):
    rows = tone_rows(generator, 20, seed=1)
    assert sum(row.value for row in rows) == pytest.approx(100.0)


def test_skin_tone_at_the_measured_resolution_is_the_full_resolution_s():
    generator = packaged_generator()
    w = sample_latents(generator, 4, seed=5)
    angles = []
    for size in (TONE_RESOLUTION, generator.config.resolution):
        diffuse = synthesize_all(generator, w, size).diffuse.numpy()
        angles.append([skin_ita_deg(head, default_texel_geometry(size)) for head in diffuse])
    np.testing.assert_allclose(*angles, atol=1.0)


def test_speed_is_measured_with_two_threads_and_leaves_them_as_they_were(generator: ReflectanceGenerator):
    before = torch.get_num_threads()
    forward, fastest_forward, both, fastest_both = (row.value for row in speed_rows(generator))
    assert 0.0 < fastest_forward <= forward and fastest_both <= both
    assert fastest_forward < fastest_both
    assert torch.get_num_threads() == before


def test_spectra_are_summed_up_by_the_worst_factor_either_way():
    powers = {"diffuse": (1.0, 0.25), "specular": (1.9, 1.0), "normals": (3.0, 1.0)}
    ratios = [SpectrumRatio("nose", name, (0.1, 0.2), value, 1.0) for name, both in powers.items() for value in both]
    assert [row.value for row in summary_rows(ratios)] == [4.0, 50.0, 1.9, 100.0, 3.0, 50.0]


def test_without_a_captured_subject_its_rows_are_left_out(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setenv(REFERENCE_VARIABLE, str(tmp_path / "nothing"))
    messages: list[str] = []
    assert reference_rows(messages.append) == []
    assert REFERENCE_VARIABLE in messages[0]


def test_without_an_encoder_for_the_generator_its_rows_are_left_out(
    generator: ReflectanceGenerator, capsys: pytest.CaptureFixture[str]
):
    rows = measure(generator, Extent(1, 1, 20), (Part.TONE, Part.ENCODER))
    assert [row.name.split(":")[0] for row in rows] == ["ITA of 20 samples"] * 6
    assert "left out" in capsys.readouterr().err
