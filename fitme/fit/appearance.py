"""Reflectance of the person during a fit: the fused texture, the generator, and the maps baked from both."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch

from fitme.arrays import Float32Array
from fitme.color import linear_to_srgb
from fitme.errors import InputError
from fitme.fit.inversion.generator_inversion import ReflectanceFit, TextureTarget
from fitme.fit.texture.baking import FULL_CONFIDENCE, bake, enlarge, maps_of, with_generated_mouth
from fitme.fit.texture.delighting import ViewAlbedo
from fitme.fit.texture.expression_correctives import ClosedLids, ExpressionView, albedo_correctives
from fitme.fit.texture.fusion import FusedTexture
from fitme.fit.texture.mouth_interior import BEHIND_LIPS
from fitme.fit.texture.mouth_tones import ShownMouth, flesh_tone
from fitme.fit.texture.settings import FusionSettings
from fitme.fit.texture.skin.completion import lid_share, with_lids
from fitme.fit.texture.teeth import ShownTeeth
from fitme.fit.texture.unprojection import TexelTable
from fitme.reflectance.expression_correctives import AlbedoCorrectives
from fitme.reflectance.expression_prior import ExpressionPrior
from fitme.reflectance.map_arrays import MapArrays
from fitme.reflectance.maps import ReflectanceMaps
from fitme.reflectance.skin_detail import SkinDetail
from fitme.shape.regions import Region

SEEN_WELL = 0.3
"""Confidence from which an observed texel tells the tone of the skin."""


class Appearance:
    """Fused texture and generator, and the avatar's maps, which are baked from both on demand."""

    def __init__(
        self,
        generator: ReflectanceFit,
        resolution: int,
        blink: Float32Array,
        detail: SkinDetail | None = None,
        expressions: ExpressionPrior | None = None,
    ) -> None:
        """
        :param resolution: side of the maps, texels.
        :param blink: (V, 3) moves the head's vertices to closed eyes.
        :param detail: statistics of the fine detail of skin that no image shows; it stays smooth if None.
        :param expressions: what expressions that no image shows change in skin; nothing if None.
        """
        self.generator = generator
        self._detail, self._expressions = detail, expressions
        self._blink = blink
        self._resolution = resolution
        self._table: TexelTable | None = None
        self._texture: FusedTexture | None = None
        self._target: TextureTarget | None = None
        self._maps = ReflectanceMaps.grey()
        self._converged: ReflectanceMaps | None = None
        self._stale = False
        self._bald = False
        self._mouth: ShownMouth | None = None

    @property
    def inverted(self) -> bool:
        """Whether the generator has a latent of the person."""
        return self.generator.w_plus is not None

    def restore(self, maps: MapArrays | None) -> None:
        """Start from maps that were baked earlier; without any from grey ones."""
        if maps is not None:
            self._maps = maps_of(maps)

    def set_texture(self, table: TexelTable, texture: FusedTexture) -> None:
        """Replace the fused texture; `table` lists its texels."""
        self._table, self._texture, self._target = table, texture, None
        self._stale = True

    def set_bald(self, bald: bool) -> None:
        """Leave the scalp bare where no image showed it, or paint hair there."""
        self._stale |= bald != self._bald
        self._bald = bald

    def set_mouth(self, teeth: ShownTeeth | None, views: Sequence[ViewAlbedo]) -> None:
        """Take the mouth's inside from the images that show it.

        :param teeth: None if no image shows any; the mouth stays the usual one then.
        :param views: of open mouths.
        """
        table, skin = self._fine_table, self.skin_tone()
        self._mouth, self._converged = None, None
        if table is not None and skin is not None and teeth is not None:
            generated = table.from_map(enlarge(self.generator.maps(), table.resolution).diffuse[0].numpy())
            self._mouth = ShownMouth(teeth, flesh_tone(table, generated, views, skin))

    def invalidate(self) -> None:
        """The generator has changed: bake the maps anew when they are next asked for."""
        self._stale = True

    def maps(self) -> ReflectanceMaps:
        """The avatar's maps, batch of one: grey before the first texture."""
        if self._stale and self._table is not None and self._texture is not None:
            maps = bake(
                self._table, self._texture, self.generator.maps(), self.inverted, self._blink, self._bald, self._detail
            )
            self._maps = maps if maps.diffuse.shape[1] == self._resolution else enlarge(maps, self._resolution)
            self._converged, self._stale = None, False
        return self._maps

    def converged_maps(self) -> ReflectanceMaps:
        """The maps that correctives are added to, batch of one. The inner mouth is the generator's: its observed
        texels hold for one expression only."""
        maps, table = self.maps(), self._fine_table
        if table is None or self._texture is None or not self.inverted:
            return maps
        if self._converged is None:
            self._converged = with_generated_mouth(table, maps, self.generator.maps(), self._mouth)
        return self._converged

    def with_mouth(self, maps: ReflectanceMaps) -> ReflectanceMaps:
        """Maps of a converged head, batch of one, with the mouth's inside as images show it now."""
        table, converged = self._fine_table, self.converged_maps().diffuse
        if table is None or maps.diffuse.shape != converged.shape:
            return maps
        behind = table.within(BEHIND_LIPS)[:, None]
        diffuse = np.where(behind, table.from_map(converged[0].numpy()), table.from_map(maps.diffuse[0].numpy()))
        return replace(maps, diffuse=torch.from_numpy(table.to_filled_map(diffuse))[None])

    def skin_tone(self) -> Float32Array | None:
        """(3,) linear albedo of the skin, median of what images show well; None before a texture does."""
        if self._table is None or self._texture is None:
            return None
        known = self._table.within((Region.SKIN,)) & (self._texture.confidence >= SEEN_WELL)
        return np.asarray(np.median(self._texture.observed[known], axis=0)) if known.any() else None

    def confidence(self) -> torch.Tensor | None:
        """(1, R, R, 1) confidence of the texels of the maps, [0, 1]; None before a texture at their resolution."""
        table = self._fine_table
        if table is None or self._texture is None:
            return None
        return torch.from_numpy(table.to_filled_map(self._texture.confidence[:, None]))[None]

    def observed(self) -> torch.Tensor | None:
        """(R, R) share in [0, 1] with which images decide on the texels of the maps; None before their texture."""
        confidence = self.confidence()
        return None if confidence is None else (confidence[0, ..., 0] / FULL_CONFIDENCE).clamp(0.0, 1.0)

    def correctives(
        self, views: Sequence[ExpressionView], gram: torch.Tensor, settings: FusionSettings
    ) -> AlbedoCorrectives | None:
        """Changes of `converged_maps` with the expressions of views; None before a texture at the maps' resolution.

        :param gram: (52, 52) inner products of expressions (`fitme.fit.texture.expression_distance.expression_gram`).
        """
        table = self._fine_table
        if table is None:
            return None
        converged, baked = (table.from_map(maps.diffuse[0].numpy()) for maps in (self.converged_maps(), self.maps()))
        # What the frame itself does not show of the mouth is as in the converged maps.
        baked = np.where(table.within(BEHIND_LIPS)[:, None], converged, baked)
        skin = np.ones((len(converged), 1), np.float32) if self._texture is None else self._texture.skin_probability
        lids = ClosedLids(with_lids(table, converged, skin, self._blink), lid_share(table, self._blink))
        return albedo_correctives(table, converged, baked, views, gram, settings, lids, self._expressions)

    @property
    def _fine_table(self) -> TexelTable | None:
        """Texels of the fused texture, if it has the resolution of the maps."""
        table = self._table
        return table if table is not None and table.resolution == self._resolution else None

    def fused_texture(self) -> tuple[TexelTable, FusedTexture]:
        """The fused texture and its texels. Raises InputError before the first one."""
        if self._table is None or self._texture is None:
            raise InputError("The fit holds no texture yet: it must reach the skin stage first.")
        return self._table, self._texture

    def inversion_target(self) -> TextureTarget:
        """Texture that the generator is to explain, at its resolution. Raises InputError before the first texture."""
        if self._table is None or self._texture is None:
            raise InputError("The fit holds no texture yet: it must reach the skin stage before the generator's.")
        if self._target is None:
            albedo = torch.from_numpy(np.ascontiguousarray(self._table.to_filled_map(self._texture.albedo)))[None]
            confidence = torch.from_numpy(self._table.to_map(self._texture.confidence[:, None]))[None]
            self._target = TextureTarget(linear_to_srgb(albedo), confidence).at(self.generator.resolution)
        return self._target
