"""Renders of a fitted head as its keyframes and other frames show it: with an estimate's pose, expression and light."""

import numpy as np
import torch

from fitme.arrays import UInt8Array
from fitme.color import linear_to_bytes
from fitme.fit.alignment.aligner import HeadAligner, camera_of
from fitme.fit.displayed_head import HeadEstimate
from fitme.fit.estimate import KeyframeEstimate
from fitme.geometry import Camera
from fitme.hair.hair import hair_surface
from fitme.hair.renderer import HairRenderer, HeadRender
from fitme.render.light import Light
from fitme.shape.morphable_model import MorphableModel

HALF_COVERED = 127
"""Coverage code up to which a pixel of a mask is left out."""


def render_head(
    head: HeadEstimate, estimate: KeyframeEstimate, camera: Camera, model: MorphableModel, aligner: HeadAligner
) -> tuple[UInt8Array, UInt8Array]:
    """Image (H, W, 3) sRGB over black and mask (H, W), 0 or 255, of a head with an estimate.

    `camera` is the tracker's; the head's focal length replaces its own.
    """
    seen_by = camera_of(camera, head.focal)
    rendering = aligner.draw(estimate, head.identity, seen_by, head.maps_with(estimate.expression))
    image = linear_to_bytes(rendering.image[0].numpy())
    coverage = np.rint(rendering.mask[0, ..., 0].numpy() * 255.0).astype(np.uint8)
    if head.hair is not None:
        with torch.no_grad():
            neutral = model.neutral(torch.from_numpy(head.identity)[None])[0].numpy()
        renderer = HairRenderer((seen_by.height, seen_by.width), threads=1)
        renderer.set_hair(hair_surface(head.hair, model, neutral), head.hair.texture)
        none = torch.zeros(1, 0, 3)
        light = Light(torch.from_numpy(estimate.light_sh)[None], none, none)
        below = HeadRender(image, coverage, rendering.rast[0].numpy())
        image, coverage = renderer.render_over(below, estimate.pose, seen_by, light)
    return image, np.where(coverage > HALF_COVERED, 255, 0).astype(np.uint8)
