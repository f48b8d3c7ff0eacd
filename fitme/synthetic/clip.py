"""Clips of a synthetic head as a webcam would record it, with ground truth, for demos, tests and documentation.

``python -m fitme.synthetic.clip --out FILE [--seconds N] [--seed S]`` writes one; the ending of FILE selects the
format: ``.webm`` (VP9) and ``.mp4`` for players, ``.mjpeg`` and ``.y4m`` for Chromium's
``--use-file-for-fake-video-capture``.
"""

import argparse
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import torch
from scipy.interpolate import PchipInterpolator

from fitme.arrays import Float32Array, UInt8Array
from fitme.color import bytes_to_linear, linear_to_bytes
from fitme.errors import InputError
from fitme.export.video import write_mp4
from fitme.geometry import Camera, HeadPose, axis_angle_from_matrix, head_rotation, rotation_matrix
from fitme.render.forward.renderer import ForwardRenderer
from fitme.render.light import Light
from fitme.render.occlusion import head_occlusion
from fitme.render.reflection import SH_BAND_1
from fitme.render.supersampling import SUPERSAMPLING, averaged_samples
from fitme.shape.expressions import EXPRESSION_COUNT, EXPRESSION_NAMES
from fitme.shape.model_file import load_default_model
from fitme.shape.morphable_model import MorphableModel
from fitme.shape.regions import Region
from fitme.skin.attributes import SkinAttributes, sample_attributes
from fitme.skin.painter import synthesize_skin
from fitme.synthetic.clothes import NECK_PIVOT_M, add_clothes, maps_with_cloth

IDENTITY_SPREAD = 0.8
"""Standard deviation of the identity's coefficients: below 1, nearer to the mean than people are."""
MAP_RESOLUTION = 512
FOCAL_OVER_WIDTH = 0.95
"""Focal length over the frame's width."""
DISTANCE_M = 0.43
"""Distance from the camera to the eyes."""
HEIGHT_M = 0.022
"""Height of the eyes above the camera's axis."""
CAMERA_NOISE = 1.3
"""Standard deviation of the sensor's noise in 8-bit steps."""
CAMERA_BLUR_PX = 0.5
TEETH_SCALE, TEETH_BACK_M = (0.88, 1.0, 0.9), 0.002
"""Scale along x, y, z and displacement backwards of the teeth, which would penetrate narrow lips."""
LID_BASELINE = 0.14
"""Blink coefficient between blinks."""
SHOULDER_TURN_SHARE = 0.12
"""Share of the head's rotation that the shoulders follow."""

_DIRECTIONS_DEG = np.array(
    [
        [0.00, 0, 0], [0.07, 0, 0], [0.18, 41, 1], [0.23, 41, 0], [0.30, 17, -9], [0.36, 0, 0], [0.44, 0, 0],
        [0.55, -41, 1], [0.60, -41, 2], [0.66, -17, 10], [0.72, 0, 0], [0.79, 0, 0],
        [0.85, 0, 16], [0.87, 0, 16], [0.93, 0, -15], [1.00, 0, 0],
    ]
)  # fmt: skip
"""Knots of the head's motion: share of the clip, yaw, pitch. First and last pose agree, so that the clip loops."""
_EXPRESSIONS: dict[str, tuple[tuple[float, float, float], ...]] = {
    "smile": ((0.40, 0.045, 0.75),),
    "jaw": ((0.755, 0.035, 0.45),),
    "brows": ((0.86, 0.05, 0.5),),
    "blink": ((0.05, 0.008, 1.0), (0.25, 0.008, 1.0), (0.47, 0.008, 1.0), (0.62, 0.008, 1.0), (0.90, 0.009, 1.0)),
}
"""Pulses of each action: centre and half width as shares of the clip, peak activation."""
_ACTIONS = {
    "smile": {"mouthSmileLeft": 1.0, "mouthSmileRight": 0.95, "cheekSquintLeft": 0.4, "cheekSquintRight": 0.4},
    "jaw": {"jawOpen": 1.0},
    "brows": {"browInnerUp": 1.0, "browOuterUpLeft": 0.6, "browOuterUpRight": 0.6},
    "blink": {"eyeBlinkLeft": 1.0, "eyeBlinkRight": 1.0},
}
_EYE_OPENNESS = 0.62
"""Occlusion factor of the eyeballs between the lids."""
_KEY_DIRECTION, _KEY_COLOR = (0.55, 0.5, 0.67), (1.0, 0.93, 0.84)
_WINDOW_DIRECTION, _WINDOW_COLOR = (-0.85, 0.2, 0.1), (0.2, 0.26, 0.34)
_ROOM_LEVEL, _ROOM_FROM_ABOVE = 0.45, 0.2
_WALL_ABOVE, _WALL_BELOW = (0.235, 0.26, 0.27), (0.10, 0.115, 0.13)
"""Linear colours of the wall behind the head."""
_CLOTHES = ((0.022, 0.04, 0.075), (0.09, 0.02, 0.022), (0.03, 0.055, 0.04), (0.16, 0.15, 0.13), (0.018, 0.018, 0.02))


@dataclass(frozen=True)
class ClipSettings:
    """Person, duration and camera of a clip."""

    seed: int = 7
    """Seed of identity, skin, hair and clothes."""
    seconds: float = 12.0
    rate_hz: int = 30
    width: int = 640
    height: int = 480
    noise: float = CAMERA_NOISE
    """Standard deviation of the sensor's noise in 8-bit steps."""


@dataclass(frozen=True)
class SyntheticFrame:
    """Frame with ground truth."""

    image: UInt8Array
    """(H, W, 3) sRGB."""
    pose: HeadPose
    """Model to view."""
    expression: Float32Array
    """(52,) activations in the order of `EXPRESSION_NAMES`."""
    camera: Camera


def clip_frames(settings: ClipSettings, model: MorphableModel | None = None) -> Iterator[SyntheticFrame]:
    """Render the frames of a clip, one at a time."""
    # The person: shape, clothes and skin from the seed; then a renderer at `SUPERSAMPLING` times the size.
    model = load_default_model() if model is None else model
    generator = np.random.default_rng(settings.seed)
    identity = clip_identity(settings.seed, model)
    mesh = add_clothes(model, model.neutral(identity[None])[0].numpy())
    skin = synthesize_skin(settings.seed, MAP_RESOLUTION, attributes=_with_hair_and_brows(sample_attributes(generator)))
    width, height = settings.width * SUPERSAMPLING, settings.height * SUPERSAMPLING
    renderer = ForwardRenderer(mesh, (height, width), occlusion=_occlusion(model, len(mesh.body)))
    renderer.set_maps(maps_with_cloth(skin.maps(), _CLOTHES[settings.seed % len(_CLOTHES)]))
    fine_camera = Camera.centered(FOCAL_OVER_WIDTH * width, width, height)
    camera = Camera.centered(FOCAL_OVER_WIDTH * settings.width, settings.width, settings.height)
    light, wall = _room_light(), _wall(settings)
    teeth = model.vertex_mask(Region.TEETH).numpy()
    count = round(settings.seconds * settings.rate_hz)
    for index in range(count):
        # Pose and expression from the position in the clip; shoulders follow the head by a share.
        share = index / count
        expression = expression_at(share)
        with torch.no_grad():
            head = model.vertices(identity[None], torch.from_numpy(expression)[None])[0].numpy()
        head[teeth] = _inset_teeth(head[teeth])
        pose = pose_at(share)
        yaw, pitch, _ = pose.yaw_pitch_roll()
        body = head_rotation(SHOULDER_TURN_SHARE * yaw, SHOULDER_TURN_SHARE * pitch).astype(np.float32)
        turn = rotation_matrix(torch.from_numpy(pose.rotation)).numpy()
        render, mask = renderer.render_with_mask(mesh.vertices(head, turn, body), pose, fine_camera, light)
        image = _simulate_camera(render, mask, wall, settings, generator)
        yield SyntheticFrame(image, pose, expression, camera)


def clip_identity(seed: int, model: MorphableModel) -> torch.Tensor:
    """Identity coefficients (K,) of a seed's head."""
    coefficients = np.random.default_rng([seed, 1]).standard_normal(model.identity_count) * IDENTITY_SPREAD
    return torch.from_numpy(coefficients.astype(np.float32))


def pose_at(share: float) -> HeadPose:
    """Pose of the head, model to view, at a share of the clip in [0, 1]."""
    yaw, pitch = np.radians(PchipInterpolator(_DIRECTIONS_DEG[:, 0], _DIRECTIONS_DEG[:, 1:])(share)).tolist()
    phase = 2.0 * math.pi * share
    matrix = torch.from_numpy(head_rotation(yaw, pitch, math.radians(2.0) * math.sin(2.0 * phase)))
    pivot = torch.tensor(NECK_PIVOT_M, dtype=torch.float64)
    sway = [0.006 * math.sin(phase), HEIGHT_M, -DISTANCE_M + 0.01 * math.sin(3.0 * phase)]
    place = torch.tensor(sway, dtype=torch.float64) + pivot
    rotation = axis_angle_from_matrix(matrix).numpy().astype(np.float32)
    return HeadPose(rotation, (place - matrix @ pivot).numpy().astype(np.float32))


def expression_at(share: float) -> Float32Array:
    """Activations (52,) at a share of the clip in [0, 1]."""
    expression = np.zeros(EXPRESSION_COUNT, np.float32)
    for name in _ACTIONS["blink"]:
        expression[EXPRESSION_NAMES.index(name)] = LID_BASELINE
    for action, bumps in _EXPRESSIONS.items():
        amount = max(height * _bump((share - middle) / width) for middle, width, height in bumps)
        for name, weight in _ACTIONS[action].items():
            index = EXPRESSION_NAMES.index(name)
            expression[index] = max(expression[index], weight * amount)
    return expression


def write_clip(frames: Iterable[SyntheticFrame], rate_hz: int, path: Path) -> None:
    """Write a clip in the format of the path's ending.

    :raises InputError: the ending is none of .webm, .mp4, .mjpeg, .y4m.
    """
    images = (frame.image for frame in frames)
    ending = path.suffix.lower()
    if ending == ".webm":
        _write_av(images, rate_hz, path, "webm", "libvpx-vp9", {"crf": "18", "b": "0", "cpu-used": "3", "g": "120"})
    elif ending == ".y4m":
        _write_av(images, rate_hz, path, "yuv4mpegpipe", "rawvideo", {})
    elif ending == ".mp4":
        write_mp4(images, rate_hz, path)
    elif ending == ".mjpeg":
        with path.open("wb") as file:
            for image in images:
                bgr = cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
                file.write(cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, 92])[1].tobytes())
    else:
        raise InputError(f"{path.name}: clips are written as .webm, .mp4, .mjpeg or .y4m; choose one of these endings")


def _write_av(
    images: Iterable[UInt8Array], rate_hz: int, path: Path, container_name: str, codec: str, options: dict[str, str]
) -> None:
    """Encode images (H, W, 3), sRGB, with one of FFmpeg's codecs and containers, as 4:2:0."""
    with av.open(str(path.absolute()), "w", format=container_name) as container:
        stream = container.add_stream(codec, rate=rate_hz, options=options)
        assert isinstance(stream, av.VideoStream)
        stream.pix_fmt = "yuv420p"
        for index, image in enumerate(images):
            if index == 0:
                stream.height, stream.width = image.shape[:2]
            frame = av.VideoFrame.from_ndarray(image, format="rgb24").reformat(format="yuv420p")
            frame.pts, frame.time_base = index, Fraction(1, rate_hz)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def _with_hair_and_brows(attributes: SkinAttributes) -> SkinAttributes:
    """Attributes changed to dense hair and brows, without beard and lipstick."""
    return replace(
        attributes,
        hair_density=1.0,
        temple_recession=min(attributes.temple_recession, 0.4),
        brow_density=max(attributes.brow_density, 0.75),
        beard_density=(0.0, 0.0, 0.0, 0.0),
        lipstick=0.0,
    )


def _inset_teeth(teeth: Float32Array) -> Float32Array:
    """Teeth (N, 3), metres, scaled and moved back: random heads may have lips too narrow for the mean's teeth."""
    middle = teeth.mean(0)
    return np.asarray(
        middle + (teeth - middle) * np.array(TEETH_SCALE) - np.array([0.0, 0.0, TEETH_BACK_M]), np.float32
    )


def _occlusion(model: MorphableModel, cloth_count: int) -> torch.Tensor:
    """Occlusion factors (V + cloth_count,): `head_occlusion` with brighter eyes, and 1 on the clothes."""
    factors = head_occlusion(model).clone()
    factors[model.vertex_mask(Region.EYES)] = _EYE_OPENNESS
    return torch.cat([factors, torch.ones(cloth_count)])


def _bump(x: float) -> float:
    """Pulse on [-1, 1]: raised cosine with a short plateau at 1."""
    return 0.0 if abs(x) >= 1.0 else min(1.0, 1.25 * math.cos(0.5 * math.pi * x) ** 2)


def _room_light() -> Light:
    room = Light.ambient(_ROOM_LEVEL).sh.clone()
    room[:, 1] += _ROOM_FROM_ABOVE / SH_BAND_1  # Y1-1
    directions = torch.nn.functional.normalize(torch.tensor([[_KEY_DIRECTION, _WINDOW_DIRECTION]]), dim=-1)
    return Light(room, directions, torch.tensor([[_KEY_COLOR, _WINDOW_COLOR]]))


def _wall(settings: ClipSettings) -> Float32Array:
    """Linear image (H, W, 3) of a plain wall, brighter at the top and in the middle."""
    down = np.linspace(0.0, 1.0, settings.height, dtype=np.float32)[:, None, None]
    aside = np.linspace(-1.0, 1.0, settings.width, dtype=np.float32)[None, :, None]
    wall = np.array(_WALL_ABOVE, np.float32) * (1.0 - down) + np.array(_WALL_BELOW, np.float32) * down
    return np.asarray(wall * (1.0 - 0.25 * aside**2), np.float32)


def _simulate_camera(
    render: UInt8Array, mask: UInt8Array, wall: Float32Array, settings: ClipSettings, generator: np.random.Generator
) -> UInt8Array:
    """Frame (H, W, 3), sRGB, of a render over black, at `SUPERSAMPLING` times the size, in front of the wall."""
    # Composite and blur in linear light, as optics do; noise is added to the encoded image.
    head = averaged_samples(bytes_to_linear(render))
    coverage = averaged_samples(mask.astype(np.float32))[..., None] / 255.0
    scene = np.asarray(cv2.GaussianBlur(head + (1.0 - coverage) * wall, (0, 0), CAMERA_BLUR_PX), np.float32)
    noise = generator.standard_normal(scene.shape, np.float32) * settings.noise
    return np.clip(linear_to_bytes(scene).astype(np.float32) + noise, 0.0, 255.0).round().astype(np.uint8)


def main() -> None:
    """Entry point of ``python -m fitme.synthetic.clip``."""
    parser = argparse.ArgumentParser(prog="python -m fitme.synthetic.clip", description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="file to write: .webm, .mp4, .mjpeg or .y4m")
    parser.add_argument("--seconds", type=float, default=ClipSettings.seconds)
    parser.add_argument("--seed", type=int, default=ClipSettings.seed, help="seed of the person")
    arguments = parser.parse_args()
    settings = ClipSettings(seed=arguments.seed, seconds=arguments.seconds)
    write_clip(clip_frames(settings), settings.rate_hz, arguments.out)


if __name__ == "__main__":
    main()
