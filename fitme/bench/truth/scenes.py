"""Scenes of the benchmark, path-traced by Mitsuba 3, independently of the project's renderers.

All materials have Disney's principled BRDF; lights are rectangles and an environment map. View space is world space:
the camera is at the origin and looks along -Z.
"""

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from fitme.arrays import Float32Array, Float64Array, Int64Array
from fitme.bench.truth.lights import LightScript, UnseenLight
from fitme.bench.truth.people import Material, PopulationModel, smooth_normals
from fitme.bench.truth.strands import write_curves
from fitme.bench.truth.subjects import PIVOT_M, Covering, FrameScript, Subject
from fitme.errors import BackendError, ConfigError
from fitme.geometry import Camera, HeadPose, head_rotation, rotation_matrix
from fitme.skin.painter import Skin
from fitme.skin.pigments import hair_absorption, hair_color

VARIANTS = ("llvm_ad_rgb", "scalar_rgb")
VARIANT_VARIABLE = "FITME_TRUTH_VARIANT"
"""Environment variable that names the variant of Mitsuba; without it, the first of `VARIANTS` that works."""
PROBE_S = 120
"""Time limit in seconds of a variant's test render."""
PATH_DEPTH = 4
SKIN_SPECULAR = 0.28
"""Disney's specular parameter of skin: 0.5 is 4 % at normal incidence, of which skin has 0.55 on average."""
EYE_TEXTURE_PX = 256
PUPIL_RADIUS_M = 0.0021
LIMBAL_RING_M = 0.0008
"""Width of the dark ring at the iris's rim."""
HAIR_THICKNESS_M, CAP_THICKNESS_M = 0.014, 0.008
UNDERCOAT_M = 0.002
"""Thickness of the dark layer below strands, which are fewer than a head's."""
HAIR_ROUGHNESS = 0.3
"""Longitudinal and azimuthal roughness of strands (Chiang et al., "A Practical and Controllable Hair and Fur Model",
EGSR 2016)."""
GRAY_ABSORPTION = 0.04
"""Absorption of hair without pigment."""
MASK_SAMPLES = 16
"""Rays per pixel of a person's mask."""
ROOM_PX = (64, 128)
BLUR_STEPS = 4
"""Number of head poses that a frame with motion blur averages."""

_PROBE = """
import mitsuba as mi
mi.set_variant({variant!r})
scene = mi.load_dict({{"type": "scene", "integrator": {{"type": "path"}}, "light": {{"type": "constant"}},
    "sensor": {{"type": "perspective", "film": {{"type": "hdrfilm", "width": 8, "height": 8}}}},
    "ball": {{"type": "sphere", "center": [0, 0, 3], "bsdf": {{"type": "principled"}}}},
    "ring": {{"type": "sphere", "center": [0, 0, 2], "radius": 0.1, "bsdf": {{"type": "hair"}}}}}})
print(mi.util.convert_to_bitmap(mi.render(scene, spp=4)))
"""


def choose_variant() -> str:
    """Variant of Mitsuba to render with: what `VARIANT_VARIABLE` names, otherwise the first that renders a test image
    in a separate process (with an incompatible LLVM, it does not return).

    Raises ConfigError for an unknown name and BackendError where none works.
    """
    named = os.environ.get(VARIANT_VARIABLE)
    if named is not None:
        if named not in VARIANTS:
            raise ConfigError(f"{VARIANT_VARIABLE}={named}: use one of {', '.join(VARIANTS)}")
        return named
    for variant in VARIANTS:
        command = [sys.executable, "-c", _PROBE.format(variant=variant)]
        try:
            run = subprocess.run(command, capture_output=True, check=False, timeout=PROBE_S)
        except subprocess.TimeoutExpired:
            continue
        if run.returncode == 0:
            return variant
    raise BackendError("Mitsuba 3 cannot render on this machine: pip install 'mitsuba==3.9.1'")


class TruthRenderer:
    """Path tracer of one subject. Sets Mitsuba's variant for the whole process.

    :param strands: (M, K, 3) hair on the expressionless head, by `fitme.bench.truth.strands`; without it hair is a
        shell over the scalp.
    :raises BackendError: Mitsuba is not installed.
    """

    def __init__(
        self,
        population: PopulationModel,
        subject: Subject,
        skin: Skin,
        variant: str,
        strands: Float64Array | None = None,
    ) -> None:
        try:
            import mitsuba
        except ImportError as error:
            raise BackendError("The benchmark's scenes need Mitsuba 3: pip install 'mitsuba==3.9.1'") from error
        mitsuba.set_variant(variant)
        mitsuba.set_log_level(mitsuba.LogLevel.Error)
        self._mi: Any = mitsuba
        self._population = population
        self._subject = subject
        self._neutral = population.neutral(np.array(subject.identity))
        self._bsdfs = self._materials(skin)
        self._strands = strands

    @property
    def neutral(self) -> Float64Array:
        """Vertices (N, 3) of the expressionless head, metres, head frame."""
        return self._neutral

    def render(
        self, frame: FrameScript, light: LightScript | UnseenLight, camera: Camera, samples: int
    ) -> Float32Array:
        """Linear radiance (H, W, 3) of a frame, before exposure; motion blur averages `BLUR_STEPS` poses."""
        steps = BLUR_STEPS if frame.motion_deg > 0.0 else 1
        total = np.zeros((camera.height, camera.width, 3), np.float64)
        for step in range(steps):
            share = (step + 0.5) / steps - 0.5
            turned_deg = share * frame.motion_deg
            vertices, strands = self.posed(frame, turned_deg), self._posed_strands(frame, turned_deg)
            scene = self._mi.load_dict(self._scene(vertices, strands, light, camera))
            image = self._mi.render(scene, spp=max(1, samples // steps), seed=step)
            total += np.nan_to_num(np.asarray(image, np.float64)[..., :3])
        return np.asarray(total / steps, np.float32)

    def posed(self, frame: FrameScript, turned_deg: float = 0.0) -> Float64Array:
        """Vertices (N, 3) of a frame in view space, metres; the shoulders do not turn with the head.

        :param turned_deg: additional yaw of the head.
        """
        head = self._neutral + self._population.offsets(frame.expression)
        turned, pivot = _turned(frame, turned_deg)
        moving = (head - PIVOT_M) @ turned.T + pivot
        still = (head - PIVOT_M) + pivot
        weight = self._population.stiffness[:, None]
        return np.asarray(weight * moving + (1.0 - weight) * still)

    def mask(self, frame: FrameScript, camera: Camera) -> Float32Array:
        """(H, W) in [0, 1]: share of each pixel that the person covers, hair and shoulders included; without motion."""
        dark = UnseenLight(0.0, (0.0, 0.0, 1.0), (0.0, 0.0, 0.0))
        scene = self._scene(self.posed(frame), self._posed_strands(frame), dark, camera)
        scene["integrator"] = {"type": "path", "max_depth": 2, "hide_emitters": True}
        scene["sensor"]["film"]["pixel_format"] = "rgba"
        image = self._mi.render(self._mi.load_dict(scene), spp=MASK_SAMPLES)
        return np.clip(np.nan_to_num(np.asarray(image, np.float32)[..., 3]), 0.0, 1.0)

    def _posed_strands(self, frame: FrameScript, turned_deg: float = 0.0) -> Float64Array | None:
        """Strands (M, K, 3) of a frame in view space: hair turns with the head."""
        if self._strands is None:
            return None
        turned, pivot = _turned(frame, turned_deg)
        return np.asarray((self._strands - PIVOT_M) @ turned.T + pivot)

    def _scene(
        self,
        vertices: Float64Array,
        strands: Float64Array | None,
        light: LightScript | UnseenLight,
        camera: Camera,
    ) -> dict[str, Any]:
        """Mitsuba's description of posed vertices (N, 3) and strands (M, K, 3), view space, under a light."""
        scene: dict[str, Any] = {
            "type": "scene",
            "integrator": {"type": "path", "max_depth": PATH_DEPTH},
            "sensor": self._sensor(camera),
        }
        normals = smooth_normals(vertices, self._population.triangles[Material.SKIN])
        subject = self._subject
        wavy = subject.covering is Covering.HAIR
        thickness = HAIR_THICKNESS_M if wavy else CAP_THICKNESS_M
        if strands is not None:
            thickness, wavy = UNDERCOAT_M, False
            scene["strands"] = self._curves(strands)
        shell = self._population.shell_vertices(vertices, thickness, wavy)
        for material, triangles in self._population.triangles.items():
            points = shell if material is Material.SHELL else vertices
            directions = normals if material is Material.SKIN else smooth_normals(points, triangles)
            scene[material.name.lower()] = self._mesh(material, points, directions)
        scene |= self._unseen(light) if isinstance(light, UnseenLight) else dict(self._lights(light, vertices))
        return scene

    def _mesh(self, material: Material, points: Float64Array, normals: Float64Array) -> Any:  # noqa: ANN401 (a type that depends on the variant)
        """Mitsuba mesh of the vertices (N, 3), with normals (N, 3), that the triangles of one material use; vertices
        on seams of the layout are repeated."""
        mi = self._mi
        triangles, uv_triangles = (of[material] for of in (self._population.triangles, self._population.uv_triangles))
        corners = np.stack([triangles.ravel(), uv_triangles.ravel()], 1)
        (used, places), compact = _distinct(corners)
        properties = mi.Properties()
        properties["mesh_bsdf"] = self._bsdfs[material]
        mesh = mi.Mesh(
            material.name.lower(), len(used), len(triangles), has_vertex_normals=True, has_vertex_texcoords=True,
            props=properties,
        )  # fmt: skip
        parameters = mi.traverse(mesh)
        parameters["vertex_positions"] = points[used].astype(np.float32).ravel()
        parameters["vertex_normals"] = normals[used].astype(np.float32).ravel()
        parameters["vertex_texcoords"] = self._population.uv[places].astype(np.float32).ravel()
        parameters["faces"] = compact.astype(np.uint32).ravel()
        parameters.update()
        return mesh

    def _curves(self, strands: Float64Array) -> Any:  # noqa: ANN401 (a type that depends on the variant)
        """Mitsuba's curves of strands (M, K, 3)."""
        attributes = self._subject.attributes
        absorption = hair_absorption(attributes.hair_eumelanin, attributes.hair_pheomelanin)
        absorption = (1.0 - attributes.hair_gray) * absorption + attributes.hair_gray * GRAY_ABSORPTION
        with TemporaryDirectory() as folder:
            path = Path(folder) / "strands.txt"
            write_curves(strands, path)
            return self._mi.load_dict(
                {
                    "type": "bsplinecurve",
                    "filename": str(path),
                    "bsdf": {
                        "type": "hair",
                        "sigma_a": {"type": "rgb", "value": absorption.tolist()},
                        "longitudinal_roughness": HAIR_ROUGHNESS,
                        "azimuthal_roughness": HAIR_ROUGHNESS,
                    },
                }
            )

    def _sensor(self, camera: Camera) -> dict[str, Any]:
        """Pinhole camera at the origin, with its principal point in the centre."""
        return {
            "type": "perspective",
            "fov": float(np.degrees(2.0 * np.arctan(camera.width / (2.0 * camera.focal_px)))),
            "fov_axis": "x",
            "near_clip": 0.05,
            "to_world": self._mi.ScalarTransform4f().look_at(origin=[0, 0, 0], target=[0, 0, -1], up=[0, 1, 0]),
            "film": {"type": "hdrfilm", "width": camera.width, "height": camera.height, "rfilter": {"type": "tent"}},
            "sampler": {"type": "multijitter"},
        }

    def _materials(self, skin: Skin) -> Mapping[Material, Any]:
        """BRDFs by material: textures for skin and eyes, constants for the others."""
        subject = self._subject
        hair = hair_color(subject.attributes.hair_eumelanin, subject.attributes.hair_pheomelanin)
        hair = (1.0 - subject.attributes.hair_gray) * hair + subject.attributes.hair_gray * 0.4
        covering = hair if subject.covering is Covering.HAIR else np.array(subject.covering_color)
        flat = {
            Material.MOUTH: ((0.24, 0.07, 0.06), 0.35, 0.4),
            Material.TEETH: ((0.62, 0.55, 0.43), 0.25, 0.5),
            Material.CLOTH: (subject.cloth_color, 0.9, 0.1),
            Material.SHELL: (tuple(np.clip(covering, 0.01, 0.8)), 0.55, 0.3),
        }
        bsdfs = {material: self._principled(*values) for material, values in flat.items()}
        bsdfs[Material.SKIN] = self._principled(self._texture(skin.diffuse), subject.roughness, SKIN_SPECULAR)
        bsdfs[Material.EYES] = self._principled(
            self._texture(eye_texture(subject, self._population.eyeball_radius(self._neutral))), 0.08, 0.5
        )
        return bsdfs

    def _texture(self, image: npt.NDArray[np.floating[Any]]) -> dict[str, Any]:
        bitmap = self._mi.Bitmap(np.ascontiguousarray(image, np.float32))
        return {"type": "bitmap", "bitmap": bitmap, "raw": True, "wrap_mode": "clamp"}

    def _principled(self, color: Any, roughness: float, specular: float) -> Any:  # noqa: ANN401
        base = color if isinstance(color, dict) else {"type": "rgb", "value": [float(v) for v in color]}
        kinds = {"type": "principled", "base_color": base, "roughness": roughness, "specular": specular}
        return self._mi.load_dict({"type": "twosided", "bsdf": kinds})

    def _lights(self, light: LightScript, vertices: Float64Array) -> Iterator[tuple[str, Any]]:
        """Environment map and area lights, placed around the head, by name."""
        head = vertices[self._population.landmarks].mean(0)
        transform = self._mi.ScalarTransform4f
        yield "room", {"type": "envmap", "bitmap": self._mi.Bitmap(room_radiance(light))}
        for index, source in enumerate(light.sources):
            place = head + source.distance_m * np.array(source.direction)
            up = [0.0, 0.0, 1.0] if abs(source.direction[1]) > 0.9 else [0.0, 1.0, 0.0]
            where = transform().look_at(origin=place.tolist(), target=head.tolist(), up=up)
            yield (
                f"source_{index}",
                {
                    "type": "rectangle",
                    "to_world": where @ transform().scale([source.side_m / 2.0, source.side_m / 2.0, 1.0]),
                    "emitter": {"type": "area", "radiance": {"type": "rgb", "value": list(source.radiance)}},
                },
            )

    def _unseen(self, light: UnseenLight) -> dict[str, Any]:
        """Unseen light in radiometric units: irradiance is pi times `Light`'s convention."""
        return {
            "room": {"type": "constant", "radiance": {"type": "rgb", "value": [light.ambient] * 3}},
            "key": {
                "type": "directional",
                "direction": [-value for value in light.direction],
                "irradiance": {"type": "rgb", "value": [float(np.pi) * value for value in light.color]},
            },
        }


def _distinct(pairs: Int64Array) -> tuple[tuple[Int64Array, Int64Array], Int64Array]:
    """Distinct rows of pairs (N, 2), as two columns (M,), and the index (N,) of each pair's."""
    found, index = np.unique(pairs, axis=0, return_inverse=True)
    return (found[:, 0], found[:, 1]), index.ravel()


def _turned(frame: FrameScript, turned_deg: float) -> tuple[Float64Array, Float64Array]:
    """Rotation (3, 3) of a frame's head, turned by a further angle, and the place (3,) of its pivot in view space."""
    rotation, translation = _matrix(frame.pose)
    return head_rotation(np.radians(turned_deg)) @ rotation, np.asarray(rotation @ PIVOT_M + translation)


def _matrix(pose: HeadPose) -> tuple[Float64Array, Float64Array]:
    return rotation_matrix(torch.from_numpy(pose.rotation).double()).numpy(), pose.translation.astype(np.float64)


def eye_texture(subject: Subject, radius_m: float) -> Float32Array:
    """Linear albedo (H, W, 3) of an eyeball of a given radius, over the sine of the angle from its gaze."""
    side = (np.arange(EYE_TEXTURE_PX) + 0.5) / EYE_TEXTURE_PX * 2.0 - 1.0
    x, y = np.meshgrid(side, side)
    radius = radius_m * np.hypot(x, y)
    attributes = subject.attributes
    sclera = np.array([0.66, 0.60, 0.56]) * np.array([1.0, 1.0 - 0.15 * attributes.sclera_redness, 1.0])
    light_iris = (
        np.array([0.16, 0.22, 0.28]) * (1.0 - attributes.iris_green)
        + np.array([0.16, 0.20, 0.10]) * attributes.iris_green
    )
    iris = (1.0 - attributes.iris_melanin) * light_iris + attributes.iris_melanin * np.array([0.055, 0.025, 0.012])
    spokes = 1.0 + 0.15 * np.sin(24.0 * np.arctan2(y, x))
    texture = np.broadcast_to(sclera, (*radius.shape, 3)).copy()
    inside = radius < subject.iris_radius_m
    texture[inside] = (spokes[..., None] * iris)[inside]
    texture[inside & (radius > subject.iris_radius_m - LIMBAL_RING_M)] = 0.5 * iris
    texture[radius < PUPIL_RADIUS_M] = 0.004
    return texture.astype(np.float32)


def room_radiance(light: LightScript) -> Float32Array:
    """Environment map (H, W, 3), linear radiance, latitude by longitude: a room with plain rectangles, or a sky."""
    g = np.random.default_rng(light.seed)
    height, width = ROOM_PX
    down = np.linspace(0.0, 1.0, height)[:, None]
    base = np.array(light.surroundings)
    if light.sun > 0.0:
        sky = np.where(down < 0.5, 1.2 - 0.6 * down, 0.35)[..., None] * np.where(
            (down < 0.5)[..., None], np.array([0.85, 1.0, 1.2]), np.array([1.0, 0.95, 0.8])
        )
        image = np.broadcast_to(sky, (height, width, 3)) * base
        row, column = g.uniform(0.15, 0.4) * height, g.uniform(0.0, width)
        across = (np.arange(width)[None] - column + width / 2) % width - width / 2
        spot = np.exp(-0.5 * ((np.arange(height)[:, None] - row) ** 2 + across**2) / 4.0**2)
        image = image + light.sun * base * spot[..., None] * np.array([1.05, 1.0, 0.9])
    else:
        image = np.broadcast_to((1.2 - 0.7 * down)[..., None] * base, (height, width, 3)).copy()
        for _ in range(24):
            top, left = int(g.integers(8, height - 8)), int(g.integers(width))
            tall, wide = int(g.integers(3, 16)), int(g.integers(3, 14))
            columns = np.arange(left, left + wide) % width
            image[top : top + tall, columns] = base * g.uniform(0.1, 1.6) * np.exp(g.normal(0.0, 0.25, 3))
    return np.ascontiguousarray(image, np.float32)
