"""Hair as arrays, in avatar files and in GLB files."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from fitme.avatar import Avatar
from fitme.errors import ModelFileError
from fitme.export.gltf.avatar import glb_bytes
from fitme.export.gltf.glb import read_glb
from fitme.export.gltf.hair import relief_codes
from fitme.hair.envelope import envelope_triangles, envelope_uv
from fitme.hair.hair import Hair, hair_arrays, hair_of_arrays, hair_surface
from fitme.hair.strands import strand_pattern
from fitme.reflectance.maps import ReflectanceMaps
from fitme.shape.morphable_model import MorphableModel
from fitme.stage import Stage


@pytest.fixture
def avatar(model: MorphableModel, hair: Hair) -> Avatar:
    maps = ReflectanceMaps.constant((0.4, 0.3, 0.2), 0.5, 16)
    return Avatar(torch.zeros(model.identity_count), maps, 1.2, Stage.SKIN, "test", hair=hair)


def test_arrays_round_trip(hair: Hair) -> None:
    again = hair_of_arrays(hair_arrays(hair))
    np.testing.assert_array_equal(again.thickness_m, hair.thickness_m)
    np.testing.assert_allclose(again.texture.albedo, hair.texture.albedo, rtol=1e-3)


@pytest.mark.parametrize("name", ["thickness_m", "albedo", "coverage"])
def test_missing_and_misshapen_arrays_are_refused(hair: Hair, name: str) -> None:
    arrays = hair_arrays(hair)
    with pytest.raises(ValueError, match=name if name != "albedo" else "albedo"):
        hair_of_arrays({key: value for key, value in arrays.items() if key != name})
    with pytest.raises(ValueError):
        hair_of_arrays(arrays | {name: arrays[name][:-1, :-1]})


def test_an_avatar_file_keeps_its_hair(avatar: Avatar, tmp_path: Path) -> None:
    avatar.save(tmp_path / "a.safetensors")
    again = Avatar.load(tmp_path / "a.safetensors")
    assert again.hair is not None and avatar.hair is not None
    np.testing.assert_array_equal(again.hair.thickness_m, avatar.hair.thickness_m)


def test_a_damaged_hair_is_told(avatar: Avatar, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    avatar.save(tmp_path / "a.safetensors")
    tensors = load_file(tmp_path / "a.safetensors")
    del tensors["hair.albedo"]
    metadata = {"format": "fitme-avatar", "version": "2", "focal": "1.2", "stage": "skin", "name": "x",
                "created": "2026-01-01T00:00:00+00:00"}  # fmt: skip
    save_file(tensors, tmp_path / "b.safetensors", metadata)
    with pytest.raises(ModelFileError, match="albedo"):
        Avatar.load(tmp_path / "b.safetensors")


def test_the_envelope_faces_outwards_and_encloses_the_scalp(hair: Hair, model: MorphableModel) -> None:
    surface = hair_surface(hair, model, model.mean.numpy())
    corners = surface.vertices[envelope_triangles()]
    normal = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    outward = (normal * surface.normals[envelope_triangles()].mean(1)).sum(-1)
    # At the crown triangles have no area.
    assert (outward >= -1e-12).all()
    assert len(envelope_uv()) == len(surface.vertices)
    assert envelope_uv().min() >= 0.0 and envelope_uv().max() <= 1.0


def test_a_glb_of_a_bald_head_has_no_hair(avatar: Avatar, model: MorphableModel) -> None:
    assert avatar.hair is not None
    bare = replace(avatar.hair.texture, coverage=np.zeros_like(avatar.hair.texture.coverage))
    document, _ = read_glb(glb_bytes(replace(avatar, hair=replace(avatar.hair, texture=bare)), model))
    assert "hair" not in [node["name"] for node in document["nodes"]]
    assert "hair" not in [image["name"] for image in document["images"]]


def test_a_glb_has_the_hair_as_a_part_of_its_own(avatar: Avatar, model: MorphableModel) -> None:
    document, _ = read_glb(glb_bytes(avatar, model))
    node = next(node for node in document["nodes"] if node["name"] == "hair")
    primitive = document["meshes"][node["mesh"]]["primitives"][0]
    material = document["materials"][primitive["material"]]
    assert material["alphaMode"] == "MASK"
    texture = document["textures"][material["pbrMetallicRoughness"]["baseColorTexture"]["index"]]
    assert document["images"][texture["source"]]["name"] == "hair"
    relief = document["textures"][material["normalTexture"]["index"]]
    assert document["images"][relief["source"]]["name"] == "hair_relief"
    count = document["accessors"][primitive["attributes"]["POSITION"]]["count"]
    assert 0 < count < len(envelope_uv()), "only what has hair is written"


def test_the_relief_s_normals_point_outwards_and_away_from_rising_locks() -> None:
    normals = relief_codes() / 127.5 - 1.0
    np.testing.assert_allclose(np.linalg.norm(normals, axis=-1), 1.0, atol=0.02)
    assert normals[..., 2].min() > 0.3
    rising = np.roll(strand_pattern(), -1, 1) - strand_pattern()
    assert np.corrcoef(normals[..., 0].ravel(), rising.ravel())[0, 1] < -0.9
