"""Hair in one image: a window round the head, its outline, and the hair's probability and colour in it."""

from dataclasses import dataclass, replace
from typing import TypeVar

import cv2
import numpy as np
import torch

from fitme.arrays import BoolArray, Float32Array, Float64Array, Int64Array, UInt8Array
from fitme.color import bytes_to_linear
from fitme.geometry import Camera, HeadPose
from fitme.hair.envelope import brow_height_m, closed, envelope_triangles, may_fall
from fitme.hair.hanging import hanging_person, hanging_rows
from fitme.hair.likelihood import HairPixels, HeadPixels, hair_pixels
from fitme.hair.matte import HairMatte, hair_matte
from fitme.hair.outline import OutlineView, outline_view
from fitme.hair.settings import OutlineSettings
from fitme.hair.texture import HairView
from fitme.render.rasterizer import RasterizerBackend
from fitme.shape.morphable_model import MorphableModel
from fitme.shape.regions import Region

WINDOW_OVER_FACE = 2.6
"""Side of the window over the height of the face: hair that stands off by as much as a hand fits in."""
WINDOW_RISE = 0.12
"""Share of the window's side by which its middle lies above the face's."""
WINDOW_PX = 384
"""Pixels of a side of the window, at most."""
FINE_FACTOR = 3
"""Pixels of a side of the window's image, whose detail the hair's texture takes, over those of the window, at most."""
PREFILTER, PREFILTER_BELOW = 0.4, 0.5
"""Standard deviation, in pixels of the window, of the filter before an image is reduced; scale from which it is."""
HAIR_FROM = 0.5
"""Probability from which a pixel shows hair."""
BORDER_PX = 2
"""Pixels at the border of an image, whose edges are the image's own."""


Pixels = TypeVar("Pixels", Float32Array, UInt8Array)


@dataclass(frozen=True)
class HairFrame:
    """An image of a head whose shape, pose and light are known."""

    image: UInt8Array
    """(H, W, 3) sRGB."""
    person: Float32Array
    """(H, W) probability that a pixel shows the person."""
    oval: Float32Array
    """(36, 2) outline of the face, pixels."""
    vertices: Float32Array
    """(V, 3) the head with its expression, model frame."""
    pose: HeadPose
    camera: Camera
    light_sh: Float32Array
    """(9, 3) as `fitme.render.light.Light.sh`, view frame."""
    sharpness: float
    """Of the image, > 0."""


@dataclass(frozen=True)
class HairWindow:
    """The part of an image that may show the head's hair."""

    outline: OutlineView
    hair: HairPixels
    matte: HairMatte
    """Of the same window, up to `FINE_FACTOR` times as fine; covered fully on the head's mesh."""
    clip: torch.Tensor
    """(1, V, 4) the head's vertices in clip space."""
    light_sh: Float32Array
    sharpness: float


def hair_window(
    frame: HairFrame, model: MorphableModel, backend: RasterizerBackend, settings: OutlineSettings
) -> HairWindow:
    """Cut out the head of a frame and tell its hair. Some 40 ms on one core."""
    head = _head_window(frame, model, backend)
    person, region, camera, pixels = head.person, head.pixels.region, head.camera, head.pixels
    # The outline is that of the head alone: hair that hangs, but no shoulders.
    shown = head.hair.probability > HAIR_FROM
    bottom = hanging_rows(shown, pixels.chin_px, head.middle_px, pixels.face_px)
    outer = hanging_person(person, shown, region >= 0, pixels.chin_px, head.middle_px, bottom, pixels.face_px)
    outline = outline_view(outer, head.extrinsics, camera, max(pixels.chin_px, float(bottom)), settings)
    outline = replace(outline, slope=outline.slope * head.inside[..., None])
    # Strands are told from what is between them in finer pixels than the rest.
    size = camera.height
    fine = min(FINE_FACTOR * size, max(round(head.side_px), size))
    image = _cut(frame.image, head.left_px, head.top_px, fine / head.side_px, fine)
    beside = region == -1
    found = hair_matte(image, head.linear, head.hair.alike * beside, person, pixels.face_px)
    beside_fine = cv2.resize(beside.astype(np.float32), (fine, fine), interpolation=cv2.INTER_LINEAR)
    # What lies on the head has nothing of the background behind it.
    color = bytes_to_linear(image)
    matte = HairMatte(
        1.0 - beside_fine * (1.0 - found.coverage), color + beside_fine[..., None] * (found.color - color)
    )
    return HairWindow(outline, head.hair, matte, head.clip, frame.light_sh, frame.sharpness)


def hair_over_skin(frame: HairFrame, model: MorphableModel, backend: RasterizerBackend) -> Float32Array:
    """(H, W) probability that a pixel shows hair before an ear, or before a cheek at the side of the face."""
    head = _head_window(frame, model, backend)
    middles = frame.vertices[model.triangles.numpy()].mean(1)
    region = model.triangle_region.numpy()
    beside = may_fall(middles.astype(np.float64), np.inf) & (middles[:, 1] < brow_height_m(model, frame.vertices))
    falls = (region == int(Region.EARS)) | ((region == int(Region.SKIN)) & beside)
    shown = (head.triangle >= 0) & falls[np.maximum(head.triangle, 0)]
    before = (head.hair.probability * shown).astype(np.float32)
    # Back to the image's pixels.
    camera = head.camera
    scale = camera.focal_px / frame.camera.focal_px
    shift = np.array([camera.center_x_px, camera.center_y_px]) - scale * np.array(
        [frame.camera.center_x_px, frame.camera.center_y_px]
    )
    height, width = frame.person.shape
    to_image = np.array([[1.0 / scale, 0.0, -shift[0] / scale], [0.0, 1.0 / scale, -shift[1] / scale]])
    return np.asarray(cv2.warpAffine(before, to_image, (width, height), flags=cv2.INTER_LINEAR), np.float32)


@dataclass(frozen=True)
class _HeadWindow:
    """The square part of an image that may show a head and its hair, S pixels a side, and what its pixels show."""

    left_px: float
    top_px: float
    side_px: float
    """Left edge, top edge and side in pixels of the whole image."""
    linear: Float32Array
    """(S, S, 3) linear light."""
    person: Float32Array
    """(S, S) probability that a pixel shows the person."""
    inside: BoolArray
    """(S, S) whether a pixel lies inside of the image, off its border."""
    camera: Camera
    extrinsics: Float32Array
    """(4, 4) OpenCV's, of the head."""
    clip: torch.Tensor
    """(1, V, 4) the head's vertices in clip space."""
    triangle: Int64Array
    """(S, S) triangle of the head's mesh, -1 where there is none."""
    middle_px: float
    """Column of the face's middle."""
    pixels: HeadPixels
    hair: HairPixels


def _head_window(frame: HairFrame, model: MorphableModel, backend: RasterizerBackend) -> _HeadWindow:
    """Cut out the head of a frame, draw its mesh, and tell its hair by place and colour."""
    low, high = frame.oval.min(0), frame.oval.max(0)
    face_px = float(high[1] - low[1])
    side = WINDOW_OVER_FACE * face_px
    left, top = (low + high) / 2.0 - np.array([0.5, 0.5 + WINDOW_RISE]) * side
    size = min(WINDOW_PX, max(round(side), 16))
    scale = size / side
    person = _cut(frame.person, left, top, scale, size)
    linear = _cut(bytes_to_linear(frame.image), left, top, scale, size)
    camera = frame.camera.window(float(left), float(top), side, size)
    # The mesh, in OpenCV's axes and then in the renderer's.
    extrinsics = frame.pose.opencv_extrinsics()
    rotation, translation = torch.from_numpy(extrinsics[:3, :3]), torch.from_numpy(extrinsics[:3, 3])
    view = torch.from_numpy(frame.vertices) @ rotation.T + translation
    clip = camera.clip(view * torch.tensor([1.0, -1.0, -1.0]))[None].contiguous()
    rast = backend.rasterize(clip, model.triangles.int(), (size, size))[0, ..., 3].numpy()
    triangle = rast.astype(np.int64) - 1
    region = np.where(triangle >= 0, model.triangle_region.numpy()[np.maximum(triangle, 0)], -1)
    oval = _polygon((frame.oval - np.array([left, top])) * scale, size)
    middles = frame.vertices[model.triangles.numpy()].mean(1).astype(np.float64)
    falling = may_fall(middles, brow_height_m(model, frame.vertices))
    fringe = (region == int(Region.SKIN)) & falling[np.maximum(triangle, 0)]
    chin_px = float((high[1] - top) * scale)
    pixels = HeadPixels(region.astype(np.int64), oval, fringe, chin_px, face_px * scale)
    inside = _cut(_interior(frame.image.shape), left, top, scale, size) > 0.5
    return _HeadWindow(
        float(left), float(top), side, linear, person, inside, camera, extrinsics, clip, triangle,
        float((frame.oval[:, 0].mean() - left) * scale), pixels, hair_pixels(linear, person * inside, pixels),
    )  # fmt: skip


def hair_view(window: HairWindow, surface: Float64Array, model: MorphableModel, backend: RasterizerBackend) -> HairView:
    """What a window shows of an envelope whose surface (R, C, 3) is known."""
    size = window.hair.probability.shape[0]
    points = torch.from_numpy(closed(surface).reshape(-1, 3).astype(np.float32))
    outline = window.outline
    seen = points @ torch.from_numpy(outline.rotation.T.astype(np.float32)) + torch.from_numpy(
        outline.translation.astype(np.float32)
    )
    clip = torch.cat([window.clip, outline.camera.clip(seen * torch.tensor([1.0, -1.0, -1.0]))[None]], 1).contiguous()
    envelope = torch.from_numpy(envelope_triangles() + window.clip.shape[1])
    triangles = torch.cat([model.triangles.int(), envelope.int()]).contiguous()
    rast = backend.rasterize(clip, triangles, (size, size))[0, ..., 3].numpy()
    hidden = ((rast > 0.0) & (rast <= len(model.triangles))).astype(np.float32)
    return HairView(outline, window.matte, window.hair, hidden, window.light_sh, window.sharpness)


def _cut(image: Pixels, left: float, top: float, scale: float, size: int) -> Pixels:
    """Window (`size`, `size`, ...) of an image; what lies outside repeats the border."""
    to_window = np.array([[scale, 0.0, (0.5 - left) * scale - 0.5], [0.0, scale, (0.5 - top) * scale - 0.5]])
    smooth = cv2.GaussianBlur(image, (0, 0), PREFILTER / scale) if scale < PREFILTER_BELOW else image
    window = cv2.warpAffine(smooth, to_window, (size, size), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(window, image.dtype)


def _interior(shape: tuple[int, ...]) -> Float32Array:
    """(H, W) 1 inside of an image, 0 along its border."""
    inside = np.zeros(shape[:2], np.float32)
    inside[BORDER_PX:-BORDER_PX, BORDER_PX:-BORDER_PX] = 1.0
    return inside


def _polygon(points: Float32Array, size: int) -> BoolArray:
    """(`size`, `size`) inside of the convex hull of points (N, 2)."""
    mask = np.zeros((size, size), np.uint8)
    cv2.fillConvexPoly(mask, cv2.convexHull(np.rint(points).astype(np.int32)), (1.0,))
    return mask.astype(np.bool_)
