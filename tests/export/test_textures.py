"""Reflectance maps as PNG files, in the documented encodings."""

from pathlib import Path

import numpy as np
import torch
from PIL import Image

from fitme.avatar import Avatar
from fitme.color import srgb_to_linear
from fitme.export.textures import write_textures
from fitme.reflectance.maps import ReflectanceMaps


def test_encodings(tmp_path: Path, avatar: Avatar):
    write_textures(avatar.maps, tmp_path)
    diffuse, specular, normal = (
        np.asarray(Image.open(tmp_path / f"{name}.png")) for name in ("diffuse", "specular", "normal")
    )
    assert (diffuse.ndim, specular.ndim, normal.ndim) == (3, 2, 3)
    linear = srgb_to_linear(torch.from_numpy(diffuse / 255.0)).numpy()
    assert np.abs(linear - avatar.maps.diffuse[0].numpy()).max() < 0.006
    assert np.abs(specular / 255.0 - avatar.maps.specular[0, ..., 0].numpy()).max() < 0.003
    assert np.abs(normal / 127.5 - 1.0 - avatar.maps.normals[0].numpy()).max() < 0.005


def test_flat_normals_are_encoded_as_128_128_255(tmp_path: Path):
    write_textures(ReflectanceMaps.constant((0.5, 0.5, 0.5), 1.0, 8), tmp_path)
    assert np.asarray(Image.open(tmp_path / "normal.png"))[0, 0].tolist() == [128, 128, 255]
    assert np.asarray(Image.open(tmp_path / "diffuse.png"))[0, 0].tolist() == [188, 188, 188]
    assert np.asarray(Image.open(tmp_path / "specular.png"))[0, 0] == 255
