"""Scenes of the benchmark `viewer`: two synthetic heads with hair and correctives, in several poses, expressions and
lights, and the forward renderer's renders of them."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import product

import numpy as np
import torch
from scipy.ndimage import gaussian_filter

from fitme.arrays import Float32Array, UInt8Array
from fitme.avatar import Avatar
from fitme.export.portrait import expression_of
from fitme.geometry import Camera, HeadPose, axis_angle_from_matrix, head_rotation
from fitme.hair.envelope import envelope_grid
from fitme.hair.hair import Hair
from fitme.hair.head_renderer import HeadRenderer
from fitme.hair.texels import at_texels
from fitme.hair.texture import HairTexture
from fitme.reflectance.expression_correctives import AlbedoCorrectives
from fitme.render.light import Light
from fitme.shape.model_file import load_default_model
from fitme.shape.morphable_model import MorphableModel
from fitme.shape.regions import Region
from fitme.skin.painter import synthesize_skin
from fitme.stage import Stage

SIZE_PX = 512
MAP_PX = 256
FOCAL_PER_SIZE, CENTER_HEIGHT = 1.55, 0.45
"""Virtual camera of the live service, over the render's size."""
DISTANCE_M = 0.6
BACKGROUND = (0.015, 0.017, 0.022)
"""Linear."""
HEAD_SEEDS = (11, 23)
IDENTITY_SPREAD = 0.8
"""Standard deviation of the identities' coefficients."""
HAIR_COLORS = ((0.035, 0.02, 0.012), (0.32, 0.2, 0.1))
HAIR_THICKNESS_M = ((0.012, 0.02), (0.02, 0.035))
"""Least thickness on the scalp, and what is added to it on one side."""
CREASE_DEPTH = 0.15
"""Largest change of albedo by a synthetic corrective."""

POSES_DEG: Mapping[str, tuple[float, float]] = {"front": (0.0, 0.0), "left": (-38.0, 8.0), "right": (55.0, -12.0)}
"""Yaw and pitch."""
EXPRESSIONS: Mapping[str, Mapping[str, float]] = {
    "smile": {
        "mouthSmileLeft": 0.8, "mouthSmileRight": 0.8, "mouthUpperUpLeft": 0.4, "mouthUpperUpRight": 0.4,
        "jawOpen": 0.25, "eyeLookInLeft": 0.6, "eyeLookOutRight": 0.6,
    },
    "frown": {
        "browDownLeft": 0.9, "browDownRight": 0.9, "mouthFrownLeft": 0.7, "mouthFrownRight": 0.7,
        "eyeBlinkLeft": 0.6, "eyeLookUpRight": 0.7,
    },
}  # fmt: skip
LIGHTS = ("key", "rim")


@dataclass(frozen=True)
class ViewerScene:
    """One combination of head, pose, expression and light."""

    head: int
    """Index of `HEAD_SEEDS`."""
    pose: str
    expression: str
    light: str

    @property
    def name(self) -> str:
        """Name for files and rows."""
        return f"head{self.head}-{self.pose}-{self.expression}-{self.light}"


def all_scenes() -> Sequence[ViewerScene]:
    """All 24 combinations."""
    return [ViewerScene(*parts) for parts in product(range(len(HEAD_SEEDS)), POSES_DEG, EXPRESSIONS, LIGHTS)]


def scene_camera(size_px: int = SIZE_PX) -> Camera:
    """Camera of all scenes."""
    return Camera(FOCAL_PER_SIZE * size_px, size_px / 2.0, CENTER_HEIGHT * size_px, size_px, size_px)


def scene_pose(scene: ViewerScene) -> HeadPose:
    """Pose of a scene's head."""
    yaw, pitch = np.radians(POSES_DEG[scene.pose])
    rotation = axis_angle_from_matrix(torch.from_numpy(head_rotation(float(yaw), float(pitch))))
    return HeadPose(rotation.numpy().astype(np.float32), np.array([0.0, 0.0, -DISTANCE_M], np.float32))


def scene_expression(scene: ViewerScene) -> torch.Tensor:
    """(52,) coefficients."""
    return expression_of(EXPRESSIONS[scene.expression])


def scene_light(scene: ViewerScene) -> Light:
    """Warm key light over soft surroundings, or two rim lights and a weak key; all lights cast shadows."""
    if scene.light == "key":
        sh = Light.ambient(0.35).sh
        sh[0, 1], sh[0, 3] = 0.2, torch.tensor([-0.1, -0.05, 0.1])
        directions, colors = [[0.55, 0.5, 0.67]], [[1.1, 1.0, 0.9]]
    else:
        sh = Light.ambient(0.12).sh
        directions = [[-0.93, 0.15, -0.33], [0.93, 0.15, -0.33], [-0.2, 0.9, 0.4]]
        colors = [[1.6, 0.75, 0.35], [0.3, 0.65, 1.7], [0.5, 0.5, 0.5]]
    unit = torch.nn.functional.normalize(torch.tensor([directions]), dim=-1)
    return Light(sh, unit, torch.tensor([colors]))


@cache
def scene_avatar(head: int) -> Avatar:
    """Synthetic head of an index, never a person: painted skin, a random identity, hair and correctives."""
    model, seed = load_default_model(), HEAD_SEEDS[head]
    generator = torch.Generator().manual_seed(seed)
    identity = IDENTITY_SPREAD * torch.randn(model.identity_count, generator=generator)
    maps = synthesize_skin(seed, MAP_PX).maps()
    return Avatar(
        identity, maps, 1.2, Stage.SKIN, f"head{head}",
        correctives=_correctives(seed, model), hair=_hair(head, identity, model),
    )  # fmt: skip


def forward_renders(scenes: Sequence[ViewerScene], size_px: int = SIZE_PX) -> Iterator[tuple[UInt8Array, UInt8Array]]:
    """Image (H, W, 3) sRGB and mask (H, W) of each scene by the forward renderer."""
    model = load_default_model()
    renderer = HeadRenderer(model, size_px, shadows=True)
    try:
        for scene in scenes:
            avatar, expression = scene_avatar(scene.head), scene_expression(scene)
            renderer.set_maps(avatar.maps_with(expression))
            renderer.set_hair(avatar.hair, model, avatar.identity)
            with torch.no_grad():
                vertices = model.vertices(avatar.identity[None], expression[None])[0].numpy()
            yield renderer.render_with_mask(
                vertices, scene_pose(scene), scene_camera(size_px), scene_light(scene), BACKGROUND
            )
    finally:
        renderer.close()


def _correctives(seed: int, model: MorphableModel) -> AlbedoCorrectives:
    """Creases of both expressions: smooth noise in the layout, of rank 2."""
    generator = np.random.default_rng(seed)
    noise = gaussian_filter(generator.standard_normal((2, MAP_PX, MAP_PX)), (0.0, 2.0, 6.0))
    creases = -CREASE_DEPTH * np.clip(noise / np.abs(noise).max((1, 2), keepdims=True), 0.0, 1.0)
    deltas = torch.from_numpy(creases[..., None].repeat(3, -1)).half()
    known = torch.stack([expression_of(coefficients) for coefficients in EXPRESSIONS.values()])
    face = model.expression_basis[:, model.face_vertices].flatten(1)  # (52, 3N)
    gram = face @ face.T / len(model.face_vertices)
    return AlbedoCorrectives(known, gram, torch.tensor([[1.0, 0.2], [0.3, 1.0]]), deltas)


def _hair(head: int, identity: torch.Tensor, model: MorphableModel) -> Hair:
    """Hair on the scalp with strands of different brightness, thicker on one side."""
    with torch.no_grad():
        neutral: Float32Array = model.neutral(identity[None])[0].numpy()
    grid = envelope_grid(model, neutral)
    scalp = (grid.region == int(Region.SCALP)).astype(float)
    # Rising from the skin at the hairline.
    soft = np.clip((gaussian_filter(scalp, 2.0, mode=("nearest", "wrap")) - 0.4) / 0.6, 0.0, 1.0)
    side = 0.5 + 0.5 * np.sin(np.linspace(-np.pi, np.pi, scalp.shape[1], endpoint=False))
    least, more = HAIR_THICKNESS_M[head]
    coverage = np.clip(at_texels(soft) / 0.3, 0.0, 1.0)[..., None]
    noise = gaussian_filter(np.random.default_rng(head).standard_normal(coverage.shape[:2]), (12.0, 1.0))
    brightness = np.exp(0.35 * noise / noise.std())[..., None]
    albedo = np.clip(brightness * np.array(HAIR_COLORS[head]), 0.004, 0.9)
    texture = HairTexture(albedo.astype(np.float32), coverage.astype(np.float32))
    return Hair((soft * (least + more * side)).astype(np.float32), texture)
