"""A synthetic person with hair before a camera: frames whose hair is known."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter

from fitme.arrays import Float32Array, UInt8Array
from fitme.geometry import Camera, HeadPose, rotation_matrix
from fitme.hair.envelope import EnvelopeGrid, envelope_grid
from fitme.hair.frame import HairFrame
from fitme.hair.hair import Hair
from fitme.hair.head_renderer import HeadRenderer
from fitme.hair.texels import at_texels
from fitme.hair.texture import HairTexture
from fitme.reflectance.maps import ReflectanceMaps
from fitme.render.light import Light
from fitme.render.rasterizer import RasterizerBackend, select_backend
from fitme.shape.landmark_groups import FACE_OVAL
from fitme.shape.model_file import load_default_model
from fitme.shape.morphable_model import MorphableModel
from fitme.shape.regions import Region

CAMERA = Camera.centered(620.0, 400, 400)
BACKGROUND = (0.25, 0.4, 0.6)
SKIN, HAIR = (0.45, 0.28, 0.2), (0.06, 0.035, 0.02)


@pytest.fixture(scope="session")
def model() -> MorphableModel:
    return load_default_model()


@pytest.fixture(scope="session")
def backend() -> RasterizerBackend:
    return select_backend("cpu")


@pytest.fixture(scope="session")
def neutral(model: MorphableModel) -> Float32Array:
    return model.mean.numpy()


@pytest.fixture(scope="session")
def grid(model: MorphableModel, neutral: Float32Array) -> EnvelopeGrid:
    return envelope_grid(model, neutral)


@pytest.fixture(scope="session")
def hair(grid: EnvelopeGrid) -> Hair:
    """Dark hair on the scalp, thicker on the person's left, up to 40 mm."""
    scalp = (grid.region == int(Region.SCALP)).astype(float)
    side = 0.5 + 0.5 * np.sin(np.linspace(-np.pi, np.pi, grid.region.shape[1], endpoint=False))
    # Rising from the skin at the hairline.
    soft = np.clip((gaussian_filter(scalp, 2.0, mode=("nearest", "wrap")) - 0.4) / 0.6, 0.0, 1.0)
    thickness = (soft * (0.015 + 0.025 * side)).astype(np.float32)
    coverage = at_texels((soft > 0.05).astype(float))[..., None]
    albedo = np.broadcast_to(np.array(HAIR, np.float32), (*coverage.shape[:2], 3)).copy()
    return Hair(thickness, HairTexture(albedo, (coverage > 0.5).astype(np.float32)))


def pose_of(yaw_deg: float, pitch_deg: float = 0.0) -> HeadPose:
    rotation = np.radians(np.array([-pitch_deg, yaw_deg, 0.0], np.float32))
    return HeadPose(rotation.astype(np.float32), np.array([0.0, -0.01, -0.75], np.float32))


@dataclass(frozen=True)
class Scene:
    """What one view shows."""

    image: UInt8Array
    mask: UInt8Array
    frame: HairFrame


Photograph = Callable[[Hair | None, HeadPose], Scene]


@pytest.fixture(scope="session")
def photograph(model: MorphableModel, neutral: Float32Array) -> Photograph:
    """Draws the person, with some hair or bald."""
    light = Light.ambient(0.9)
    renderer = HeadRenderer(model, (CAMERA.height, CAMERA.width), threads=1)
    renderer.set_maps(ReflectanceMaps.constant(SKIN, 0.02, 16))

    def photograph(hair: Hair | None, pose: HeadPose) -> Scene:
        renderer.set_hair(hair, model, torch.zeros(model.identity_count))
        image, mask = renderer.render_with_mask(neutral, pose, CAMERA, light, BACKGROUND)
        points = model.landmarks(model.mean[None])[0][list(FACE_OVAL)]
        view = points @ rotation_matrix(torch.from_numpy(pose.rotation)).T + torch.from_numpy(pose.translation)
        oval = CAMERA.project(view).numpy()
        person = (mask / 255.0).astype(np.float32)
        frame = HairFrame(image, person, oval, neutral, pose, CAMERA, light.sh[0].numpy(), 1.0)
        return Scene(image, mask, frame)

    return photograph


@pytest.fixture(scope="session")
def scenes(photograph: Photograph, hair: Hair) -> Sequence[Scene]:
    poses = [pose_of(0), pose_of(35), pose_of(-35), pose_of(60), pose_of(-60), pose_of(0, 20)]
    return [photograph(hair, pose) for pose in poses]
