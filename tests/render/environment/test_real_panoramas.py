"""The 18 panoramas (CC0) of the npm package `@pmndrs/assets`, as environments: real rooms, skies, suns and lamps."""

import base64
import re
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from fitme.color import LUMINANCE
from fitme.render.environment.files import load_environment, read_panorama
from fitme.render.environment.panorama import (
    COLUMNS,
    MEAN_RADIANCE,
    ROWS,
    environment_of,
    panorama_directions,
    texel_solid_angles,
)
from fitme.render.shading import diffuse_shading

FOLDER = Path(sys.prefix) / "node_modules" / "@pmndrs" / "assets" / "hdri"
FILES = sorted(FOLDER.glob("*.exr.js"))
MODULE = re.compile(r"base64,([A-Za-z0-9+/=]+)")

pytestmark = pytest.mark.skipif(not FILES, reason="npm install --prefix VENV @pmndrs/assets brings the panoramas")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The panoramas as OpenEXR files."""
    target = tmp_path_factory.mktemp("panoramas")
    for file in FILES:
        (target / file.name.removesuffix(".js")).write_bytes(base64.b64decode(MODULE.search(file.read_text())[1]))
    return target


def irradiance(panorama, normals):
    """Shading (N, 3) of white surfaces by all of a panorama's texels, over pi."""
    rows, columns = panorama.shape[:2]
    facing = (
        np.maximum(panorama_directions(rows, columns) @ normals.T, 0.0) * texel_solid_angles(rows, columns)[..., None]
    )
    return np.einsum("rcn,rck->nk", facing, panorama) / np.pi


def test_there_are_eighteen():
    assert len(FILES) == 18


@pytest.mark.parametrize("name", [file.name.removesuffix(".js") for file in FILES])
def test_a_face_is_lit_as_by_the_whole_panorama(folder, name):
    environment = load_environment(folder / name)
    raw = read_panorama(folder / name)
    assert raw.max() > 1.0, "a high dynamic range"
    assert (raw >= 0.0).all()
    weights = np.repeat(texel_solid_angles(*raw.shape[:2]), raw.shape[1], 1)
    scale = MEAN_RADIANCE * 4.0 * np.pi / (weights * (raw @ LUMINANCE)).sum()
    normals = np.random.default_rng(0).normal(size=(24, 3))
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    truth = scale * irradiance(raw.astype(np.float64), normals)
    light = environment.light()
    found = diffuse_shading(torch.from_numpy(normals[None].astype(np.float32)), light)[0].numpy()
    # Harmonics of order 2 are within some per cent of soft light; sources become directional lights.
    assert np.abs(found - truth).mean() < 0.05 * truth.mean(), name
    assert np.abs(found - truth).max() < 0.3 * truth.mean(), name
    # What is left and what was taken out are the whole.
    left = (np.repeat(texel_solid_angles(ROWS, COLUMNS), COLUMNS, 1)[..., None] * environment.panorama).sum((0, 1))
    taken = np.pi * environment.colors.sum(0)
    np.testing.assert_allclose(left + taken, scale * (weights[..., None] * raw).sum((0, 1)), rtol=0.05)


def test_sunny_skies_and_lamps_cast_shadows(folder):
    """Somewhere among real panoramas there are suns and lamps, and overcast or evenly lit places without any."""
    counts = {file.name: len(environment_of(read_panorama(file)).directions) for file in sorted(folder.glob("*.exr"))}
    assert 0 in counts.values(), counts
    assert sum(count > 0 for count in counts.values()) >= 4, counts
