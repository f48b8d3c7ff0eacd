"""Forward renderer of whole heads: the model's mesh with its parts."""

from collections.abc import Sequence

import torch

from fitme.arrays import Float32Array, UInt8Array
from fitme.geometry import Camera, HeadPose
from fitme.parts.drawn_head import drawn_head
from fitme.parts.layers import LayerRenderer, Rendered
from fitme.parts.textures import with_strip
from fitme.reflectance.maps import ReflectanceMaps
from fitme.render.forward.renderer import ForwardRenderer
from fitme.render.light import Light
from fitme.shape.morphable_model import MorphableModel


class PartsRenderer(ForwardRenderer):
    """`ForwardRenderer` of a head with its parts, on the vertices of the model alone.

    :param model: the morphable model; the default one has parts.
    :param resolution: pixels of a side, or (H, W).
    :param parts: draw teeth, eyes and the other parts; without them, the model's mesh alone.
    :param shadows: let directional lights cast shadows.
    :param threads: rows are drawn in this many bands at once.
    """

    def __init__(
        self,
        model: MorphableModel,
        resolution: int | tuple[int, int],
        *,
        parts: bool = True,
        shadows: bool = False,
        threads: int = 2,
    ) -> None:
        self._drawn = drawn_head(model, parts)
        super().__init__(
            self._drawn,
            resolution,
            shininess=self._drawn.shininess,
            occlusion=self._drawn.occlusion,
            mouth=self._drawn.mouth,
            shadows=shadows,
            threads=threads,
        )
        self._casting = self._triangles[self._drawn.casting]
        size = (self._height, self._width)
        self._layers = None if self._drawn.parts is None else LayerRenderer(self._drawn.parts, size)

    def set_maps(self, maps: ReflectanceMaps) -> None:
        """Set the head's reflectance maps, the first of their batch; the parts take their tones from them."""
        super().set_maps(with_strip(maps, self._drawn))
        self._map_rows = maps.diffuse.shape[1]  # The strip below them stays when the diffuse map is replaced.

    def render_with_mask(
        self,
        vertices: Float32Array,
        pose: HeadPose,
        camera: Camera,
        light: Light,
        background: Sequence[float] | Float32Array = (0.0, 0.0, 0.0),
    ) -> tuple[UInt8Array, UInt8Array]:
        """As `ForwardRenderer.render_with_mask`, from the model's vertices (V, 3)."""
        posed, light_share = self._drawn.posed(vertices)
        self._occlusion = torch.from_numpy(light_share)
        image, mask = super().render_with_mask(posed, pose, camera, light, background)
        if self._layers is not None:
            self._layers.draw_over(Rendered(image, mask, self._rast), vertices, pose, camera, light)
        return image, mask
