"""Measures how the white of the eye looks beside skin of known albedo: `python -m fitme.build.sclera.measure`.

Made heads are photographed under random light with the shadows that lids, brow and nose cast, MediaPipe finds their
eyes, and what `fitme.fit.lighting.sclera` expects of the pictures is compared with what they show. It prints what that
module holds as constants. About two seconds a person.
"""

import argparse
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from scipy.optimize import minimize

from fitme.arrays import Float32Array, Float64Array, Int64Array, UInt8Array
from fitme.build.landmark_errors.synthetic_views import PIVOT_M, head_rotation
from fitme.build.sclera.light_transfer import made_light, sclera_transfer
from fitme.color import bytes_to_linear, linear_to_bytes
from fitme.fit.lighting.albedo_scale import SHEEN, SKIN_SPECULAR, ToneSettings
from fitme.fit.lighting.sclera import (
    LOG_LOSS,
    SCLERA_LIGHT,
    SHADING_SLOPE,
    ScleraObservation,
    log_reflection,
    sclera_color,
    sclera_shading,
)
from fitme.fit.lighting.spherical_harmonics import LIGHT_REGIONS, estimate_light, lit_surface
from fitme.fit.texture.unprojection import TexelObservation, TexelTable, texel_table, unproject
from fitme.geometry import Camera, HeadPose, axis_angle_from_matrix, transform
from fitme.reflectance.generator import ReflectanceGenerator
from fitme.reflectance.maps import ReflectanceMaps
from fitme.reflectance.weights import load_default_generator
from fitme.render.forward.renderer import ForwardRenderer
from fitme.render.light import Light
from fitme.render.materials import head_shininess
from fitme.render.occlusion import visible_share
from fitme.render.rasterizer import select_backend
from fitme.shape.expressions import EXPRESSION_COUNT, expression_index
from fitme.shape.model_file import load_default_model
from fitme.shape.morphable_model import MorphableModel
from fitme.track.landmarks import FaceFinder
from fitme.track.mediapipe_solutions import SolutionsBackend
from fitme.training.contact_sheets import sample_maps

PEOPLE, FIRST_SEED = 130, 7_000
YAWS_DEG = (0.0, 15.0, -30.0, 40.0)
"""Of a person's views, give or take `POSE_SIGMA_DEG`."""
POSE_SIGMA_DEG = 6.0
GAZE_SIGMA, RELAXED_LIDS = 0.15, 0.2
"""Standard deviation of the gaze's activations, and the largest closing of open lids."""
WIDTH, HEIGHT, SUPERSAMPLING = 640, 480, 2
FOCAL_RANGE, DISTANCE_RANGE_M = (0.8, 1.3), (0.42, 0.62)
TINT_LOG_SIGMA = 0.1
METERED_LEVEL, METERING_LOG_SIGMA = 0.19, 0.3
"""Mean linear luminance of the head, and how far exposure misses it."""
NOISE, BLUR_PX, JPEG_QUALITY = 0.004, 0.6, 88
TABLE_RESOLUTION = 128
WELL_SEEN = 0.15
"""Weight of a texel that tells the face's colour."""


@dataclass(frozen=True)
class Surprises:
    """What is seen of people whose truth is known, N views."""

    person: Int64Array
    """(N,) whom each view shows."""
    tone: Float64Array
    """(N, 3) linear albedo of the skin, median of the face."""
    shading: Float64Array
    """(N,) logarithm of the shading expected of the sclera."""
    surplus: Float64Array
    """(N, 3) logarithm of how much brighter it looks than expected, `LOG_LOSS` and `SHADING_SLOPE` left out."""


class Studio:
    """Photographs people without clothes or hair."""

    def __init__(self, model: MorphableModel, generator: ReflectanceGenerator) -> None:
        self._model, self._generator = model, generator
        self._backend = select_backend("cpu")
        self._table: TexelTable = texel_table(model, TABLE_RESOLUTION)
        self._skin = self._table.within(LIGHT_REGIONS)

    def surprises(self, first: int, people: int) -> Surprises:
        """Of the people with these numbers, without views in which nothing is seen of the eyes."""
        found: list[tuple[int, Float64Array, float, Float64Array]] = []
        with closing(FaceFinder(SolutionsBackend())) as finder:
            for number in range(first, first + people):
                found += [(number, *view) for view in self._person(number, finder)]
        person, tone, shading, surplus = zip(*found, strict=True)
        return Surprises(np.array(person, np.int64), np.stack(tone), np.array(shading), np.stack(surplus))

    def _person(self, number: int, finder: FaceFinder) -> list[tuple[Float64Array, float, Float64Array]]:
        """Tone, shading and surplus as in `Surprises`, of every view in which something is seen of the eyes."""
        g = np.random.default_rng([number, 3])
        identity = torch.from_numpy(g.standard_normal(self._model.identity_count).astype(np.float32))
        maps = sample_maps(self._generator, 1, int(g.integers(2**31)))
        skin: Float64Array = np.median(self._at_texels(maps)[self._skin], 0).astype(np.float64)
        share = visible_share(self._model.neutral(identity[None])[0], self._model.triangles)
        # Light that meets the head again is reflected by skin: of what is hidden, as much as that shines back
        # (Jimenez et al., "Practical real-time strategies for accurate indirect occlusion", 2016).
        ambient = share / (1.0 - float(skin.mean()) * (1.0 - share))
        size = (HEIGHT * SUPERSAMPLING, WIDTH * SUPERSAMPLING)
        shininess = head_shininess(self._model)
        renderers = (
            ForwardRenderer(self._model, size, shininess=shininess, occlusion=ambient, threads=1),
            ForwardRenderer(self._model, size, shininess=shininess, shadows=True, threads=1),
        )
        for renderer in renderers:
            renderer.set_maps(maps)
        lights, focal, seen = _lights(g), float(g.uniform(*FOCAL_RANGE)) * WIDTH, []
        for yaw in YAWS_DEG:
            expression = _expression(g)
            with torch.no_grad():
                vertices = self._model.vertices(identity[None], torch.from_numpy(expression)[None])[0]
            pose = _pose(g, yaw)
            camera = Camera.centered(focal * SUPERSAMPLING, WIDTH * SUPERSAMPLING, HEIGHT * SUPERSAMPLING)
            image = _photograph(
                [r.render(vertices.numpy(), pose, camera, light) for r, light in zip(renderers, lights, strict=True)], g
            )
            faces = finder.detect(image)
            everywhere = np.ones(image.shape[:2], np.float32)
            white = sclera_color(image, faces[0].landmarks, everywhere) if faces else None
            if white is None:
                continue
            posed = transform(torch.from_numpy(pose.rotation), torch.from_numpy(pose.translation), vertices)
            view = unproject(
                self._table, self._model, posed, Camera.centered(focal, WIDTH, HEIGHT), image, everywhere, self._backend
            )
            tracked_frame = self._tracked_frame(white, view)
            contrast = np.log(tracked_frame.white / tracked_frame.skin) + np.log(skin + SHEEN * SKIN_SPECULAR)
            shading = float(np.log(sclera_shading(tracked_frame.light, skin[None])[0]))
            expected = log_reflection(tracked_frame.light, skin[None])[0, 0] - LOG_LOSS - SHADING_SLOPE * shading
            seen.append((skin, shading, contrast - expected))
        return seen

    def _tracked_frame(self, white: Float32Array, view: TexelObservation) -> ScleraObservation:
        """The light is found on skin of even colour, as bright as if exposure were the expected one."""
        index = np.flatnonzero(self._skin & (view.weight > WELL_SEEN))
        face = np.median(view.color[index], 0)
        specular = np.full((len(index), 1), SKIN_SPECULAR, np.float32)
        surface = lit_surface(view.normals[index], view.toward_viewer[index], specular, self._table.occlusion[index])
        albedo = np.tile(face / ToneSettings().mean_shading, (len(index), 1)).astype(np.float32)
        light = estimate_light(surface, view.color[index], albedo, view.weight[index], SCLERA_LIGHT).mean(1)
        return ScleraObservation(white, face, light / float(np.median(surface.diffuse @ light)))

    def _at_texels(self, maps: ReflectanceMaps) -> Float32Array:
        side = (TABLE_RESOLUTION, TABLE_RESOLUTION)
        shrunk = cv2.resize(maps.diffuse[0].numpy(), side, interpolation=cv2.INTER_AREA)
        return self._table.from_map(np.asarray(shrunk, np.float32))


def trend(shading: Float64Array, surplus: Float64Array) -> tuple[float, float]:
    """`SHADING_SLOPE` and `UNEVENNESS` that make surpluses (N,) by the logarithms of shading (N,) likeliest."""

    def unlikeliness(guess: Float64Array) -> float:
        mean, slope, log_sigma, unevenness = guess
        deviation = (surplus - mean - slope * shading) / np.exp(log_sigma)
        growth = 1.0 + (unevenness * shading) ** 2
        return float((log_sigma + 0.5 * np.log(growth) + 0.5 * deviation**2 / growth).sum())

    found = minimize(unlikeliness, [0.0, 0.0, -1.5, 1.0], method="Nelder-Mead", options={"maxiter": 5000})
    return float(found.x[1]), abs(float(found.x[3]))


def spread(values: Float64Array, person: Int64Array) -> tuple[Float64Array, Float64Array]:
    """Covariances (3, 3) of values (N, 3): between people, and between the views of one."""
    rows = [values[person == number] for number in np.unique(person)]
    within = sum((row - row.mean(0)).T @ (row - row.mean(0)) for row in rows) / (len(values) - len(rows))
    means = np.stack([row.mean(0) for row in rows])
    between = np.cov(means.T) - np.mean([1.0 / len(row) for row in rows]) * within
    return np.asarray(between), np.asarray(within)


def _lights(g: np.random.Generator) -> tuple[Light, Light]:
    """Light from everywhere, and that of lamps, which casts shadows."""
    light = made_light(g)
    tint = torch.from_numpy(np.exp(g.normal(0.0, TINT_LOG_SIGMA, 3)).astype(np.float32))
    ambient, levels = (
        torch.from_numpy(v.astype(np.float32))[None, :, None] * tint for v in (light.ambient, light.levels)
    )
    nothing = torch.zeros(1, 0, 3)
    directions = torch.from_numpy(light.directions.astype(np.float32))[None]
    return Light(ambient, nothing, nothing), Light(torch.zeros_like(ambient), directions, levels)


def _expression(g: np.random.Generator) -> Float32Array:
    expression = np.zeros(EXPRESSION_COUNT, np.float32)
    across = float(g.normal(0.0, GAZE_SIGMA))
    for name in ("OutLeft", "InRight") if across > 0.0 else ("InLeft", "OutRight"):
        expression[expression_index(f"eyeLook{name}")] = abs(across)
    closing_lids = g.uniform(0.0, RELAXED_LIDS)
    for side in ("Left", "Right"):
        expression[expression_index(f"eyeBlink{side}")] = closing_lids
    return expression


def _pose(g: np.random.Generator, yaw_deg: float) -> HeadPose:
    yaw, pitch, roll = np.array([yaw_deg, 0.0, 0.0]) + POSE_SIGMA_DEG * g.standard_normal(3)
    rotation = head_rotation(float(yaw), float(pitch), float(roll))
    place = np.array([0.0, 0.0, -g.uniform(*DISTANCE_RANGE_M)]) - rotation @ PIVOT_M
    axis_angle = axis_angle_from_matrix(torch.from_numpy(rotation)).float().numpy()
    return HeadPose(axis_angle, place.astype(np.float32))


def _photograph(parts: Sequence[UInt8Array], g: np.random.Generator) -> UInt8Array:
    """What a webcam makes of the sum of pictures, drawn at `SUPERSAMPLING` over black."""
    fine = np.sum([bytes_to_linear(part) for part in parts], 0)
    linear = fine.reshape(HEIGHT, SUPERSAMPLING, WIDTH, SUPERSAMPLING, 3).mean((1, 3))
    level = float(linear[linear.max(-1) > 0.0].mean())
    exposed = linear * (METERED_LEVEL * float(np.exp(METERING_LOG_SIGMA * g.standard_normal())) / level)
    noisy = cv2.GaussianBlur(exposed, (0, 0), BLUR_PX) + NOISE * g.standard_normal(linear.shape)
    encoded = linear_to_bytes(np.clip(noisy, 0.0, 1.0).astype(np.float32))
    file = cv2.imencode(".jpg", encoded[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])[1]
    return np.ascontiguousarray(cv2.imdecode(file, cv2.IMREAD_COLOR)[..., ::-1], np.uint8)


def main() -> None:
    """Entry point of ``python -m fitme.build.sclera.measure``."""
    parser = argparse.ArgumentParser(prog="python -m fitme.build.sclera.measure", description=__doc__)
    parser.add_argument("--people", type=int, default=PEOPLE)
    parser.add_argument("--first", type=int, default=FIRST_SEED, help="number of the first")
    given = parser.parse_args()
    model = load_default_model()
    transfer, openness = sclera_transfer(model)
    seen = Studio(model, load_default_generator()).surprises(given.first, given.people)
    slope, unevenness = trend(seen.shading, seen.surplus.mean(1))
    rest = seen.surplus - slope * seen.shading[:, None]
    share = 1.0 / (1.0 + (unevenness * seen.shading[:, None]) ** 2)
    mean = (share * rest).sum(0) / share.sum()
    person, view = spread(np.sqrt(share) * (rest - mean), seen.person)
    by_tone = np.polyfit(np.log(seen.tone[:, 1]), rest[:, 1], 1)[0]
    with np.printoptions(precision=4, suppress=True):
        print(f"TRANSFER\n{transfer.round(3)}\nOPENNESS {openness.round(2)}")
        print(
            f"{len(seen.person)} views of {len(np.unique(seen.person))} people; by the logarithm of tone {by_tone:.3f}"
        )
        print(f"SHADING_SLOPE {slope:.2f} UNEVENNESS {unevenness:.1f}\nLOG_LOSS {mean}")
        print(f"PEOPLE_COVARIANCE\n{person}\nVIEW_COVARIANCE\n{view}")


if __name__ == "__main__":
    main()
