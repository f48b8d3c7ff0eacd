"""Factory of networks by settings; errors name the missing file."""

from pathlib import Path

import numpy as np
import pytest

from fitme.errors import BackendError, ModelFileError
from fitme.track.factory import check_networks, dlib_embedder, identity_embedder, landmark_backend
from fitme.track.identity import DlibEmbedder
from fitme.track.mediapipe_tasks import TasksBackend
from fitme.track.settings import NetworkSettings


def test_defaults_come_with_the_package():
    assert isinstance(landmark_backend(), TasksBackend)
    assert isinstance(identity_embedder(), DlibEmbedder)
    assert identity_embedder() is dlib_embedder(), "weights are read once a process"
    check_networks(NetworkSettings())


def test_another_bundle_is_named_in_the_settings(tmp_path: Path):
    bundle = tmp_path / "face_landmarker.task"
    with pytest.raises(ModelFileError, match="No Face Landmarker bundle"):
        check_networks(NetworkSettings(face_landmarker=bundle))
    bundle.write_bytes(b"no bundle")
    backend = landmark_backend(NetworkSettings(face_landmarker=bundle))
    with pytest.raises(ModelFileError, match=r"face_landmarker\.task is not a model"):
        backend.mesh(np.zeros((64, 64, 3), np.uint8))


def test_arcface_takes_its_pack_from_the_settings(tmp_path: Path):
    with pytest.raises(BackendError, match=r"insightface.*networks: \{arcface: FOLDER\}"):
        identity_embedder(NetworkSettings(identity="arcface"))
    with pytest.raises((BackendError, ModelFileError), match=r"onnxruntime|No ArcFace network"):
        check_networks(NetworkSettings(identity="arcface", arcface=tmp_path))
