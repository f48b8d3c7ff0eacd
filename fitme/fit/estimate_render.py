"""Renders of a fitted head as its keyframes and other frames show it: with an estimate's pose, expression and light."""

import numpy as np
import torch

from fitme.arrays import UInt8Array
from fitme.color import bytes_to_linear, linear_to_bytes
from fitme.fit.alignment.aligner import camera_of, head_vertices
from fitme.fit.displayed_head import HeadEstimate
from fitme.fit.estimate import KeyframeEstimate
from fitme.geometry import Camera
from fitme.hair.head_renderer import HeadRenderer
from fitme.render.light import Light
from fitme.render.supersampling import averaged_samples, finer_camera
from fitme.shape.morphable_model import MorphableModel

LARGEST_SIDE_PX = 1600
"""Longer side of images whose pixels take several samples: those of larger ones are as fine as the maps' texels."""
HALF_COVERED = 127
"""Coverage code up to which a pixel of a mask is left out."""


class EstimateRenderer:
    """Renders heads with all their parts and hair, of one head and size of image after another; serves one thread at a
    time."""

    def __init__(self, model: MorphableModel) -> None:
        self._model = model
        self._renderer: HeadRenderer | None = None
        self._resolution = (0, 0)
        self._drawn: HeadEstimate | None = None
        """The head whose hair the renderer holds."""

    def render(
        self, head: HeadEstimate, estimate: KeyframeEstimate, camera: Camera, light: Light | None = None
    ) -> tuple[UInt8Array, UInt8Array]:
        """Image (H, W, 3) sRGB over black and mask (H, W), 0 or 255, of a head with an estimate.

        :param camera: the tracker's; the head's focal length replaces its own.
        :param light: batch of 1; None for the estimate's.
        """
        seen_by = camera_of(camera, head.focal)
        supersampled = max(seen_by.width, seen_by.height) <= LARGEST_SIDE_PX
        if supersampled:
            seen_by = finer_camera(seen_by)
        light = light or estimate.illumination.light
        renderer = self._renderer_of(head, (seen_by.height, seen_by.width))
        renderer.set_maps(head.maps_with(estimate.expression))
        renderer.set_glasses(head.glasses)
        vertices = head_vertices(self._model, estimate, head.identity).numpy()
        image, coverage = renderer.render_with_mask(vertices, estimate.pose, seen_by, light)
        if supersampled:
            image = linear_to_bytes(averaged_samples(bytes_to_linear(image)))
            coverage = np.asarray(averaged_samples(coverage.astype(np.float32)), np.uint8)
        return image, np.where(coverage > HALF_COVERED, 255, 0).astype(np.uint8)

    def _renderer_of(self, head: HeadEstimate, resolution: tuple[int, int]) -> HeadRenderer:
        """Renderer of a head at (H, W) pixels, with its hair; the last one where neither has changed."""
        renderer = self._renderer
        if renderer is None or self._resolution != resolution:
            renderer, self._resolution, self._drawn = HeadRenderer(self._model, resolution, threads=1), resolution, None
            self._renderer = renderer
        drawn = self._drawn
        if drawn is None or drawn.hair is not head.hair or not np.array_equal(drawn.identity, head.identity):
            renderer.set_hair(head.hair, self._model, torch.from_numpy(head.identity))
            self._drawn = head
        return renderer
