"""The person's teeth in the head's map, as images of open mouths show them.

Upper teeth stand still in the head and lower ones in the jaw, so that images of different smiles show the same tooth at
the same texel. Where lips are not quite where the fit has them, a lip, a tongue or the dark of the mouth lies there
instead: what is redder than enamel beside the person's skin does not count.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np
import torch
from scipy.sparse import csr_array

from fitme.arrays import Float32Array, IndexArray, UInt8Array
from fitme.color import LUMINANCE, bytes_to_linear
from fitme.fit.alignment.aligner import camera_of, head_vertices, in_view
from fitme.fit.estimate import KeyframeEstimate
from fitme.fit.lighting.spherical_harmonics import lit_surface
from fitme.fit.texture.divided_light import MAXIMAL_ALBEDO
from fitme.fit.texture.unprojection import sample_image
from fitme.geometry import Camera
from fitme.parts.drawn_head import drawn_head
from fitme.parts.textures import ENAMEL_SPECULAR, teeth_shades
from fitme.ramp import linear_ramp
from fitme.render.cpu.depth import depth_image
from fitme.shape.morphable_model import MorphableModel
from fitme.shape.normals import vertex_normals

LIPS_BEFORE_M = 0.004
"""Depth behind the nearest surface beyond which lips hide a tooth: the model's own row is up to 3 mm before it."""
GRAZING_COSINE = 0.2
"""Cosine between normal and viewing direction below which a tooth is not sampled."""
ENAMEL_RED, FLESH_RED = 0.85, 1.0
"""Red over green, over that of the person's skin, up to which what an image shows is enamel, and from which it is
flesh: 0.69 to 0.87 of teeth in clips and photos, 1.1 and more of lips and gums."""
LEAST_LIGHT, FULL_LIGHT = 0.05, 0.15
"""Shares of the surroundings' light that reach a tooth between which an image of it begins to count."""
LEAST_LUMINANCE = 0.25
"""Luminance over that of the skin below which an image shows the dark between or behind teeth."""
DETAIL_POWER = 3.0
"""Exponent of a view's weight: teeth are as sharp as in the view that shows them best."""
LEAST_SHADE = 0.3
"""Least common shade by which what images show is divided."""


@dataclass(frozen=True, eq=False)
class TeethTexels:
    """T texels of the bands in which the rows of teeth lie, on the lips' side of the parts' teeth."""

    rows: IndexArray
    """(T,) row in the head's map."""
    columns: IndexArray
    """(T,) column."""
    weights: csr_array
    """(T, V + N) float32 barycentric coordinates on the drawn head."""
    shades: Float32Array
    """(T, 3) of the parts' texture there (`fitme.parts.textures.teeth_shades`)."""


@dataclass(frozen=True, eq=False)
class TeethView:
    """Teeth as one image shows them."""

    albedo: Float32Array
    """(T, 3) linear, de-lit."""
    weight: Float32Array
    """(T,) in [0, 1]: 0 where lips hide the tooth, it is seen at a graze, or hardly any light reaches it."""


@dataclass(frozen=True, eq=False)
class ShownTeeth:
    """Enamel as images show it, without the shades that all teeth have in common."""

    texels: TeethTexels
    """Where."""
    albedo: Float32Array
    """(T, 3) linear."""
    weight: Float32Array
    """(T,) summed weight of the images over the greatest sharpness; 0 where none shows a tooth."""


@lru_cache(maxsize=2)
def teeth_texels(model: MorphableModel, resolution: int) -> TeethTexels | None:
    """Bands of a model's rows of teeth in maps of a resolution; cached. None for a model without parts."""
    drawn = drawn_head(model)
    if drawn.parts is None or drawn.teeth is None:
        return None
    shades = teeth_shades(drawn.parts)
    height, width = shades.shape[:2]
    rows, columns, corners, barycentric, found = [], [], [], [], []
    for row in drawn.teeth.rows:
        (place,) = (part.place for part in drawn.opaque if part.part is row.part)
        coverage, (down, across) = row.surface(resolution)
        # Texels between two teeth belong to the nearest one.
        empty = (coverage.triangle < 0).astype(np.uint8)
        _, label = cv2.distanceTransformWithLabels(empty, cv2.DIST_L2, 3, labelType=cv2.DIST_LABEL_PIXEL)
        at = np.zeros(label.max() + 1, np.int64)
        at[label[empty == 0]] = np.flatnonzero(empty.ravel() == 0)
        nearest = at[label].ravel()
        triangle = coverage.triangle.ravel()[nearest]
        shape = coverage.triangle.shape
        y, x = (
            grid.ravel()
            for grid in np.mgrid[down.start : down.start + shape[0], across.start : across.start + shape[1]]
        )
        rows.append(y)
        columns.append(x)
        corners.append(row.part.triangles[triangle] + place.start)
        weights = coverage.barycentric.reshape(-1, 3)[nearest]
        barycentric.append(weights)
        uv = (row.part.uv[row.part.uv_triangles[triangle]] * weights[..., None]).sum(1) * (width, height) - 0.5
        u, v = uv.astype(np.float32).T
        found.append(cv2.remap(shades, u[None], v[None], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)[0])
    corner, weight = np.concatenate(corners), np.concatenate(barycentric)
    starts = np.arange(0, corner.size + 1, 3)
    matrix = csr_array((weight.ravel(), corner.ravel(), starts), shape=(len(corner), len(drawn.occlusion)))
    return TeethTexels(np.concatenate(rows), np.concatenate(columns), matrix, np.concatenate(found))


def view_of_teeth(
    model: MorphableModel,
    texels: TeethTexels,
    estimate: KeyframeEstimate,
    identity: Float32Array,
    focal: float,
    camera: Camera,
    image: UInt8Array,
    usable: Float32Array,
) -> TeethView | None:
    """Teeth in an image (H, W, 3) sRGB; None where the mouth is closed.

    :param identity: (K,) standard deviations.
    :param focal: focal length over the longer side of the image; replaces that of `camera`.
    :param usable: (H, W) in [0, 1] weights of pixels.
    """
    drawn, seen_by = drawn_head(model), camera_of(camera, focal)
    head = head_vertices(model, estimate, identity).numpy()
    vertices, light = drawn.posed(head)
    if drawn.mouth.opening(torch.from_numpy(vertices)) == 0.0:
        return None
    reached = drawn.mouth.apply(torch.from_numpy(light), torch.from_numpy(vertices)).numpy()
    view = in_view(torch.from_numpy(vertices), estimate)
    surface = depth_image(view[: len(head)], model.triangles, seen_by)

    normals = vertex_normals(view[None], drawn.triangles)[0].numpy()
    points, normal, reached = (texels.weights @ values for values in (view.numpy(), normals, reached[:, None]))
    normal /= np.maximum(np.linalg.norm(normal, axis=1, keepdims=True), 1e-9)
    toward = -points / np.linalg.norm(points, axis=1, keepdims=True)
    pixels = seen_by.project(torch.from_numpy(points)).numpy()
    hidden = -points[:, 2] > sample_image(surface, pixels, cv2.INTER_NEAREST) + LIPS_BEFORE_M
    facing = linear_ramp((normal * toward).sum(1), (GRAZING_COSINE, 1.0))
    color = sample_image(bytes_to_linear(image), pixels, cv2.INTER_LINEAR)

    # The renderer's own light on the teeth, the shade of the lips included: renders show what the image shows.
    lit = lit_surface(normal, toward, np.full((len(points), 1), ENAMEL_SPECULAR, np.float32), reached)
    illumination = estimate.illumination.unshadowed_sh
    albedo = np.maximum(color - lit.specular_term(illumination), 0.0) / lit.shading(illumination)
    usable_there = sample_image(usable, pixels, cv2.INTER_LINEAR)
    weight = facing * usable_there * ~hidden * linear_ramp(reached[:, 0], (LEAST_LIGHT, FULL_LIGHT))
    return TeethView(np.asarray(albedo, np.float32), np.asarray(weight, np.float32))


def shown_teeth(texels: TeethTexels, views: Sequence[tuple[TeethView, float]], skin: Float32Array) -> ShownTeeth | None:
    """Teeth from images of all expressions; None without any.

    :param views: and the sharpness of each.
    :param skin: (3,) linear albedo of the person's skin.
    """
    if not views:
        return None
    count = len(texels.rows)
    total, powers = np.zeros(count, np.float32), np.zeros((count, 1), np.float32)
    color = np.zeros((count, 3), np.float32)
    sharpest = max(sharpness for _, sharpness in views)
    for view, sharpness in views:
        red = view.albedo[:, 0] * skin[1] / np.maximum(view.albedo[:, 1] * skin[0], 1e-4)
        enamel = 1.0 - linear_ramp(red, (ENAMEL_RED, FLESH_RED))
        bright = view.albedo @ LUMINANCE >= LEAST_LUMINANCE * float(skin @ LUMINANCE)
        seen = view.weight * (sharpness / sharpest) * enamel * bright
        power = (seen**DETAIL_POWER)[:, None]
        total += seen
        powers += power
        color += power * view.albedo
    albedo = color / np.maximum(powers, 1e-12) / np.maximum(texels.shades, LEAST_SHADE)
    return ShownTeeth(texels, np.asarray(np.minimum(albedo, MAXIMAL_ALBEDO), np.float32), total)
