"""Observation of a model's texels in images: input of fusion and of a single frame's illumination."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch.nn.functional as functional
from torch import Tensor

from fitme.arrays import Float32Array, UInt8Array
from fitme.fit.alignment.aligner import camera_of, head_vertices, in_view
from fitme.fit.estimate import Illumination, KeyframeEstimate
from fitme.fit.lighting.key_light import find_direction
from fitme.fit.lighting.spherical_harmonics import LIGHT_REGIONS, LightSettings, estimate_illumination
from fitme.fit.texture.cast_lights import cast_light, illumination_of, search_samples
from fitme.fit.texture.delighting import observed_surface
from fitme.fit.texture.mouth_interior import BEHIND_LIPS
from fitme.fit.texture.unprojection import TexelObservation, TexelTable, texel_table, unproject
from fitme.geometry import Camera
from fitme.parts.head_parts import load_head_parts
from fitme.reflectance.maps import ReflectanceMaps
from fitme.render.light import Light
from fitme.render.occlusion import head_occlusion, mouth_occlusion
from fitme.shape.morphable_model import MorphableModel
from fitme.shape.regions import Region


@dataclass(frozen=True)
class _SampledMaps:
    """Maps, and their values at the texels."""

    maps: ReflectanceMaps
    albedo: Float32Array
    """(N, 3) diffuse albedo, linear."""
    specular: Float32Array
    """(N, 1) specular albedo."""


class TexelViews:
    """Sampler of images at the texels of one resolution."""

    def __init__(self, model: MorphableModel, resolution: int) -> None:
        self._model = model
        self.table: TexelTable = texel_table(model, resolution)
        self._behind_lips = self.table.within(BEHIND_LIPS)
        # As the renderer's: a smile that is open at its sides counts as open where there are teeth.
        self._drawn_mouth = mouth_occlusion(model, sides=load_head_parts(model) is not None)
        self._on_ears = self.table.within((Region.EARS,))
        self._sampled: _SampledMaps | None = None
        """The maps that were sampled last: many frames are compared with the same."""

    def observe(
        self,
        estimate: KeyframeEstimate,
        identity: Float32Array,
        focal: float,
        camera: Camera,
        image: UInt8Array,
        usable: Float32Array,
        *,
        ears: bool = False,
    ) -> TexelObservation:
        """Texels observed in an image (H, W, 3) sRGB.

        :param identity: (K,) standard deviations.
        :param focal: focal length over the longer side of the image; replaces that of `camera`.
        :param camera: the tracker's camera of the image.
        :param usable: (H, W) in [0, 1] weights of pixels.
        :param ears: whether the head's ears are where the image shows them; their texels do not count otherwise, since
            hair or background would be taken for them.
        """
        head = head_vertices(self._model, estimate, identity)
        posed = in_view(head, estimate)
        observation = unproject(self.table, self._model, posed, camera_of(camera, focal), image, usable)
        # A mouth that is nearly shut shows only the dark line between the lips.
        opening = np.where(self._behind_lips, mouth_occlusion(self._model).opening(posed), 1.0)
        if not ears:
            opening = np.where(self._on_ears, 0.0, opening)
        weight = (observation.weight * opening).astype(np.float32)
        return replace(observation, weight=weight, occlusion=self._occlusion(head))

    def _occlusion(self, head: Tensor) -> Float32Array:
        """(N, 1) share of the surroundings' light at the texels with the lips as far open as those of a head (V, 3)."""
        light = self._drawn_mouth.apply(head_occlusion(self._model), head)
        return np.where(self._behind_lips[:, None], self.table.weights @ light.numpy()[:, None], self.table.occlusion)

    def at_texels(self, texture: Tensor) -> Float32Array:
        """(N, C) a map (1, R, R, C) of any resolution at the texels, bilinear, antialiased where it is finer."""
        side = (self.table.resolution,) * 2
        channels_first = texture.permute(0, 3, 1, 2)
        resized = functional.interpolate(channels_first, size=side, mode="bilinear", antialias=True)
        return self.table.from_map(resized[0].permute(1, 2, 0).numpy())

    def light(
        self,
        view: TexelObservation,
        maps: ReflectanceMaps,
        settings: LightSettings,
        others: Sequence[Illumination],
    ) -> Illumination:
        """Least-squares light of a view, given the maps.

        :param others: lights of other frames: the mean of those with a key light, or of those without, is the prior,
            and the search for a key light begins with theirs; uniform light without any.
        """
        sampled = self._sampled
        if sampled is None or sampled.maps is not maps:
            sampled = _SampledMaps(maps, self.at_texels(maps.diffuse), self.at_texels(maps.specular))
            self._sampled = sampled
        albedo, specular = sampled.albedo, sampled.specular
        weight = view.weight * self.table.within(LIGHT_REGIONS)
        index = np.flatnonzero(weight)
        direction = None
        if settings.key.enabled:
            searched = search_samples(self.table, view, specular, index, albedo[index], weight[index])
            likely = tuple(light.key.direction for light in others if light.key is not None)
            direction = None if searched is None else find_direction(searched, settings.key, likely)
        cast = cast_light(view, weight, direction)
        if cast is not None:
            weight = weight * cast.certainty
        surface = observed_surface(self.table, view, specular, index, cast)
        found = estimate_illumination(
            surface, view.color[index], albedo[index], weight[index], settings, _prior(others, cast is not None)
        )
        return illumination_of(found, cast)


def _prior(others: Sequence[Illumination], with_key: bool) -> Float32Array:
    """(9, 3), or with a key light (10, 3), prior of a light from those of other frames."""
    alike = [light for light in others if (light.key is not None) is with_key]
    if alike:
        sh = np.mean([light.sh for light in alike], 0)
    elif others:
        sh = np.mean([light.unshadowed_sh for light in others], 0)
    else:
        sh = Light.ambient().sh[0].numpy()
    colors = [light.key.color for light in alike if light.key is not None]
    key = [np.mean(colors, 0) if colors else np.zeros(3)] if with_key else []
    return np.asarray(np.concatenate([sh, *(row[None] for row in key)]), np.float32)
