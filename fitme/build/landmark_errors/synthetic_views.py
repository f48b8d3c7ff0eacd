"""Synthetic views for the measurement of landmark errors: renders of heads with known landmarks, and MediaPipe's
detections on them. Identities are samples of the model's prior, reflectance of the generator; light, expression, camera
and pose are random.
"""

from contextlib import closing
from dataclasses import dataclass, fields
from pathlib import Path

import cv2
import numpy as np
import torch

from fitme.arrays import Float32Array, Float64Array, Int64Array, UInt8Array
from fitme.atomic_file import atomic_file
from fitme.color import bytes_to_linear, linear_to_bytes
from fitme.geometry import Camera, HeadPose, axis_angle_from_matrix, head_rotation
from fitme.reflectance.generator import ReflectanceGenerator
from fitme.render.forward.renderer import ForwardRenderer
from fitme.render.light import Light
from fitme.render.materials import head_shininess
from fitme.render.occlusion import head_occlusion
from fitme.render.supersampling import SUPERSAMPLING, averaged_samples
from fitme.shape.expressions import EXPRESSION_COUNT, expression_index
from fitme.shape.morphable_model import MorphableModel
from fitme.synthetic.lights import room_light
from fitme.track.factory import landmark_backend
from fitme.track.landmarks import FaceFinder
from fitme.training.contact_sheets import sample_maps

WIDTH, HEIGHT = 640, 480
VIEWS_PER_PERSON = 4
FOCAL_RANGE = (0.8, 1.4)
"""Focal length over the longer side."""
FACE_SIDE_RANGE_PX = (130.0, 230.0)
"""Width in the image of a face of `FACE_WIDTH_M`."""
FACE_WIDTH_M = 0.14
FRONTAL_YAW_DEG = 12.0
"""Largest yaw of the first view of a person."""
LARGEST_YAW_DEG, LARGEST_PITCH_DEG, LARGEST_ROLL_DEG = 47.0, 20.0, 10.0
PIVOT_M = np.array([0.0, -0.025, -0.07])
"""Point of the model frame about which heads turn."""
NEUTRAL_SHARE = 0.3
"""Share of the views without an expression but the gaze."""
GAZE_SIGMA = 0.15
METERED_LEVEL, METERING_SPREAD = 0.19, 0.25
"""Mean linear colour of the head at the expected exposure, and standard deviation of the logarithm of the exposure."""
READ_NOISE = (0.001, 0.006)
"""Range of the noise's standard deviation, linear units of display white."""
JPEG_QUALITY = (75, 95)

EXPRESSIONS: tuple[tuple[str, ...], ...] = (
    ("mouthSmileLeft", "mouthSmileRight"),
    ("mouthSmileLeft", "mouthSmileRight", "cheekSquintLeft", "cheekSquintRight"),
    ("mouthFrownLeft", "mouthFrownRight"),
    ("jawOpen",),
    ("mouthFunnel",),
    ("mouthPucker",),
    ("mouthPressLeft", "mouthPressRight"),
    ("mouthStretchLeft", "mouthStretchRight"),
    ("mouthLeft",),
    ("mouthRight",),
    ("browInnerUp",),
    ("browInnerUp", "browOuterUpLeft", "browOuterUpRight"),
    ("browDownLeft", "browDownRight"),
    ("eyeSquintLeft", "eyeSquintRight"),
    ("eyeWideLeft", "eyeWideRight"),
    ("eyeBlinkLeft", "eyeBlinkRight"),
    ("noseSneerLeft", "noseSneerRight"),
)
"""Groups of coefficients that are active together; a view has up to two groups."""
STRENGTH_RANGE = (0.1, 0.7)


@dataclass(frozen=True, eq=False)
class LandmarkViews:
    """N views of I people: ground truth and detected landmarks."""

    identity: Float32Array
    """(I, K) coefficients."""
    person: Int64Array
    """(N,) row of `identity` of each view."""
    expression: Float32Array
    """(N, 52)."""
    rotation: Float64Array
    """(N, 3, 3) model to view."""
    translation: Float64Array
    """(N, 3) metres."""
    focal_px: Float64Array
    """(N,) of images of `WIDTH` by `HEIGHT`, whose centre is the principal point."""
    pixels: Float32Array
    """(N, 478, 2) pixels: MediaPipe's landmarks."""

    @property
    def count(self) -> int:
        """N."""
        return len(self.person)

    def camera(self, view: int) -> Camera:
        """Camera of a view."""
        return Camera.centered(float(self.focal_px[view]), WIDTH, HEIGHT)

    def save(self, path: Path) -> None:
        """As an .npz that appears under its name when it is complete."""
        with atomic_file(path) as partial, partial.open("wb") as opened:
            np.savez_compressed(opened, **{field.name: getattr(self, field.name) for field in fields(self)})

    @staticmethod
    def load(path: Path) -> "LandmarkViews":
        """Views from a file that `save` wrote."""
        with np.load(path) as file:
            return LandmarkViews(**{field.name: file[field.name] for field in fields(LandmarkViews)})


class LandmarkRenderer:
    """Renders synthetic heads as a webcam shows them, and detects their landmarks."""

    def __init__(self, model: MorphableModel, generator: ReflectanceGenerator) -> None:
        self._model = model
        self._generator = generator
        self._renderer = ForwardRenderer(
            model,
            (HEIGHT * SUPERSAMPLING, WIDTH * SUPERSAMPLING),
            shininess=head_shininess(model),
            occlusion=head_occlusion(model),
            threads=1,
        )

    def render(self, first: int, people: int) -> LandmarkViews:
        """`VIEWS_PER_PERSON` views of each of `people` people from number `first`, without views in which no face is
        detected."""
        identities = np.zeros((people, self._model.identity_count), np.float32)
        views: list[tuple[int, Float32Array, Float64Array, Float64Array, float, Float32Array]] = []
        with closing(FaceFinder(landmark_backend())) as finder:
            for row in range(people):
                g = np.random.default_rng([first + row, 478])
                identities[row] = g.standard_normal(self._model.identity_count)
                self._renderer.set_maps(sample_maps(self._generator, 1, int(g.integers(2**31))))
                focal_px = float(g.uniform(*FOCAL_RANGE)) * WIDTH
                for view in range(VIEWS_PER_PERSON):
                    expression = _expression(g)
                    rotation, translation = _pose(g, focal_px, frontal=view == 0)
                    image = self.image(identities[row], expression, rotation, translation, focal_px, g)
                    faces = finder.detect(image)
                    if faces:
                        views.append((row, expression, rotation, translation, focal_px, faces[0].landmarks))
        person, expression_rows, rotations, translations, focals, pixels = zip(*views, strict=True)
        return LandmarkViews(
            identities,
            np.array(person, np.int64),
            np.stack(expression_rows),
            np.stack(rotations),
            np.stack(translations),
            np.array(focals),
            np.stack(pixels),
        )

    def image(
        self,
        identity: Float32Array,  # (K,)
        expression: Float32Array,  # (52,)
        rotation: Float64Array,  # (3, 3)
        translation: Float64Array,  # (3,)
        focal_px: float,
        g: np.random.Generator,
    ) -> UInt8Array:
        """(HEIGHT, WIDTH, 3) sRGB image of a head with the current maps, under a random light and camera."""
        with torch.no_grad():
            vertices = self._model.vertices(torch.from_numpy(identity)[None], torch.from_numpy(expression)[None])[0]
        camera = Camera.centered(focal_px * SUPERSAMPLING, WIDTH * SUPERSAMPLING, HEIGHT * SUPERSAMPLING)
        axis_angle = axis_angle_from_matrix(torch.from_numpy(rotation)).float().numpy()
        pose = HeadPose(axis_angle, translation.astype(np.float32))
        light = room_light(g)
        background = (0.4 * g.random(3) + 0.02).astype(np.float32)
        # Automatic exposure: a first render meters the head, and scales the light.
        trial, mask = self._renderer.render_with_mask(vertices.numpy(), pose, camera, light, background)
        level = float(bytes_to_linear(trial[mask > 0][::16]).mean())
        gain = METERED_LEVEL * float(np.exp(METERING_SPREAD * g.standard_normal())) / max(level, 1e-3)
        lit = Light(light.sh * gain, light.directions, light.colors * gain)
        fine = bytes_to_linear(self._renderer.render(vertices.numpy(), pose, camera, lit, background))
        linear = cv2.GaussianBlur(averaged_samples(fine), (0, 0), float(g.uniform(0.3, 0.9)))
        noisy = linear + g.uniform(*READ_NOISE) * g.standard_normal(linear.shape)
        encoded = linear_to_bytes(np.clip(noisy, 0.0, 1.0).astype(np.float32))
        quality = int(g.integers(*JPEG_QUALITY))
        file = cv2.imencode(".jpg", encoded[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
        return np.ascontiguousarray(np.asarray(cv2.imdecode(file, cv2.IMREAD_COLOR))[..., ::-1], np.uint8)


def _expression(g: np.random.Generator) -> Float32Array:
    expression = np.zeros(EXPRESSION_COUNT, np.float32)
    if g.random() > NEUTRAL_SHARE:
        for group in g.permutation(len(EXPRESSIONS))[: g.integers(1, 3)]:
            strength = g.uniform(*STRENGTH_RANGE)
            for name in EXPRESSIONS[int(group)]:
                expression[expression_index(name)] = strength * g.uniform(0.85, 1.15)
    across, up = g.normal(0.0, GAZE_SIGMA, 2)
    sides = ("OutLeft", "InRight") if across > 0.0 else ("InLeft", "OutRight")
    heights = ("UpLeft", "UpRight") if up > 0.0 else ("DownLeft", "DownRight")
    for name in sides:
        expression[expression_index(f"eyeLook{name}")] = abs(across)
    for name in heights:
        expression[expression_index(f"eyeLook{name}")] = abs(up)
    return expression


def _pose(g: np.random.Generator, focal_px: float, *, frontal: bool) -> tuple[Float64Array, Float64Array]:
    limit = FRONTAL_YAW_DEG if frontal else LARGEST_YAW_DEG
    yaw, pitch = g.uniform(-limit, limit), float(np.clip(g.normal(0.0, 0.45), -1.0, 1.0)) * LARGEST_PITCH_DEG
    roll = float(np.clip(g.normal(0.0, 0.4), -1.0, 1.0)) * LARGEST_ROLL_DEG
    rotation = head_rotation(*np.radians([yaw, pitch, roll]).tolist())
    distance = focal_px * FACE_WIDTH_M / g.uniform(*FACE_SIDE_RANGE_PX)
    place = np.array([g.normal(0.0, 0.03), g.normal(0.0, 0.02), -distance])
    return rotation, place - rotation @ PIVOT_M
