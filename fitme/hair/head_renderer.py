"""Forward renderer of whole heads: `fitme.parts.renderer`, and glasses and hair over its renders."""

from collections.abc import Sequence

import numpy as np
import torch

from fitme.arrays import Float32Array, UInt8Array
from fitme.geometry import Camera, HeadPose
from fitme.glasses.glasses import Glasses
from fitme.glasses.renderer import GlassesRenderer
from fitme.hair.hair import Hair, hair_surface
from fitme.hair.renderer import HairRenderer, HeadRender
from fitme.parts.layers import Rendered
from fitme.parts.renderer import PartsRenderer
from fitme.render.light import Light
from fitme.shape.morphable_model import MorphableModel


class HeadRenderer(PartsRenderer):
    """Draws a head at one size of render, with its hair from the moment that `set_hair` was called."""

    _hair: HairRenderer | None = None
    _glasses: GlassesRenderer | None = None

    def set_hair(self, hair: Hair | None, model: MorphableModel, identity: torch.Tensor) -> None:
        """Draw this hair from the next render on; none if None.

        :param identity: (K,) coefficients of the head that the hair lies on.
        """
        if hair is None:
            if self._hair is not None:
                self._hair.close()
            self._hair = None
            return
        if self._hair is None:
            self._hair = HairRenderer((self._height, self._width), threads=len(self._bands))
        with torch.no_grad():
            neutral = model.neutral(identity[None])[0].numpy()
        self._hair.set_hair(hair_surface(hair, model, neutral), hair.texture)

    def set_glasses(self, glasses: Glasses | None) -> None:
        """Draw these glasses from the next render on; none if None."""
        self._glasses = None if glasses is None else GlassesRenderer()
        if self._glasses is not None:
            self._glasses.set_glasses(glasses)

    def close(self) -> None:
        """End the renderers' threads."""
        if self._hair is not None:
            self._hair.close()
        super().close()

    def render_with_mask(
        self,
        vertices: Float32Array,
        pose: HeadPose,
        camera: Camera,
        light: Light,
        background: Sequence[float] | Float32Array = (0.0, 0.0, 0.0),
    ) -> tuple[UInt8Array, UInt8Array]:
        """As `PartsRenderer.render_with_mask`, with glasses and hair."""
        image, mask = super().render_with_mask(vertices, pose, camera, light, background)
        if self._glasses is not None:
            self._glasses.draw_over(Rendered(image, mask, self._rast), pose, camera, light)
        if self._hair is None:
            return image, mask
        return self._hair.render_over(HeadRender(image, mask, np.asarray(self._rast)), pose, camera, light)
