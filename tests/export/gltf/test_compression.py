"""Smaller files: WebP textures, meshopt where gltfpack is there, and what is said where it is not."""

import dataclasses
import io
import shutil

import numpy as np
import pytest
from PIL import Image

from fitme.avatar import Avatar
from fitme.errors import BackendError
from fitme.export.gltf.avatar import glb_bytes
from fitme.export.gltf.compression import Compression, TextureFormat, compressed
from fitme.shape.morphable_model import MorphableModel
from tests.export.glb_reader import Reader


@pytest.fixture(scope="module")
def glb(avatar: Avatar, model: MorphableModel) -> bytes:
    return glb_bytes(avatar, model)


def test_webp_textures_look_the_same_and_leave_the_rest(glb: bytes):
    before, after = Reader(glb), Reader(compressed(glb, None, TextureFormat.WEBP))
    assert "EXT_texture_webp" in after.document["extensionsRequired"]
    for texture in after.document["textures"]:
        image = after.document["images"][texture["extensions"]["EXT_texture_webp"]["source"]]
        opened = Image.open(io.BytesIO(after.view(image["bufferView"])))
        assert opened.format == "WEBP"
        original = Image.open(io.BytesIO(before.view(image["bufferView"]))).convert(opened.mode)
        assert np.abs(np.asarray(opened, int) - np.asarray(original, int)).mean() < 4.0, image["name"]
    for index in range(0, len(before.document["accessors"]), 40):
        assert np.array_equal(before.accessor(index), after.accessor(index))


def test_missing_program_is_named(glb: bytes, monkeypatch: pytest.MonkeyPatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    for arguments, word in (
        ((Compression.MESHOPT, None), "npm install -g gltfpack"),
        ((Compression.DRACO, None), "npm install -g @gltf-transform/cli"),
        ((None, TextureFormat.KTX2), "KTX-Software"),
    ):
        with pytest.raises(BackendError, match=word):
            compressed(glb, *arguments)


def test_failing_program_is_reported(glb: bytes, monkeypatch: pytest.MonkeyPatch, tmp_path):
    program = tmp_path / "gltfpack"
    program.write_text("#!/bin/sh\necho 'Error: no space' >&2\nexit 3\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    with pytest.raises(BackendError, match="no space"):
        compressed(glb, Compression.MESHOPT, None)


@pytest.mark.skipif(shutil.which("gltfpack") is None, reason="gltfpack is not installed")
def test_meshopt_keeps_names_joints_and_blendshapes(glb: bytes):
    packed = compressed(glb, Compression.MESHOPT, TextureFormat.WEBP)
    assert len(packed) < 1_000_000
    document = Reader(packed).document
    names = {node.get("name") for node in document["nodes"]}
    assert {"Armature", "Head", "LeftEye", "head", "upperTeeth"} <= names
    assert any(len(mesh.get("extras", {}).get("targetNames", [])) == 67 for mesh in document["meshes"])


def test_map_of_what_was_observed_is_a_texture_with_its_share(avatar: Avatar, model: MorphableModel):
    import torch

    size = avatar.maps.diffuse.shape[1]
    observed = torch.zeros(size, size)
    observed[:, : size // 2] = 1.0  # One side of the symmetric layout.
    document_reader = Reader(glb_bytes(dataclasses.replace(avatar, observed=observed), model))
    document = document_reader.document
    skin = document["materials"][0]
    texture = document["textures"][skin["extras"]["textures"]["observed"]["index"]]
    assert document["images"][texture["source"]]["name"] == "observed"
    assert np.array_equal(document_reader.image("observed"), np.asarray(observed * 255, np.uint8))
    assert document["scenes"][0]["extras"]["observedShareOfFace"] == pytest.approx(0.5, abs=0.02)
