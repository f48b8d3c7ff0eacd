"""Renders of a fitted head as its keyframes and other frames show it: with an estimate's pose, expression and light."""

import numpy as np
import torch

from fitme.arrays import UInt8Array
from fitme.color import linear_to_bytes
from fitme.fit.alignment.aligner import HeadAligner, camera_of
from fitme.fit.displayed_head import HeadEstimate
from fitme.fit.estimate import KeyframeEstimate
from fitme.geometry import Camera
from fitme.hair.hair import Hair, hair_surface
from fitme.hair.renderer import HairRenderer, HeadRender
from fitme.render.light import Light
from fitme.shape.morphable_model import MorphableModel

HALF_COVERED = 127
"""Coverage code up to which a pixel of a mask is left out."""


class EstimateRenderer:
    """Renders heads with estimates, of one head and size of image after another; serves one thread at a time."""

    def __init__(self, model: MorphableModel, aligner: HeadAligner) -> None:
        self._model = model
        self._aligner = aligner
        self._renderer: HairRenderer | None = None
        self._resolution = (0, 0)
        self._drawn: HeadEstimate | None = None
        """The head whose hair the renderer holds."""

    def render(self, head: HeadEstimate, estimate: KeyframeEstimate, camera: Camera) -> tuple[UInt8Array, UInt8Array]:
        """Image (H, W, 3) sRGB over black and mask (H, W), 0 or 255, of a head with an estimate.

        `camera` is the tracker's; the head's focal length replaces its own.
        """
        seen_by = camera_of(camera, head.focal)
        rendering = self._aligner.draw(estimate, head.identity, seen_by, head.maps_with(estimate.expression))
        image = linear_to_bytes(rendering.image[0].numpy())
        coverage = np.rint(rendering.mask[0, ..., 0].numpy() * 255.0).astype(np.uint8)
        if head.hair is not None:
            none = torch.zeros(1, 0, 3)
            light = Light(torch.from_numpy(estimate.light_sh)[None], none, none)
            below = HeadRender(image, coverage, rendering.rast[0].numpy())
            renderer = self._hair_renderer(head, head.hair, (seen_by.height, seen_by.width))
            image, coverage = renderer.render_over(below, estimate.pose, seen_by, light)
        return image, np.where(coverage > HALF_COVERED, 255, 0).astype(np.uint8)

    def _hair_renderer(self, head: HeadEstimate, hair: Hair, resolution: tuple[int, int]) -> HairRenderer:
        """Renderer of a head's hair at (H, W) pixels; the last one where neither has changed."""
        renderer = self._renderer
        if renderer is None or self._resolution != resolution:
            renderer, self._resolution, self._drawn = HairRenderer(resolution, threads=1), resolution, None
            self._renderer = renderer
        drawn = self._drawn
        if drawn is None or drawn.hair is not hair or not np.array_equal(drawn.identity, head.identity):
            with torch.no_grad():
                neutral = self._model.neutral(torch.from_numpy(head.identity)[None])[0].numpy()
            renderer.set_hair(hair_surface(hair, self._model, neutral), hair.texture)
            self._drawn = head
        return renderer
