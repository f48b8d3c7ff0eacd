"""Observation of a model's texels in images: input of fusion and of a single frame's illumination."""

from dataclasses import replace

import numpy as np
import torch.nn.functional as functional
from torch import Tensor

from fitme.arrays import Float32Array, UInt8Array
from fitme.fit.alignment.aligner import camera_of, posed_vertices
from fitme.fit.estimate import KeyframeEstimate
from fitme.fit.lighting.spherical_harmonics import LIGHT_REGIONS, LightSettings, estimate_illumination, lit_surface
from fitme.fit.texture.mouth_interior import BEHIND_LIPS
from fitme.fit.texture.unprojection import TexelObservation, TexelTable, texel_table, unproject
from fitme.geometry import Camera
from fitme.reflectance.maps import ReflectanceMaps
from fitme.render.occlusion import mouth_occlusion
from fitme.render.rasterizer import RasterizerBackend
from fitme.shape.morphable_model import MorphableModel
from fitme.shape.regions import Region


class TexelViews:
    """Sampler of images at the texels of one resolution."""

    def __init__(self, model: MorphableModel, backend: RasterizerBackend, resolution: int) -> None:
        self._model = model
        self._backend = backend
        self.table: TexelTable = texel_table(model, resolution)
        self._behind_lips = self.table.within(BEHIND_LIPS)
        self._on_ears = self.table.within((Region.EARS,))

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
        posed = posed_vertices(self._model, estimate, identity)
        observation = unproject(self.table, self._model, posed, camera_of(camera, focal), image, usable, self._backend)
        # A mouth that is nearly shut shows only the dark line between the lips.
        opening = np.where(self._behind_lips, mouth_occlusion(self._model).opening(posed), 1.0)
        if not ears:
            opening = np.where(self._on_ears, 0.0, opening)
        return replace(observation, weight=(observation.weight * opening).astype(np.float32))

    def at_texels(self, texture: Tensor) -> Float32Array:
        """(N, C) a map (1, R, R, C) of any resolution at the texels, bilinear, antialiased where it is finer."""
        side = (self.table.resolution,) * 2
        channels_first = texture.permute(0, 3, 1, 2)
        resized = functional.interpolate(channels_first, size=side, mode="bilinear", antialias=True)
        return self.table.from_map(resized[0].permute(1, 2, 0).numpy())

    def light(
        self, view: TexelObservation, maps: ReflectanceMaps, settings: LightSettings, prior: Float32Array | None
    ) -> Float32Array:
        """(9, 3) least-squares light of a view, given the maps; `prior` (9, 3) or None."""
        specular = self.at_texels(maps.specular)
        surface = lit_surface(view.normals, view.toward_viewer, specular, self.table.occlusion)
        weight = view.weight * self.table.within(LIGHT_REGIONS)
        return estimate_illumination(surface, view.color, self.at_texels(maps.diffuse), weight, settings, prior)
