"""The person's reflectance under way: the texture that keyframes show, the generator that explains it, their maps."""

from collections.abc import Sequence

import numpy as np
import torch

from fitme.color import linear_to_srgb
from fitme.errors import InputError
from fitme.fit.inversion.generator_inversion import ReflectanceFit, TextureTarget
from fitme.fit.texture.baking import bake, enlarge, maps_of, with_bare_mouth
from fitme.fit.texture.expression_correctives import ExpressionView, albedo_correctives
from fitme.fit.texture.fusion import FusedTexture, FusionSettings
from fitme.fit.texture.unprojection import TexelTable
from fitme.reflectance.expression_correctives import AlbedoCorrectives
from fitme.reflectance.map_arrays import MapArrays
from fitme.reflectance.maps import ReflectanceMaps


class Appearance:
    """Fused texture, generator, and the avatar's maps, which are baked from both when they are asked for."""

    def __init__(self, generator: ReflectanceFit, resolution: int) -> None:
        """`resolution` is the side of the maps."""
        self.generator = generator
        self._resolution = resolution
        self._table: TexelTable | None = None
        self._texture: FusedTexture | None = None
        self._evidence: TextureTarget | None = None
        self._maps = ReflectanceMaps.grey()
        self._converged: ReflectanceMaps | None = None
        self._stale = False

    @property
    def inverted(self) -> bool:
        """Whether the generator's latent has been looked for."""
        return self.generator.w_plus is not None

    def restore(self, maps: MapArrays | None) -> None:
        """Start from maps that were baked earlier."""
        if maps is not None:
            self._maps = maps_of(maps)

    def show(self, table: TexelTable, texture: FusedTexture) -> None:
        """What keyframes show now, by the texels of a table."""
        self._table, self._texture, self._evidence = table, texture, None
        self._stale = True

    def changed(self) -> None:
        """The generator has changed."""
        self._stale = True

    def maps(self) -> ReflectanceMaps:
        """The avatar's, batch of one: grey before a texture was seen."""
        if self._stale and self._table is not None and self._texture is not None:
            maps = bake(self._table, self._texture, self.generator.maps(), self.inverted)
            self._maps = maps if maps.diffuse.shape[1] == self._resolution else enlarge(maps, self._resolution)
            self._converged, self._stale = None, False
        return self._maps

    def converged_maps(self) -> ReflectanceMaps:
        """Those that `correctives` add to: behind the lips the generator's, where pictures show little that holds for
        any other expression."""
        maps, table = self.maps(), self._fine_table
        if table is None or not self.inverted:
            return maps
        if self._converged is None:
            self._converged = with_bare_mouth(table, maps, self.generator.maps())
        return self._converged

    def confidence(self) -> torch.Tensor | None:
        """(1, R, R, 1) how well the texels of the maps were seen, [0, 1]; None before a texture was seen as finely."""
        table = self._fine_table
        if table is None or self._texture is None:
            return None
        return torch.from_numpy(table.to_filled_map(self._texture.confidence[:, None]))[None]

    def correctives(
        self, views: Sequence[ExpressionView], gram: torch.Tensor, settings: FusionSettings
    ) -> AlbedoCorrectives | None:
        """What the expressions of views change in the rested maps; None before the texture was seen finely."""
        table = self._fine_table
        if table is None:
            return None
        rested, seen = (table.from_map(maps.diffuse[0].numpy()) for maps in (self.converged_maps(), self.maps()))
        return albedo_correctives(table, rested, seen, views, gram, settings)

    @property
    def _fine_table(self) -> TexelTable | None:
        """That of a texture that was seen at the resolution of the maps."""
        table = self._table
        return table if table is not None and table.resolution == self._resolution else None

    def evidence(self) -> TextureTarget:
        """What the generator is to explain. Raises InputError before a texture was seen."""
        if self._table is None or self._texture is None:
            raise InputError("The fit holds no texture yet: it must reach the skin stage before the generator's.")
        if self._evidence is None:
            albedo = torch.from_numpy(np.ascontiguousarray(self._table.to_filled_map(self._texture.albedo)))[None]
            confidence = torch.from_numpy(self._table.to_map(self._texture.confidence[:, None]))[None]
            self._evidence = TextureTarget(linear_to_srgb(albedo), confidence).at(self.generator.resolution)
        return self._evidence
