"""Baseline of hair: a star-shaped envelope as far out as the keyframes' masks allow, in the mean of their colours.

Of each ray, the thickness is a mean over the keyframes of where their masks end, each in proportion to how sideways the
ray is seen, and bounded by all of them; the colour is that of the keyframes, weighted by the squared cosine of the
viewing angle. Behind the fit's own render without hair: no light is taken out, nothing is transparent, and below the
chin there is none.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from scipy.ndimage import gaussian_filter

from fitme.arrays import Float32Array, Float64Array, UInt8Array
from fitme.avatar import Avatar
from fitme.color import bytes_to_linear
from fitme.fit.displayed_head import HeadEstimate
from fitme.fit.estimate import KeyframeEstimate
from fitme.fit.estimate_render import EstimateRenderer
from fitme.geometry import Camera, HeadPose, axis_angle_from_quaternion
from fitme.hair.envelope import EnvelopeGrid, envelope_grid
from fitme.hair.hair import Hair, hair_surface
from fitme.hair.outline import OutlineView, outline_view
from fitme.hair.renderer import HairRenderer, HeadRender
from fitme.hair.settings import OutlineSettings
from fitme.hair.texels import at_texels, sampled, wide_mean
from fitme.hair.texture import HairTexture, cell_cosines
from fitme.ingest.fit_outputs import REPORT_FILE
from fitme.metrics.head_scores import HeadScore, HeldOutFrame, median_head_score, score_head
from fitme.render.light import Light
from fitme.shape.expressions import EXPRESSION_NAMES
from fitme.shape.morphable_model import MorphableModel
from fitme.track.segmentation import PersonSegmenter

STEPS_M = np.linspace(0.0, 0.14, 57)
"""Thicknesses that are tried on each ray, metres."""
EXPECTED_M, EXPECTED_WEIGHT = 0.012, 1e-3
"""Thickness where no mask ends, and its weight."""
SIDEWAYS_POWER = 6
"""Power of one minus the cosine between ray and viewing direction that weighs a mask's end."""
SMOOTHING_CELLS = 1.0
"""Standard deviation of the filter of the thickness."""
CHIN_LANDMARK_M = -0.11
"""Height of the chin in the model frame: in a keyframe, rows below it show shoulders."""
SEEN_WEIGHT = 0.02
"""Sum of squared cosines from which a texel has a colour of its own."""
PULL_STEPS = (4, 8, 16, 32)
"""Distances in texels over which colours are carried to others."""


@dataclass(frozen=True)
class BaselineView:
    """A keyframe of the baseline."""

    image: UInt8Array
    """(H, W, 3) sRGB."""
    person: Float32Array
    """(H, W) probability that a pixel shows the person."""
    outline: OutlineView
    """Its camera, at the image's size."""


def envelope_score(folder: Path, frames: Sequence[HeldOutFrame], model: MorphableModel) -> HeadScore:
    """Median scores of the baseline on the held-out frames of a fit's output folder."""
    report = json.loads((folder / REPORT_FILE).read_text("utf-8"))
    avatar = Avatar.load(folder)
    bald = HeadEstimate(avatar.identity.numpy(), avatar.focal, avatar.maps, avatar.correctives)
    with torch.no_grad():
        neutral = model.neutral(avatar.identity[None])[0].numpy()
    grid, segmenter = envelope_grid(model, neutral), PersonSegmenter()
    views = [_view(folder, entry, segmenter) for entry in report["keyframes"]]
    segmenter.close()
    hair = envelope_hair(grid, views)
    surface = hair_surface(hair, model, neutral)
    head = EstimateRenderer(model)
    entries = {entry["name"]: entry for entry in report["holdout"]["frames"]}
    scores = []
    for frame in frames:
        entry = entries[frame.name]
        camera, pose = camera_of_json(entry["camera"]), pose_of_json(entry["pose"])
        image, mask = head.render(bald, _estimate(entry, pose), camera)
        renderer = HairRenderer((camera.height, camera.width), threads=1)
        renderer.set_hair(surface, hair.texture)
        nothing = HeadRender(np.zeros_like(image), np.zeros_like(mask), np.zeros((*mask.shape, 4), np.float32))
        behind, cover = renderer.render_over(nothing, pose, camera, Light.ambient(1.0))
        both = np.where((mask > 0)[..., None], image, behind)
        scores.append(score_head(frame, both, np.maximum(mask, cover)))
    return median_head_score(scores)


def envelope_hair(grid: EnvelopeGrid, views: Sequence[BaselineView]) -> Hair:
    """The baseline's thickness and colours."""
    thickness = envelope_thickness(grid, views)
    surface = grid.surface(thickness)
    normals = grid.normals(surface)
    shape = at_texels(grid.skull_m).shape
    color, weight = np.zeros((*shape, 3), np.float32), np.full(shape, 1e-6, np.float32)
    for view in views:
        cosine, pixels = (at_texels(cells) for cells in cell_cosines(view.outline, surface, normals))
        inside = (sampled(view.person, pixels) > 0.6) & (pixels[..., 1] < view.outline.bottom_px)
        share = cosine**2 * inside
        color += share[..., None] * bytes_to_linear(sampled(view.image, pixels))
        weight += share
    known = (weight > SEEN_WEIGHT).astype(np.float32)
    filled = color / weight[..., None] * known[..., None]
    for step in PULL_STEPS:
        near = wide_mean(np.dstack([filled * known[..., None], known]), step)
        missing = (known == 0.0) & (near[..., 3] > SEEN_WEIGHT)
        filled[missing] = near[missing][:, :3] / near[missing][:, 3:]
        known[missing] = 1.0
    coverage = at_texels(np.broadcast_to(grid.origins[..., 1:2] > CHIN_LANDMARK_M, (*thickness.shape, 1)) * 1.0)
    return Hair(thickness.astype(np.float32), HairTexture(filled, coverage.reshape(*shape, 1)))


def envelope_thickness(grid: EnvelopeGrid, views: Sequence[BaselineView]) -> Float64Array:
    """(R, C) metres: on each ray as far out as the masks allow."""
    weight = np.full(grid.skull_m.shape, EXPECTED_WEIGHT)
    total = weight * EXPECTED_M
    bound = np.full(grid.skull_m.shape, STEPS_M[-1])
    for view in views:
        height, width = view.person.shape
        runs, ends = np.ones(bound.shape, bool), np.zeros(bound.shape, bool)
        reach = np.zeros(bound.shape)
        for step in STEPS_M:
            pixels = view.outline.project(grid.surface(np.full(bound.shape, step)))[0]
            outside = (pixels[..., 0] < 0.0) | (pixels[..., 0] >= width) | (pixels[..., 1] < 0.0)
            unknown = outside | (pixels[..., 1] >= min(view.outline.bottom_px, height))
            person = sampled(view.person, pixels) > 0.5
            runs &= person | unknown
            reach = np.where(runs, step, reach)
            ends |= ~person & ~unknown
        towards = view.outline.eye - grid.surface(reach)
        cosine = (towards * grid.directions).sum(-1) / np.linalg.norm(towards, axis=-1)
        share = np.where(ends, np.clip(1.0 - np.abs(cosine), 0.0, 1.0) ** SIDEWAYS_POWER, 0.0)
        total += share * reach
        weight += share
        bound = np.where(ends, np.minimum(bound, reach), bound)
    total, weight = (gaussian_filter(cells, SMOOTHING_CELLS, mode=("nearest", "wrap")) for cells in (total, weight))
    return np.asarray(np.minimum(total / weight, bound))


def camera_of_json(camera: dict[str, Any]) -> Camera:
    """The camera of a report's frame."""
    center_x_px, center_y_px = camera["center_px"]
    return Camera(camera["focal_px"], center_x_px, center_y_px, camera["width"], camera["height"])


def pose_of_json(pose: dict[str, Any]) -> HeadPose:
    """The pose of a report's frame."""
    rotation = axis_angle_from_quaternion(torch.tensor(pose["rotation_xyzw"], dtype=torch.float64))
    return HeadPose(rotation.numpy().astype(np.float32), np.array(pose["translation_m"], np.float32))


def _estimate(entry: dict[str, Any], pose: HeadPose) -> KeyframeEstimate:
    expression = np.array([entry["expression"][name] for name in EXPRESSION_NAMES], np.float32)
    return KeyframeEstimate(pose, expression, np.array(entry["light"]["sh"], np.float32), float("nan"))


def _view(folder: Path, entry: dict[str, Any], segmenter: PersonSegmenter) -> BaselineView:
    image = np.asarray(Image.open(folder / f"{entry['name']}_input.png"))[..., :3]
    person = segmenter.mask(image)
    camera, pose = camera_of_json(entry["camera"]), pose_of_json(entry["pose"])
    extrinsics = pose.opencv_extrinsics()
    whole = OutlineSettings(mask_side_px=max(person.shape))
    outline = outline_view(person, extrinsics, camera, float(person.shape[0]), whole)
    chin = outline.project(np.array([0.0, CHIN_LANDMARK_M, 0.02]))[0]
    return BaselineView(image, person, outline_view(person, extrinsics, camera, float(chin[1]), whole))
