"""A synthetic person to export: the average head with some identity, and maps that vary all over."""

import pytest
import torch

from fitme.avatar import Avatar
from fitme.reflectance.maps import ReflectanceMaps
from fitme.shape.model_file import load_default_model
from fitme.shape.morphable_model import MorphableModel
from fitme.stage import Stage

MAP_RESOLUTION = 64


@pytest.fixture(scope="session")
def model() -> MorphableModel:
    return load_default_model()


@pytest.fixture(scope="session")
def avatar(model: MorphableModel) -> Avatar:
    generator = torch.Generator().manual_seed(7)
    identity = 0.5 * torch.randn(model.identity_count, generator=generator)
    ramp = torch.linspace(0.0, 1.0, MAP_RESOLUTION)
    u, v = ramp.expand(MAP_RESOLUTION, -1), ramp[:, None].expand(-1, MAP_RESOLUTION)
    diffuse = torch.stack([0.3 + 0.5 * u, 0.2 + 0.4 * v, 0.1 + 0.2 * u * v], -1)[None]
    normals = torch.nn.functional.normalize(torch.stack([0.2 * u, -0.3 * v, torch.ones_like(u)], -1), dim=-1)[None]
    maps = ReflectanceMaps(diffuse, u[None, ..., None], normals)
    return Avatar(identity, maps, focal=1.2, stage=Stage.SKIN, name="test")
