"""Subjects of the benchmark: all random choices about person, camera, light and frames; no rendering.

A subject number gives identical choices on every machine.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import cache

import numpy as np
import torch

from fitme.bench.truth.lights import WEBCAM_KINDS, LightKind, LightScript, draw_light
from fitme.bench.truth.strands import STYLES
from fitme.geometry import Camera, HeadPose, axis_angle_from_matrix, head_rotation
from fitme.skin.attributes import SkinAttributes, sample_attributes
from fitme.skin.skin_tone_classes import CLASS_NAMES, ita_class_index
from fitme.training.data.dataset import HELD_OUT_SEED

WIDTH, HEIGHT = 640, 480
FIRST_SKIN_SEED = HELD_OUT_SEED + 50_000
"""First seed of the subjects' skins, which no training set and no model selection has used."""
SKIN_SEED_STRIDE = 1_000
"""Number of seeds reserved for a subject, tried until one has its class of skin tone."""
IDENTITY_LIMIT = 2.5
"""Limit in standard deviations beyond which identity coefficients are redrawn."""
IDENTITY_COMPONENTS = 100
FOCAL_RANGE = (0.8, 1.3)
"""Range of webcams' focal length over the longer side."""
FACE_SIDE_RANGE_PX = (150.0, 200.0)
"""Range of the width of a face in the frame."""
FACE_WIDTH_M = 0.14
IRIS_DIAMETER_M, IRIS_DIAMETER_SPREAD_M = 0.01171, 0.00042
"""White-to-white diameter, mean and standard deviation over adults (Ruefer, Schroeder and Erb, Cornea 2005),
independent of the size of the eyeball."""
PIVOT_M = np.array([0.0, -0.10, -0.075])
"""Point about which a head turns, head frame."""
LARGEST_YAW_DEG, LARGEST_PITCH_DEG, LARGEST_ROLL_DEG = 45.0, 14.0, 7.0
MOVING_EVERY, MOVING_DEG = 4, (0.8, 2.2)
"""Period of frames with motion blur, and the range of their rotation during the exposure."""
CHANGING_LIGHT_EVERY = 3
"""Period of subjects whose light differs between frames."""

_YAW_SHARES = (0.0, 0.1, -0.3, -0.45, 0.4, 0.35, -0.7, -0.6, 0.75, 0.6, -1.0, -0.85, 1.0, 0.85, 0.15, -0.15)
_EXPRESSIONS: tuple[Mapping[str, float], ...] = (
    {},
    {},
    {"mouthSmileLeft": 0.5, "mouthSmileRight": 0.5, "cheekSquintLeft": 0.3, "cheekSquintRight": 0.3},
    {"mouthSmileLeft": 0.7, "mouthSmileRight": 0.65, "jawOpen": 0.12},
    {"jawOpen": 0.3},
    {"jawOpen": 0.2, "mouthFunnel": 0.3},
    {"browInnerUp": 0.6, "browOuterUpLeft": 0.5, "browOuterUpRight": 0.5},
    {"browDownLeft": 0.6, "browDownRight": 0.6, "mouthPressLeft": 0.3, "mouthPressRight": 0.3},
    {"mouthPucker": 0.5},
    {"mouthLeft": 0.4, "eyeSquintLeft": 0.4},
)


class Covering(StrEnum):
    """Covering of the scalp."""

    HAIR = "hair"
    CAP = "cap"


@dataclass(frozen=True)
class FrameScript:
    """Script of one frame."""

    pose: HeadPose
    """Pose from the head's frame, the population mean's, to view space."""
    motion_deg: float
    """Rotation of the head during the exposure."""
    expression: Mapping[str, float]
    light: int
    """Index into the subject's lights."""
    held_out: bool


@dataclass(frozen=True)
class SensorScript:
    """Properties of the camera's sensor."""

    read_noise: float
    """Standard deviation in linear units of display white."""
    shot_noise: float
    """Standard deviation of a pixel at display white; grows with the root of the light."""
    blur_px: float
    jpeg_quality: int
    white_balance: float
    """Share of the light's tint that white balance removes."""


@dataclass(frozen=True)
class Subject:
    """A person in front of a webcam."""

    number: int
    skin_seed: int
    attributes: SkinAttributes
    identity: tuple[float, ...]
    """(100,) coefficients of the population's identity basis."""
    covering: Covering
    covering_color: tuple[float, float, float]
    """Linear colour of a cap; hair has the colour of the attributes."""
    cloth_color: tuple[float, float, float]
    hair_style: str
    """One of `fitme.bench.truth.strands.STYLES`, of a subject without a cap."""
    roughness: float
    """Roughness of the skin in Disney's principled BRDF."""
    iris_radius_m: float
    camera: Camera
    sensor: SensorScript
    lights: tuple[LightScript, ...]
    frames: tuple[FrameScript, ...]

    @property
    def name(self) -> str:
        """Name in files and tables."""
        return f"subject_{self.number:02d}"

    @property
    def tone(self) -> str:
        """Class of the skin's tone, one of `CLASS_NAMES`."""
        return CLASS_NAMES[int(ita_class_index(self.attributes.ita_deg))]


@cache
def subject(number: int, frames: int = 16) -> Subject:
    """Subject of a number; its class of skin tone is the number modulo six.

    All draws come from one generator: their order is part of the benchmark's version.
    """
    g = np.random.default_rng([20261122, number])
    tone = number % len(CLASS_NAMES)
    seed, attributes = _skin(number, tone)
    identity = g.standard_normal(IDENTITY_COMPONENTS)
    while (np.abs(identity) > IDENTITY_LIMIT).any():
        identity = np.where(np.abs(identity) > IDENTITY_LIMIT, g.standard_normal(IDENTITY_COMPONENTS), identity)
    # Distance follows from the focal length and the width of the face in the frame.
    focal = float(g.uniform(*FOCAL_RANGE)) * WIDTH
    camera = Camera.centered(focal, WIDTH, HEIGHT)
    distance = focal * FACE_WIDTH_M / float(g.uniform(*FACE_SIDE_RANGE_PX))
    # Some subjects have three lights; their frames cycle through them.
    changing = number % CHANGING_LIGHT_EVERY == CHANGING_LIGHT_EVERY - 1
    first = WEBCAM_KINDS[int(g.integers(len(WEBCAM_KINDS)))]
    others = [kind for kind in WEBCAM_KINDS if kind is not first]
    kinds = [first, *(g.permutation(np.array(others))[:2] if changing else [])]
    return Subject(
        number=number,
        skin_seed=seed,
        attributes=attributes,
        identity=tuple(float(v) for v in identity),
        covering=Covering.CAP if g.random() < 0.3 else Covering.HAIR,
        covering_color=_cloth_color(g),
        cloth_color=_cloth_color(g),
        hair_style=_hair_style(number),
        roughness=float(g.uniform(0.36, 0.52)),
        iris_radius_m=_iris_radius_m(number),
        camera=camera,
        sensor=SensorScript(
            float(g.uniform(0.001, 0.004)), float(g.uniform(0.006, 0.016)), float(g.uniform(0.4, 0.8)),
            int(g.integers(80, 95)), float(g.uniform(0.6, 0.95)),
        ),
        lights=tuple(draw_light(LightKind(kind), g) for kind in kinds),
        frames=tuple(_frame(index, distance, len(kinds), g) for index in range(frames)),
    )  # fmt: skip


def under_lights(person: Subject, kinds: Sequence[LightKind]) -> Subject:
    """A subject whose frames have lights of the given kinds in turn, a frame of the fit and a held-out one each."""
    # A separate generator leaves all other draws of the subject unchanged.
    g = np.random.default_rng([20261129, person.number])
    lights = tuple(draw_light(kind, g) for kind in kinds)
    frames = tuple(replace(frame, light=index // 2 % len(lights)) for index, frame in enumerate(person.frames))
    return replace(person, lights=lights, frames=frames)


def _skin(number: int, tone: int) -> tuple[int, SkinAttributes]:
    """First reserved seed whose skin is of a class, with its attributes, so that hair and eyes match the skin."""
    for seed in range(FIRST_SKIN_SEED + number * SKIN_SEED_STRIDE, FIRST_SKIN_SEED + (number + 1) * SKIN_SEED_STRIDE):
        # The painter draws attributes first from the seed's generator, so they are known without painting.
        attributes = sample_attributes(np.random.default_rng(seed))
        if int(ita_class_index(attributes.ita_deg)) == tone:
            return seed, replace(
                attributes, hair_length=0.0
            )  # long hair has no geometry here and would be painted on ears
    raise ValueError(f"none of {SKIN_SEED_STRIDE} skins is {CLASS_NAMES[tone]}")


def _iris_radius_m(number: int) -> float:
    # A separate generator leaves all other draws of the subject unchanged.
    return float(np.random.default_rng([20261123, number]).normal(IRIS_DIAMETER_M, IRIS_DIAMETER_SPREAD_M)) / 2.0


def _hair_style(number: int) -> str:
    # A separate generator leaves all other draws of the subject unchanged.
    return str(np.random.default_rng([20261128, number]).choice(STYLES))


def _cloth_color(g: np.random.Generator) -> tuple[float, float, float]:
    """Draw a linear albedo of cloth."""
    color = g.uniform(0.02, 0.35) * np.exp(g.normal(0.0, 0.4, 3))
    return float(color[0]), float(color[1]), float(color[2])


def _frame(index: int, distance_m: float, lights: int, g: np.random.Generator) -> FrameScript:
    """Draw a frame: the first is frontal, the first two have no expression, every second one is held out."""
    yaw = _YAW_SHARES[index % len(_YAW_SHARES)] * LARGEST_YAW_DEG + g.normal(0.0, 1.5) * (index > 0)
    pitch = float(np.clip(g.normal(0.0, 0.45), -1.0, 1.0)) * LARGEST_PITCH_DEG * (index > 0)
    roll = float(np.clip(g.normal(0.0, 0.4), -1.0, 1.0)) * LARGEST_ROLL_DEG * (index > 0)
    place = np.array([g.normal(0.0, 0.012), g.normal(0.02, 0.008), -distance_m * g.uniform(0.95, 1.08)])
    rotation = head_rotation(*np.radians([yaw, pitch, roll]).tolist())
    moving = index % MOVING_EVERY == MOVING_EVERY - 1
    chosen = {} if index < 2 else _EXPRESSIONS[int(g.integers(len(_EXPRESSIONS)))]
    expression = {name: value * float(g.uniform(0.7, 1.2)) for name, value in chosen.items()}
    gaze = float(g.normal(0.0, 0.15))
    if gaze > 0.0:
        expression |= {"eyeLookOutLeft": gaze, "eyeLookInRight": gaze}
    else:
        expression |= {"eyeLookInLeft": -gaze, "eyeLookOutRight": -gaze}
    pose = HeadPose(
        axis_angle_from_matrix(torch.from_numpy(rotation)).numpy().astype(np.float32),
        (place + PIVOT_M - rotation @ PIVOT_M).astype(np.float32),
    )
    motion = float(g.uniform(*MOVING_DEG)) * moving
    return FrameScript(pose, motion, expression, (index // 2) % lights, index % 2 == 1)
