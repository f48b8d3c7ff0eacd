"""What holds for all tests, an object store, and small networks and few skins, so that real training fits in a test."""

import logging
import os
import urllib.request
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from hypothesis import settings

from fitme.reflectance.generator import ReflectanceGenerator
from fitme.reflectance.generator_config import GeneratorConfig
from fitme.session.object_folder import ObjectFolder, ObjectStoreSettings
from fitme.training.data.dataset import MapDataset, build_dataset

# Machines that run tests are shared; a slow example is no failure here.
settings.register_profile("shared", deadline=None)
settings.load_profile("shared")

TINY = GeneratorConfig(
    resolution=64,
    noise_size=8,
    feature_count=5,
    latent_size=12,
    mapping_layers=2,
    trunk_channels=(16, 16, 12),
    branches={"diffuse": (8, 6), "specular": (4, 4), "normals": (6, 4)},
    trunk_positions=2,
    branch_positions=3,
    detail_maps=(3, 2, 2),
    linear_components=5,
    linear_resolution=32,
)
"""A generator of 64 texels whose trunk ends at 16."""


@pytest.fixture
def tiny_generator() -> ReflectanceGenerator:
    torch.manual_seed(3)
    generator = ReflectanceGenerator(TINY)
    generator.measure_mean_w(64)
    return generator.eval()


@pytest.fixture(scope="session")
def few_skins(tmp_path_factory: pytest.TempPathFactory) -> MapDataset:
    return build_dataset(Path(tmp_path_factory.mktemp("maps")), count=6, resolution=64)


@pytest.fixture(scope="session")
def object_store_address() -> Iterator[str]:
    """Address of a real S3 server of this process."""
    pytest.importorskip("obstore", reason="object stores need the extra s3")
    server_module = pytest.importorskip("moto.server", reason="tests of object stores need moto and flask")
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    credentials = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test"}
    server = server_module.ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith("AWS_")]:
            patch.delenv(name)
        for name, value in credentials.items():
            patch.setenv(name, value)
        yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def object_folder(object_store_address: str) -> ObjectFolder:
    """Folder of an empty bucket, for the server named ada."""
    bucket = uuid.uuid4().hex
    request = urllib.request.Request(f"{object_store_address}/{bucket}", method="PUT")
    urllib.request.urlopen(request).close()
    settings = ObjectStoreSettings(object_store_address, timeout_s=2.0, lease_s=30.0)
    return ObjectFolder.parse(f"s3://{bucket}/people", settings, "ada")
