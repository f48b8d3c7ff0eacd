"""An avatar comes back from its file as it went in; anything else is refused with a reason."""

import resource
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from fitme.avatar import FILE_NAME, Avatar
from fitme.errors import ModelFileError
from fitme.glasses.glasses import glasses_arrays
from fitme.reflectance.expression_correctives import AlbedoCorrectives
from fitme.reflectance.maps import ReflectanceMaps
from fitme.stage import Stage
from tests.glasses.made import made_glasses

RESOLUTION = 16


@pytest.fixture
def avatar() -> Avatar:
    generator = torch.Generator().manual_seed(3)
    normals = torch.nn.functional.normalize(torch.randn(1, RESOLUTION, RESOLUTION, 3, generator=generator), dim=-1)
    diffuse = torch.rand(1, RESOLUTION, RESOLUTION, 3, generator=generator)
    specular = torch.rand(1, RESOLUTION, RESOLUTION, 1, generator=generator)
    identity = torch.randn(120, generator=generator)
    return Avatar(identity, ReflectanceMaps(diffuse, specular, normals), 1.25, Stage.TUNING, "Ada")


def test_round_trip(tmp_path: Path, avatar: Avatar):
    avatar.save(str(tmp_path / FILE_NAME))
    for path in (tmp_path, tmp_path / FILE_NAME):
        loaded = Avatar.load(path)
        assert torch.equal(loaded.identity, avatar.identity)
        assert (loaded.focal, loaded.stage, loaded.name, loaded.created) == (1.25, "tuning", "Ada", avatar.created)
        for name in ("diffuse", "specular", "normals"):
            difference = (getattr(loaded.maps, name) - getattr(avatar.maps, name)).abs().max()
            assert difference < 1e-3, name
        assert loaded.maps.normals.norm(dim=-1).sub(1).abs().max() < 1e-6
    assert [path.name for path in tmp_path.iterdir()] == [FILE_NAME]


def test_resting_lids_come_back(tmp_path: Path, avatar: Avatar):
    replace(avatar, resting_lids=0.15).save(tmp_path / FILE_NAME)
    assert Avatar.load(tmp_path).resting_lids == 0.15


def test_the_certainty_of_the_form_comes_back_and_is_checked(tmp_path: Path, avatar: Avatar):
    sigma = torch.rand(20)
    replace(avatar, shape_sigma=sigma).save(tmp_path / "sure.safetensors")
    loaded = Avatar.load(tmp_path / "sure.safetensors").shape_sigma
    assert loaded is not None
    assert torch.equal(loaded, sigma)
    replace(avatar, shape_sigma=torch.rand(20, 3)).save(tmp_path / "damaged.safetensors")
    with pytest.raises(ModelFileError, match="shape_sigma must be"):
        Avatar.load(tmp_path / "damaged.safetensors")


def test_a_full_disk_leaves_nothing(tmp_path: Path, avatar: Avatar):
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))  # larger files fail, as on a full disk
    try:
        with pytest.raises(ModelFileError, match="cannot be written"):
            avatar.save(tmp_path / FILE_NAME)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert list(tmp_path.iterdir()) == []


def test_correctives_come_back(tmp_path: Path, avatar: Avatar):
    generator = torch.Generator().manual_seed(4)
    deltas = torch.randn(2, RESOLUTION, RESOLUTION, 3, generator=generator).half()
    mixing = torch.randn(3, 2, generator=generator)
    known = AlbedoCorrectives(torch.rand(3, 52, generator=generator), 1e-6 * torch.eye(52), mixing, deltas)
    replace(avatar, correctives=known).save(tmp_path / FILE_NAME)
    loaded = Avatar.load(tmp_path).correctives
    assert loaded is not None
    for name, value in vars(known).items():
        assert torch.equal(getattr(loaded, name), value), name
    with pytest.raises(ValueError, match="do not go with"):
        replace(avatar, correctives=replace(known, deltas=deltas[:, :8]))


def test_glasses_come_back(tmp_path: Path, avatar: Avatar):
    worn = replace(avatar, glasses=made_glasses(lens_opacity=0.5))
    worn.save(tmp_path / FILE_NAME)
    found = Avatar.load(tmp_path).glasses
    assert found is not None and worn.glasses is not None
    for name, values in glasses_arrays(worn.glasses).items():
        np.testing.assert_array_equal(getattr(found, name), values)
    with safe_open(tmp_path / FILE_NAME, framework="pt") as opened:
        tensors, metadata = {key: opened.get_tensor(key) for key in opened.keys()}, opened.metadata()  # noqa: SIM118
    del tensors["glasses.albedo"]
    save_file(tensors, tmp_path / FILE_NAME, metadata)
    with pytest.raises(ModelFileError, match="glasses lack albedo"):
        Avatar.load(tmp_path)


def test_damaged_correctives_are_refused(tmp_path: Path, avatar: Avatar):
    file = tmp_path / FILE_NAME
    avatar.save(file)
    with safe_open(file, framework="pt") as opened:
        metadata = opened.metadata()
        tensors = {key: opened.get_tensor(key) for key in opened.keys()}  # noqa: SIM118
    save_file(tensors | {"correctives.gram": torch.eye(52)}, file, metadata)
    with pytest.raises(ModelFileError, match="part of its correctives"):
        Avatar.load(file)
    damaged = {
        "correctives.expressions": torch.zeros(2, 52),
        "correctives.gram": torch.eye(52),
        "correctives.deltas": torch.zeros(2, 4, 4, 3).half(),
    }
    save_file(tensors | damaged, file, metadata)
    with pytest.raises(ModelFileError, match="damaged"):
        Avatar.load(file)


def test_an_unknown_stage_is_refused(tmp_path: Path, avatar: Avatar):
    file = tmp_path / "a.safetensors"
    avatar.save(file)
    with safe_open(file, framework="pt") as opened:
        tensors, metadata = {key: opened.get_tensor(key) for key in opened.keys()}, opened.metadata()  # noqa: SIM118
    save_file(tensors, file, metadata | {"stage": "finished"})
    with pytest.raises(ModelFileError, match="metadata is damaged"):
        Avatar.load(file)


def test_truncated_file_is_refused(tmp_path: Path, avatar: Avatar):
    path = tmp_path / FILE_NAME
    avatar.save(path)
    content = path.read_bytes()
    for length in (0, 7, 200, len(content) - 1):
        path.write_bytes(content[:length])
        with pytest.raises(ModelFileError, match="truncated"):
            Avatar.load(path)


def test_other_files_are_refused(tmp_path: Path, avatar: Avatar):
    with pytest.raises(ModelFileError, match="no such avatar"):
        Avatar.load(tmp_path / "missing.safetensors")
    other = tmp_path / "other.safetensors"
    save_file({"weights": torch.zeros(2)}, other)
    with pytest.raises(ModelFileError, match="not an avatar"):
        Avatar.load(other)
    save_file({"identity": torch.zeros(2)}, other, {"format": "fitme-avatar", "version": "99"})
    with pytest.raises(ModelFileError, match="version 99"):
        Avatar.load(other)
    save_file({"identity": torch.zeros(2)}, other, {"format": "fitme-avatar", "version": "2"})
    with pytest.raises(ModelFileError, match="lacks diffuse"):
        Avatar.load(other)


def test_shapes_are_checked(avatar: Avatar):
    with pytest.raises(ValueError, match="identity"):
        Avatar(avatar.identity[None], avatar.maps, 1.0, Stage.SKIN)
