"""Data sets of maps: deterministic, balanced over the classes of skin tone, complete under their names, migrated."""

import json
import resource
from itertools import count as counting

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from fitme.commands.data import app
from fitme.errors import ConfigError, InputError, StoreError
from fitme.skin.factors import factor_vector
from fitme.skin.painter import synthesize_skin
from fitme.skin.pigments import ITA_CLASSES
from fitme.skin.skin_tone_classes import CLASS_NAMES, SkinToneCounts, ita_class_index, skin_ita_deg, skin_tone_mask
from fitme.skin.texel_geometry import default_texel_geometry
from fitme.training.data.dataset import HELD_OUT_SEED, SuppliedMaps, build_dataset, load_dataset
from fitme.training.data.dataset_files import GrowingSet, MapRow
from fitme.training.data.encoding import encode_maps

SIZE = 32


def files_of(folder):
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


@pytest.fixture
def limited_file_size():
    """Makes files of more than the given size fail, as a full disk does."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    yield lambda size: resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_rows_belong_to_their_seeds(tmp_path):
    dataset = build_dataset(tmp_path, 3, SIZE, first_seed=40)
    assert dataset.seeds.tolist() == [40, 41, 42] and dataset.resolution == SIZE
    for row, seed in enumerate(dataset.seeds.tolist()):
        skin = synthesize_skin(seed, SIZE)
        np.testing.assert_array_equal(dataset.maps[row], encode_maps(skin.arrays))
        np.testing.assert_array_equal(dataset.factors[row], factor_vector(skin.factors))
        assert dataset.ita_deg[row] == pytest.approx(skin_ita_deg(skin.diffuse, default_texel_geometry(SIZE)), abs=1e-3)


def test_the_number_of_processes_does_not_change_the_set(tmp_path):
    build_dataset(tmp_path / "one", 7, SIZE, balanced=True)
    build_dataset(tmp_path / "two", 7, SIZE, balanced=True, workers=2)
    assert files_of(tmp_path / "one") == files_of(tmp_path / "two")


def test_a_balanced_set_keeps_every_class_within_the_bounds(tmp_path):
    dataset = build_dataset(tmp_path, 60, SIZE, balanced=True)
    report = SkinToneCounts.of(dataset.ita_deg)
    assert report.balanced, report
    assert len(set(dataset.seeds.tolist())) == 60
    written = json.loads((tmp_path / "about.json").read_text())["classes"]
    assert [written[name]["maps"] for name in CLASS_NAMES] == list(report.counts)


def test_a_set_is_reused_and_another_one_replaced_only_when_asked(tmp_path):
    build_dataset(tmp_path, 2, SIZE)
    stamp = (tmp_path / "maps.npy").stat().st_mtime_ns
    build_dataset(tmp_path, 2, SIZE)
    assert (tmp_path / "maps.npy").stat().st_mtime_ns == stamp
    before = files_of(tmp_path)
    with pytest.raises(InputError, match="--replace"):
        build_dataset(tmp_path, 3, SIZE, replace=False)
    assert files_of(tmp_path) == before
    assert len(build_dataset(tmp_path, 3, SIZE).maps) == 3


class Interrupted(Exception):
    pass


@pytest.mark.parametrize("balanced", [False, True])
def test_an_interrupted_build_is_resumed(tmp_path, balanced):
    def stop(done, _):
        if done == 6:
            raise Interrupted

    with pytest.raises(Interrupted):
        build_dataset(tmp_path / "cut", 12, SIZE, balanced=balanced, progress=stop)
    with pytest.raises(InputError, match="no finished set"):
        load_dataset(tmp_path / "cut")
    with (tmp_path / "cut" / "maps.npy.partial").open("ab") as file:
        file.write(b"half a map")
    steps = []
    build_dataset(tmp_path / "cut", 12, SIZE, balanced=balanced, progress=lambda done, _: steps.append(done))
    assert steps[0] == 6 and steps[-1] == 12
    build_dataset(tmp_path / "whole", 12, SIZE, balanced=balanced)
    assert files_of(tmp_path / "cut") == files_of(tmp_path / "whole")


def test_an_interrupted_build_of_another_recipe_is_not_mixed_in(tmp_path):
    with pytest.raises(Interrupted):
        build_dataset(tmp_path, 4, SIZE, first_seed=90, progress=raise_after(2))
    assert build_dataset(tmp_path, 4, SIZE).seeds.tolist() == [0, 1, 2, 3]


def raise_after(count):
    calls = counting()

    def progress(*_):
        if next(calls) == count:
            raise Interrupted

    return progress


def test_a_full_disk_is_reported_and_the_old_set_stays(tmp_path, limited_file_size):
    build_dataset(tmp_path, 2, SIZE)
    before = files_of(tmp_path)
    limited_file_size(20_000)
    with pytest.raises(StoreError, match=r"full after 3 of 9 maps.*free"):
        build_dataset(tmp_path, 9, SIZE)
    assert {name: data for name, data in files_of(tmp_path).items() if "partial" not in name} == before
    assert len(load_dataset(tmp_path).maps) == 2


def test_sets_larger_than_the_disk_are_refused_before_anything_is_written(tmp_path):
    with pytest.raises(StoreError, match="GB free"):
        build_dataset(tmp_path, 10**9, 256)
    assert not list(tmp_path.glob("*.partial"))


def test_supplied_maps_come_first_and_have_no_factors(tmp_path):
    tone = np.full((SIZE, SIZE, 6), (200, 170, 150, 120, 128, 128), np.uint8)
    extra = SuppliedMaps(2, {"name": "flat"}, lambda: iter([tone, tone // 2]))
    dataset = build_dataset(tmp_path, 3, SIZE, supplied=extra)
    assert dataset.seeds.tolist() == [-1, -1, 0, 1, 2]
    np.testing.assert_array_equal(dataset.maps[0], tone)
    assert np.isnan(dataset.factors[:2]).all() and np.isfinite(dataset.factors[2:]).all()
    assert dataset.ita_deg[0] > dataset.ita_deg[1]
    other = SuppliedMaps(2, {"name": "other"}, lambda: iter([tone, tone]))
    np.testing.assert_array_equal(build_dataset(tmp_path, 3, SIZE, supplied=other).maps[1], tone)


def test_damaged_or_foreign_sets_are_refused(tmp_path):
    build_dataset(tmp_path, 2, SIZE)
    np.save(tmp_path / "factors.npy", np.zeros((2, 3), np.float32))
    with pytest.raises(InputError, match=r"factors\.npy.*data build"):
        load_dataset(tmp_path)
    (tmp_path / "factors.npy").write_bytes(b"")
    with pytest.raises(InputError, match="not readable"):
        load_dataset(tmp_path)
    (tmp_path / "about.json").write_text("not JSON")
    assert len(build_dataset(tmp_path, 2, SIZE).maps) == 2


def as_version_1(folder, suffix=""):
    """Give a set the names that version 1 wrote."""
    for new, old in (("factors.npy", "causes.npy"), ("ita.npy", "typology.npy")):
        (folder / (new + suffix)).rename(folder / (old + suffix))
    path = folder / ("about.json" + suffix)
    about = json.loads(path.read_text())
    recipe = about if suffix else about["recipe"]
    del recipe["version"]
    recipe["causes"], recipe["given"] = recipe.pop("factors"), recipe.pop("supplied")
    if recipe["given"]:
        recipe["given"]["pictures"] = recipe["given"].pop("images")
    path.write_text(json.dumps(about))


def test_a_set_of_version_1_is_migrated_and_used_as_it_is(tmp_path):
    tone = np.full((SIZE, SIZE, 6), (200, 170, 150, 120, 128, 128), np.uint8)
    supplied = SuppliedMaps(1, {"images": {"a.png": "0"}}, lambda: iter([tone]))
    built = build_dataset(tmp_path, 2, SIZE, supplied=supplied)
    names, recipe = set(files_of(tmp_path)), json.loads((tmp_path / "about.json").read_text())["recipe"]
    as_version_1(tmp_path)
    stamp = (tmp_path / "maps.npy").stat().st_mtime_ns
    loaded = load_dataset(tmp_path)
    for field in ("maps", "factors", "ita_deg", "seeds"):
        np.testing.assert_array_equal(getattr(loaded, field), getattr(built, field))
    assert set(files_of(tmp_path)) == names
    assert json.loads((tmp_path / "about.json").read_text())["recipe"] == recipe
    build_dataset(tmp_path, 2, SIZE, supplied=supplied, replace=False)
    assert (tmp_path / "maps.npy").stat().st_mtime_ns == stamp


def test_an_interrupted_build_of_version_1_is_resumed(tmp_path):
    with pytest.raises(Interrupted):
        build_dataset(tmp_path, 4, SIZE, progress=raise_after(2))
    as_version_1(tmp_path, ".partial")
    steps = []
    build_dataset(tmp_path, 4, SIZE, progress=lambda done, _: steps.append(done))
    assert steps[0] == 2 and not list(tmp_path.glob("*.partial"))


def test_a_set_of_a_later_version_is_refused_and_kept(tmp_path):
    build_dataset(tmp_path, 2, SIZE)
    about = json.loads((tmp_path / "about.json").read_text())
    about["recipe"]["version"] = 3
    (tmp_path / "about.json").write_text(json.dumps(about))
    before = files_of(tmp_path)
    for use in (lambda: load_dataset(tmp_path), lambda: build_dataset(tmp_path, 2, SIZE)):
        with pytest.raises(InputError, match="version 3"):
            use()
    assert files_of(tmp_path) == before


def test_batches_are_in_their_units_and_mirror_slopes(tmp_path):
    dataset = build_dataset(tmp_path, 2, SIZE)
    plain, mirrored = dataset.batch(np.array([1, 1]), np.array([False, True]))
    torch.testing.assert_close(mirrored[:4], plain[:4].flip(-1))
    torch.testing.assert_close(mirrored[4], -plain[4].flip(-1))
    normals = synthesize_skin(1, SIZE).normals
    slopes = torch.from_numpy(np.clip(normals[..., :2] / normals[..., 2:], -0.6, 0.6))
    torch.testing.assert_close(plain[4:], slopes.permute(2, 0, 1), rtol=0.0, atol=3e-3)


def test_a_row_of_the_wrong_size_never_reaches_the_files(tmp_path):
    row = MapRow(np.zeros((4, 4, 6), np.uint8), np.zeros(2, np.float32), 0.0, 0)
    with GrowingSet(tmp_path, {}, 1, (8, 8, 6), 2) as growing, pytest.raises(ValueError, match="bytes"):
        growing.append(row)


@given(st.floats(-90.0, 90.0))
@settings(max_examples=50, deadline=None)
def test_every_ita_has_the_class_whose_bounds_contain_it(angle):
    low, high = ITA_CLASSES[CLASS_NAMES[int(ita_class_index(angle))]]
    assert (low <= angle or low == -65.0) and (angle < high or high == 70.0)


def test_the_command_builds_reports_and_refuses(tmp_path):
    def run(*options):
        return CliRunner().invoke(app, ["build", "--out", str(tmp_path / "set"), "--workers", "1", *options])

    result = run("--skins", "2", "--resolution", str(SIZE))
    assert result.exit_code == 0, result.output
    shown = " ".join(result.output.split())
    assert "2 maps of 32 x 32" in shown and "intermediate" in shown
    before = files_of(tmp_path / "set")
    for options, kind, word in (
        (("--resolution", "100"), ConfigError, "power of two"),
        (("--skins", "9", "--first-seed", str(HELD_OUT_SEED - 5)), ConfigError, "held out"),
        (("--skins", "3", "--resolution", str(SIZE)), InputError, "--replace"),
        (("--textures", str(tmp_path / "nowhere")), InputError, "no such folder"),
        (("--makehuman", str(tmp_path)), InputError, "MakeHuman"),
    ):
        raised = run(*options).exception
        assert isinstance(raised, kind) and word in str(raised)
    assert files_of(tmp_path / "set") == before


def test_skin_tone_is_measured_on_skin_alone():
    texel_geometry = default_texel_geometry(256)
    mask = skin_tone_mask(texel_geometry)
    assert 500 < mask.sum() < 5000
    assert (texel_geometry.lips[mask] > 0).all() and (texel_geometry.eyelids[mask] > 0).all()
