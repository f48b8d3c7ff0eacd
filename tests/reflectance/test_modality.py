"""A modality that is added to the table reaches every part of the system, with no other change."""

import json
import pickle
import struct
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import torch

from fitme.avatar import Avatar
from fitme.errors import ConfigError
from fitme.export.gltf.avatar import glb_bytes
from fitme.export.textures import write_textures
from fitme.fit.displayed_head import HeadEstimate, blended
from fitme.fit.state import FitState
from fitme.fit.texture.baking import enlarge, map_arrays, maps_of
from fitme.reflectance.generator import ReflectanceGenerator
from fitme.reflectance.generator_config import GeneratorConfig
from fitme.reflectance.map_arrays import MapArrays
from fitme.reflectance.maps import ReflectanceMaps
from fitme.reflectance.modality import MODALITIES, Encoding, Modality
from fitme.reflectance.packaged_models import packaged_generator
from fitme.reflectance.raw_outputs import decode, encode_raw
from fitme.reflectance.weights import load_generator, save_generator
from fitme.session.store import SessionStore
from fitme.shape.model_file import load_default_model
from fitme.skin.painter import synthesize_skin
from fitme.stage import Stage
from fitme.training.contact_sheets import map_sheet
from fitme.training.data.encoding import decode_bytes, encode_maps, encoded_maps
from stream.engine.messages import FittedMaps

from ..conftest import TINY

TRANSLUCENCY = Modality(
    "translucency", 1, Encoding.LINEAR, (0.25,), branch=(4, 4), shaded=False, file="translucency.png"
)
SIDE = 16


@pytest.fixture
def translucency(monkeypatch: pytest.MonkeyPatch) -> Iterator[Modality]:
    """The table with one more row."""
    monkeypatch.setattr(MODALITIES, "rows", (*MODALITIES.rows, TRANSLUCENCY))
    yield TRANSLUCENCY


@pytest.fixture
def maps(translucency: Modality) -> ReflectanceMaps:
    """A batch of one whose translucency is a ramp that float16 holds exactly."""
    plain = ReflectanceMaps.constant((0.5, 0.25, 0.125), 0.5, SIDE)
    return replace(plain, others={translucency.name: (torch.arange(SIDE) / SIDE).expand(1, SIDE, -1)[..., None]})


def translucency_of(maps: ReflectanceMaps | MapArrays | FittedMaps) -> np.ndarray:
    return np.asarray(maps.by_name()["translucency"], np.float32)


def assert_kept(found: ReflectanceMaps | MapArrays | FittedMaps, maps: ReflectanceMaps) -> None:
    np.testing.assert_array_equal(translucency_of(found).reshape(SIDE, SIDE), translucency_of(maps)[0, ..., 0])


def test_the_generator_makes_it(translucency: Modality, tmp_path: Path) -> None:
    config = replace(TINY, branches={**TINY.branches, translucency.name: (4, 4)})
    generator = ReflectanceGenerator(config).eval()
    w_plus = torch.randn(2, generator.num_layers, config.latent_size)
    with torch.no_grad():
        made = generator.synthesize(w_plus).others[translucency.name]
    assert made.shape == (2, 64, 64, 1)
    assert 0.0 <= float(made.min()) < float(made.max()) <= 1.0
    save_generator(generator, tmp_path / "generator.safetensors", exact=True)
    loaded = load_generator(tmp_path / "generator.safetensors")
    assert torch.equal(loaded.synthesize(w_plus).others[translucency.name], made)


def test_a_generator_without_its_branch_gives_its_default(translucency: Modality) -> None:
    generator = ReflectanceGenerator(TINY)
    maps = generator.synthesize(torch.randn(1, generator.num_layers, TINY.latent_size))
    assert maps.others[translucency.name].shape == (1, 64, 64, 1)
    assert (maps.others[translucency.name] == translucency.default[0]).all()


def test_the_default_generator_has_a_branch_for_it(translucency: Modality) -> None:
    assert GeneratorConfig().branches[translucency.name] == translucency.branch
    # The shipped weights are older than the row.
    assert translucency.name not in packaged_generator().config.branches


def test_training_data_hold_it(translucency: Modality) -> None:
    arrays = synthesize_skin(1, 32).arrays
    data = decode_bytes(torch.from_numpy(encode_maps(arrays))[None])
    assert data.shape == (1, 7, 32, 32)
    raw = encode_raw(data)
    torch.testing.assert_close(
        decode(raw).others[translucency.name], torch.full((1, 32, 32, 1), translucency.default[0]), atol=0.003, rtol=0.0
    )
    torch.testing.assert_close(encoded_maps(decode(raw))[:, 6], data[:, 6])
    assert map_sheet(decode(raw)).shape == (4 * 32, 32, 3)


def test_maps_keep_it(maps: ReflectanceMaps) -> None:
    assert_kept(maps_of(map_arrays(maps)), maps)
    assert_kept(ReflectanceMaps.concatenated([maps, maps]).one(1), maps)
    larger = enlarge(maps, 2 * SIDE).others["translucency"]
    assert larger.shape == (1, 2 * SIDE, 2 * SIDE, 1)
    dark = replace(maps, others={"translucency": torch.zeros(1, SIDE, SIDE, 1)})
    heads = [HeadEstimate(np.zeros(3, np.float32), 1.0, each) for each in (maps, dark)]
    halfway = blended(*heads, 0.5, None).maps
    np.testing.assert_allclose(translucency_of(halfway), 0.5 * translucency_of(maps), atol=1e-6)


def test_a_session_keeps_it(maps: ReflectanceMaps, tmp_path: Path) -> None:
    with SessionStore(tmp_path) as store:
        store.write_round(state_with(map_arrays(maps)))
    with SessionStore(tmp_path) as store:
        state = store.read()
    assert state is not None and state.maps is not None
    assert_kept(state.maps, maps)


def test_a_session_that_is_older_has_its_default(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with SessionStore(tmp_path) as store:
        store.write_round(state_with(map_arrays(ReflectanceMaps.constant((0.5, 0.5, 0.5), 0.5, SIDE))))
    monkeypatch.setattr(MODALITIES, "rows", (*MODALITIES.rows, TRANSLUCENCY))
    with SessionStore(tmp_path) as store:
        state = store.read()
    assert state is not None and state.maps is not None
    assert (translucency_of(state.maps) == TRANSLUCENCY.default[0]).all()


def test_the_pipe_between_processes_keeps_it(maps: ReflectanceMaps) -> None:
    half = {name: values[0].half().numpy() for name, values in maps.by_name().items()}
    assert_kept(pickle.loads(pickle.dumps(FittedMaps.from_names(half))), maps)


def test_an_avatar_file_keeps_it(maps: ReflectanceMaps, tmp_path: Path) -> None:
    path = tmp_path / "avatar.safetensors"
    Avatar(torch.zeros(3), maps, 1.0, Stage.SKIN).save(path)
    assert_kept(Avatar.load(path).maps, maps)


def test_an_avatar_file_that_is_older_has_its_default(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    path = tmp_path / "avatar.safetensors"
    Avatar(torch.zeros(3), ReflectanceMaps.constant((0.5, 0.5, 0.5), 0.5, SIDE), 1.0, Stage.SKIN).save(path)
    monkeypatch.setattr(MODALITIES, "rows", (*MODALITIES.rows, TRANSLUCENCY))
    assert (translucency_of(Avatar.load(path).maps) == TRANSLUCENCY.default[0]).all()


def test_a_glb_has_it_in_the_extras(maps: ReflectanceMaps) -> None:
    model = load_default_model()
    content = glb_bytes(Avatar(torch.zeros(model.identity_count), maps, 1.0, Stage.SKIN), model)
    (length,) = struct.unpack_from("<I", content, 12)
    document = json.loads(content[20 : 20 + length])
    (skin,) = (material for material in document["materials"] if material["name"] == "skin")
    texture = document["textures"][skin["extras"]["textures"]["translucency"]["index"]]
    assert document["images"][texture["source"]]["name"] == "translucency"


def test_an_output_folder_has_it(maps: ReflectanceMaps, tmp_path: Path) -> None:
    write_textures(maps, tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {
        "diffuse.png",
        "specular.png",
        "normal.png",
        "translucency.png",
    }


def test_unknown_modalities_are_refused() -> None:
    with pytest.raises(ValueError, match="translucency"):
        replace(ReflectanceMaps.constant((0.5, 0.5, 0.5), 0.5, 4), others={"translucency": torch.zeros(1, 4, 4, 1)})
    with pytest.raises(ConfigError, match="translucency"):
        replace(TINY, branches={**TINY.branches, "translucency": (4, 4)})


def test_settings_of_branches_by_their_old_names_are_read() -> None:
    stored = json.loads(json.dumps(asdict(TINY)))
    branches = stored.pop("branches")
    for old, name in (
        ("diffuse_channels", "diffuse"),
        ("specular_channels", "specular"),
        ("normal_channels", "normals"),
    ):
        stored[old] = branches[name]
    assert GeneratorConfig.from_stored(stored) == TINY


def state_with(arrays: MapArrays) -> FitState:
    return FitState(stage=Stage.SKIN, focal=1.0, identity=np.zeros(3, np.float32), w_plus=None, maps=arrays)
