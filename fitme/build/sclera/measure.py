"""Measures the sclera's colour beside skin of known albedo: `python -m fitme.build.sclera.measure`.

Synthetic heads are rendered under random light with the shadows that lids, brow and nose cast, MediaPipe finds their
eyes, and the colours of the images are compared with the prediction of `fitme.fit.lighting.sclera`. Reads the default
model and generator; writes `fitme/fit/lighting/sclera.json`. Two seconds a person, five minutes in all.
"""

import argparse
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from scipy.optimize import minimize

from fitme.arrays import Float32Array, Float64Array, Int64Array, UInt8Array
from fitme.build.landmark_errors.synthetic_views import PIVOT_M
from fitme.build.sclera.light_transfer import sclera_transfer
from fitme.color import bytes_to_linear, linear_to_bytes
from fitme.fit.lighting.albedo_scale import SKIN_SPECULAR, SPECULAR_REFLECTION, AlbedoScaleSettings
from fitme.fit.lighting.sclera import (
    SCLERA_LIGHT,
    SCLERA_STATISTICS_PATH,
    ScleraObservation,
    ScleraStatistics,
    load_sclera_statistics,
    log_reflection,
    sclera_color,
    sclera_shading,
)
from fitme.fit.lighting.spherical_harmonics import LIGHT_REGIONS, estimate_illumination, lit_surface
from fitme.fit.texture.unprojection import TexelObservation, TexelTable, texel_table, unproject
from fitme.geometry import Camera, HeadPose, axis_angle_from_matrix, head_rotation, transform
from fitme.reflectance.generator import ReflectanceGenerator
from fitme.reflectance.maps import ReflectanceMaps
from fitme.reflectance.packaged_models import packaged_generator
from fitme.render.forward.renderer import ForwardRenderer
from fitme.render.light import Light
from fitme.render.materials import head_shininess
from fitme.render.occlusion import ambient_visibility
from fitme.shape.expressions import EXPRESSION_COUNT, expression_index
from fitme.shape.model_file import load_default_model
from fitme.shape.morphable_model import MorphableModel
from fitme.synthetic.lights import ray_bundle_light
from fitme.track.factory import landmark_backend
from fitme.track.landmarks import FaceFinder
from fitme.training.contact_sheets import sample_maps

PEOPLE, FIRST_SEED = 130, 7_000
YAWS_DEG = (0.0, 15.0, -30.0, 40.0)
"""Mean yaw of each of a person's views."""
POSE_SIGMA_DEG = 6.0
"""Standard deviation of yaw, pitch and roll."""
GAZE_SIGMA, RELAXED_LIDS = 0.15, 0.2
"""Standard deviation of the gaze's activations, and the largest closing of open lids."""
WIDTH, HEIGHT, SUPERSAMPLING = 640, 480, 2
FOCAL_RANGE, DISTANCE_RANGE_M = (0.8, 1.3), (0.42, 0.62)
TINT_LOG_SIGMA = 0.1
METERED_LEVEL, METERING_LOG_SIGMA = 0.19, 0.3
"""Mean linear colour of the head at the expected exposure, and standard deviation of the logarithm of the exposure."""
NOISE, BLUR_PX, JPEG_QUALITY = 0.004, 0.6, 88
TABLE_RESOLUTION = 128
WELL_SEEN = 0.15
"""Smallest weight of a texel that counts for the face's colour."""


@dataclass(frozen=True)
class ScleraErrors:
    """Errors of the predicted colour of the sclera in N views of synthetic heads."""

    person: Int64Array
    """(N,) number of the person in each view."""
    tone: Float64Array
    """(N, 3) linear albedo of the skin, median of the face."""
    shading: Float64Array
    """(N,) logarithm of the predicted shading of the sclera."""
    error: Float64Array
    """(N, 3) logarithm of the sclera's colour over the prediction without bias and slope."""


class ScleraRenderer:
    """Renders synthetic heads without clothes or hair as a webcam shows them, and measures their eyes."""

    def __init__(self, model: MorphableModel, generator: ReflectanceGenerator) -> None:
        self._model, self._generator = model, generator
        self._table: TexelTable = texel_table(model, TABLE_RESOLUTION)
        self._skin = self._table.within(LIGHT_REGIONS)

    def errors(self, first: int, people: int) -> ScleraErrors:
        """Errors for `people` people from number `first`, without views in which no sclera is found."""
        found: list[tuple[int, Float64Array, float, Float64Array]] = []
        with closing(FaceFinder(landmark_backend())) as finder:
            for number in range(first, first + people):
                found += [(number, *view) for view in self._person(number, finder)]
        person, tone, shading, error = zip(*found, strict=True)
        return ScleraErrors(np.array(person, np.int64), np.stack(tone), np.array(shading), np.stack(error))

    def _person(self, number: int, finder: FaceFinder) -> list[tuple[Float64Array, float, Float64Array]]:
        """Tone, shading and error as in `ScleraErrors`, of every view in which sclera is found."""
        g = np.random.default_rng([number, 3])
        identity = torch.from_numpy(g.standard_normal(self._model.identity_count).astype(np.float32))
        maps = sample_maps(self._generator, 1, int(g.integers(2**31)))
        skin: Float64Array = np.median(self._at_texels(maps)[self._skin], 0).astype(np.float64)
        share = ambient_visibility(self._model.neutral(identity[None])[0], self._model.triangles)
        # Hidden surroundings are skin, which reflects light again: its share adds to the ambient light by the geometric
        # series of interreflection (Jimenez et al., "Practical real-time strategies for accurate indirect occlusion",
        # 2016).
        ambient = share / (1.0 - float(skin.mean()) * (1.0 - share))
        size = (HEIGHT * SUPERSAMPLING, WIDTH * SUPERSAMPLING)
        shininess = head_shininess(self._model)
        renderers = (
            ForwardRenderer(self._model, size, shininess=shininess, occlusion=ambient, threads=1),
            ForwardRenderer(self._model, size, shininess=shininess, shadows=True, threads=1),
        )
        for renderer in renderers:
            renderer.set_maps(maps)
        shipped = load_sclera_statistics()
        lights, focal, seen = _lights(g), float(g.uniform(*FOCAL_RANGE)) * WIDTH, []
        for yaw in YAWS_DEG:
            expression = _expression(g)
            with torch.no_grad():
                vertices = self._model.vertices(identity[None], torch.from_numpy(expression)[None])[0]
            pose = _pose(g, yaw)
            camera = Camera.centered(focal * SUPERSAMPLING, WIDTH * SUPERSAMPLING, HEIGHT * SUPERSAMPLING)
            image = _webcam_image(
                [r.render(vertices.numpy(), pose, camera, light) for r, light in zip(renderers, lights, strict=True)], g
            )
            faces = finder.detect(image)
            everywhere = np.ones(image.shape[:2], np.float32)
            sclera = sclera_color(image, faces[0].landmarks, everywhere) if faces else None
            if sclera is None:
                continue
            posed = transform(torch.from_numpy(pose.rotation), torch.from_numpy(pose.translation), vertices)
            view = unproject(self._table, self._model, posed, Camera.centered(focal, WIDTH, HEIGHT), image, everywhere)
            observed = self._observation(sclera, view)
            contrast = np.log(observed.sclera / observed.skin) + np.log(skin + SPECULAR_REFLECTION * SKIN_SPECULAR)
            shading = float(np.log(sclera_shading(observed.light, skin[None])[0]))
            # `log_reflection` includes the shipped bias and slope; errors are measured without them.
            predicted = log_reflection(observed.light, skin[None])[0, 0] - shipped.log_bias
            seen.append((skin, shading, contrast - (predicted - shipped.shading_slope * shading)))
        return seen

    def _observation(self, sclera: Float32Array, view: TexelObservation) -> ScleraObservation:
        """Observation whose light is estimated as if the skin had one albedo and exposure were the expected one."""
        index = np.flatnonzero(self._skin & (view.weight > WELL_SEEN))
        face = np.median(view.color[index], 0)
        specular = np.full((len(index), 1), SKIN_SPECULAR, np.float32)
        surface = lit_surface(view.normals[index], view.toward_viewer[index], specular, self._table.occlusion[index])
        albedo = np.tile(face / AlbedoScaleSettings().mean_shading, (len(index), 1)).astype(np.float32)
        light = estimate_illumination(surface, view.color[index], albedo, view.weight[index], SCLERA_LIGHT).mean(1)
        return ScleraObservation(sclera, face, light / float(np.median(surface.diffuse @ light)))

    def _at_texels(self, maps: ReflectanceMaps) -> Float32Array:
        side = (TABLE_RESOLUTION, TABLE_RESOLUTION)
        shrunk = cv2.resize(maps.diffuse[0].numpy(), side, interpolation=cv2.INTER_AREA)
        return self._table.from_map(np.asarray(shrunk, np.float32))


def trend(shading: Float64Array, error: Float64Array) -> tuple[float, float]:
    """Maximum-likelihood `shading_slope` and `unevenness` of errors (N,) at logarithms of shading (N,)."""

    def negative_log_likelihood(parameters: Float64Array) -> float:
        mean, slope, log_sigma, unevenness = parameters
        deviation = (error - mean - slope * shading) / np.exp(log_sigma)
        growth = 1.0 + (unevenness * shading) ** 2
        return float((log_sigma + 0.5 * np.log(growth) + 0.5 * deviation**2 / growth).sum())

    found = minimize(negative_log_likelihood, [0.0, 0.0, -1.5, 1.0], method="Nelder-Mead", options={"maxiter": 5000})
    return float(found.x[1]), abs(float(found.x[3]))


def covariances(values: Float64Array, person: Int64Array) -> tuple[Float64Array, Float64Array]:
    """Covariances (3, 3) of values (N, 3): between people, and between the views of one."""
    rows = [values[person == number] for number in np.unique(person)]
    within = sum((row - row.mean(0)).T @ (row - row.mean(0)) for row in rows) / (len(values) - len(rows))
    means = np.stack([row.mean(0) for row in rows])
    between = np.cov(means.T) - np.mean([1.0 / len(row) for row in rows]) * within
    return np.asarray(between), np.asarray(within)


def _lights(g: np.random.Generator) -> tuple[Light, Light]:
    """Ambient light, and the light of lamps, which casts shadows; both of one random tint."""
    light = ray_bundle_light(g)
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
    angles = np.radians(np.array([yaw_deg, 0.0, 0.0]) + POSE_SIGMA_DEG * g.standard_normal(3))  # yaw, pitch, roll
    rotation = head_rotation(*angles.tolist())
    place = np.array([0.0, 0.0, -g.uniform(*DISTANCE_RANGE_M)]) - rotation @ PIVOT_M
    axis_angle = axis_angle_from_matrix(torch.from_numpy(rotation)).float().numpy()
    return HeadPose(axis_angle, place.astype(np.float32))


def _webcam_image(parts: Sequence[UInt8Array], g: np.random.Generator) -> UInt8Array:
    """Webcam image of the sum of renders, sRGB, drawn at `SUPERSAMPLING` over black: exposure, blur, noise and JPEG."""
    fine = np.sum([bytes_to_linear(part) for part in parts], 0)
    linear = fine.reshape(HEIGHT, SUPERSAMPLING, WIDTH, SUPERSAMPLING, 3).mean((1, 3))
    level = float(linear[linear.max(-1) > 0.0].mean())
    exposed = linear * (METERED_LEVEL * float(np.exp(METERING_LOG_SIGMA * g.standard_normal())) / level)
    noisy = cv2.GaussianBlur(exposed, (0, 0), BLUR_PX) + NOISE * g.standard_normal(linear.shape)
    encoded = linear_to_bytes(np.clip(noisy, 0.0, 1.0).astype(np.float32))
    file = cv2.imencode(".jpg", encoded[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])[1]
    return np.ascontiguousarray(np.asarray(cv2.imdecode(file, cv2.IMREAD_COLOR))[..., ::-1], np.uint8)


def statistics_of(errors: ScleraErrors, transfer: Float64Array, openness: Float64Array) -> ScleraStatistics:
    """Statistics of errors, rounded to the digits that the measurement supports."""
    slope, unevenness = trend(errors.shading, errors.error.mean(1))
    rest = errors.error - slope * errors.shading[:, None]
    # Weights are inverse variances, so that views with even shading count most.
    weight = 1.0 / (1.0 + (unevenness * errors.shading[:, None]) ** 2)
    mean = (weight * rest).sum(0) / weight.sum()
    people, views = covariances(np.sqrt(weight) * (rest - mean), errors.person)
    return ScleraStatistics(
        transfer=transfer.round(3),
        openness=openness.round(2),
        log_bias=mean.round(3),
        shading_slope=round(slope, 2),
        unevenness=round(unevenness, 1),
        people_covariance=people.round(4),
        view_covariance=views.round(4),
    )


def main() -> None:
    """Entry point of ``python -m fitme.build.sclera.measure``."""
    parser = argparse.ArgumentParser(prog="python -m fitme.build.sclera.measure", description=__doc__)
    parser.add_argument("--people", type=int, default=PEOPLE)
    parser.add_argument("--first", type=int, default=FIRST_SEED, help="number of the first")
    parser.add_argument(
        "--out", type=Path, default=SCLERA_STATISTICS_PATH, help="where to write the statistics (.json)"
    )
    arguments = parser.parse_args()
    out: Path = arguments.out
    model = load_default_model()
    transfer, openness = sclera_transfer(model)
    errors = ScleraRenderer(model, packaged_generator()).errors(arguments.first, arguments.people)
    statistics = statistics_of(errors, transfer, openness)
    statistics.save(out)
    # LID_SHARE is chosen so that errors do not depend on the skin tone.
    rest = errors.error[:, 1] - statistics.shading_slope * errors.shading
    by_tone = float(np.polyfit(np.log(errors.tone[:, 1]), rest, 1)[0])
    print(
        f"{out}: {len(errors.person)} views of {len(np.unique(errors.person))} people; "
        f"slope of the errors in the logarithm of the skin tone {by_tone:.3f}"
    )


if __name__ == "__main__":
    main()
