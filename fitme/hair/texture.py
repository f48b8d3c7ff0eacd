"""Fusion of the hair's albedo and coverage from several images into the envelope's texture.

Each image gives every texel that it sees a de-lit colour and a probability of hair. Low frequencies are averaged over
the images, high ones come mostly from the image that sees a texel best, so that strands stay sharp. Texels that no
image saw take the colour of their neighbours (pull-push) and the coverage of a prior: hair on the scalp, none on the
face.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import torch

from fitme.arrays import Float32Array, Float64Array
from fitme.hair.envelope import COLUMNS, EnvelopeGrid, closed
from fitme.hair.likelihood import HairPixels
from fitme.hair.outline import OutlineView
from fitme.hair.shading import LEAST_SHADING, mean_irradiance, softened
from fitme.render.shading import sh_basis
from fitme.shape.regions import Region

TEXTURE_ROWS, TEXTURE_COLUMNS = 384, 768
"""Texels of the envelope: some 0.8 mm each."""
BROAD_POWER, SHARP_POWER = 2.0, 16.0
"""Powers of the cosine between normal and viewing direction that weigh images, for low and for high frequencies."""
BAND_TEXELS = 4.0
"""Standard deviation of the filter between low and high frequencies."""
WRAP_TEXELS = 16
"""Columns that are repeated across the seam at the back before a texture is filtered."""
LEAST_WEIGHT = 0.3
"""Broad weight, in the image that sees it best, from which a texel counts as seen: inclined by 57 degrees."""
LEAST_BESIDE_WEIGHT = 0.02
"""The same for the coverage of texels beside the scalp, which are seen at outlines only: ears, long hair."""
PULL_STEPS = (2, 4, 8, 16, 32, 64)
"""Distances in texels over which colours are carried to unseen texels."""
LEAST_NEAR = 0.05
"""Share of known texels within such a distance from which their mean is taken."""
GAP_TEXELS = 9
"""Gap in hair that is bridged where it is told from what does not hang on the scalp."""
JAW_BOTTOM_M = -0.105
"""Height of the jaw in the model frame: above it nothing but the head's own parts stands off it."""
HANGING_COVERAGE = 0.5
"""Least coverage on the way down from the scalp at which what lies below still counts fully."""
BALD_SHARE, HAIRY_SHARE = 0.1, 0.4
"""Mean coverage of the scalp that was seen at which the unseen part is taken for bare, and for covered."""
OTHER_SHARE = 0.02
"""Weight of texels beside the scalp, such as ears, in the colour of unseen hair."""
LEAST_IRRADIANCE = 1e-3
"""Mean irradiance that an image has at least."""
ALBEDO_RANGE = (0.004, 0.9)
"""Of hair, linear."""
LEAST_COVERAGE = 0.02
"""Coverage below which a texel shows nothing."""


@dataclass(frozen=True)
class HairView:
    """One image of the hair."""

    outline: OutlineView
    """Its camera, at the size of the arrays below."""
    linear: Float32Array
    """(H, W, 3) linear light."""
    hair: HairPixels
    """Of the same image (H, W)."""
    hidden: Float32Array
    """(H, W) 1 where something lies before the envelope, 0 elsewhere."""
    light_sh: Float32Array
    """(9, 3) as `fitme.render.light.Light.sh`, view frame."""
    sharpness: float
    """Weight of the image among others, > 0."""


@dataclass(frozen=True)
class HairTexture:
    """Reflectance of the envelope, T rows from the crown down and U columns round the head from the back."""

    albedo: Float32Array
    """(T, U, 3) linear diffuse albedo."""
    coverage: Float32Array
    """(T, U, 1) in [0, 1]: how much of what lies behind it the hair hides."""


def fuse_texture(grid: EnvelopeGrid, thickness_m: Float64Array, views: Sequence[HairView]) -> HairTexture:
    """Albedo and coverage of an envelope of thickness (R, C) by all images of it."""
    surface = grid.surface(thickness_m)
    normals = grid.normals(surface)
    shape = (TEXTURE_ROWS, TEXTURE_COLUMNS)
    broad, sharp = _Sums(shape), _Sums(shape)
    covered, seen, best = (np.zeros(shape, np.float32) for _ in range(3))
    for view in views:
        cosine, pixels = _cosines(view, surface, normals)
        probability = _sampled(view.hair.probability, pixels)
        visible = cosine * (1.0 - _sampled(view.hidden, pixels))
        weight = view.sharpness * visible**BROAD_POWER
        covered += weight * probability
        seen += weight
        best = np.maximum(best, weight)
        color, certain = _delit(view, pixels, normals)
        broad.add(color, certain, weight)
        sharp.add(color, certain, view.sharpness * visible**SHARP_POWER)
    coverage = _coverage(grid, covered / np.maximum(seen, 1e-8), best) * at_texels(grid.hairy.astype(np.float64))
    coverage = _hanging(grid, coverage)
    scalp = at_texels((grid.region == int(Region.SCALP)).astype(np.float64))
    albedo = _combined(broad, sharp, np.maximum(scalp, OTHER_SHARE))
    return HairTexture(albedo, np.where(coverage > LEAST_COVERAGE, coverage, 0.0)[..., None].astype(np.float32))


def at_texels(cells: Float64Array) -> Float32Array:
    """(T, U, ...) values at the texels' centres of values (R, C, ...) at the cells."""
    rows = len(cells)
    down = (1.0 - (np.arange(TEXTURE_ROWS) + 0.5) / TEXTURE_ROWS) * (rows - 1)
    across = (np.arange(TEXTURE_COLUMNS) + 0.5) / TEXTURE_COLUMNS * COLUMNS
    x, y = np.meshgrid(across.astype(np.float32), down.astype(np.float32))
    return np.asarray(cv2.remap(closed(cells).astype(np.float32), x, y, cv2.INTER_LINEAR), np.float32)


class _Sums:
    """Weighted sums of colours."""

    def __init__(self, shape: tuple[int, int]) -> None:
        self.color = np.zeros((*shape, 3), np.float32)
        self.weight = np.full(shape, 1e-8, np.float32)
        self.best = np.zeros(shape, np.float32)
        """Weight in the image that sees a texel best."""

    def add(self, color: Float32Array, certain: Float32Array, weight: Float32Array) -> None:
        """Add colours that are multiplied with their certainty already."""
        self.color += weight[..., None] * color
        self.weight += weight * certain
        self.best = np.maximum(self.best, weight * certain)

    def mean(self) -> Float32Array:
        return self.color / self.weight[..., None]


def _cosines(view: HairView, surface: Float64Array, normals: Float64Array) -> tuple[Float32Array, Float32Array]:
    """Cosines (T, U) between normals and viewing direction, 0 where a texel is turned away or outside; pixels.

    Both are smooth over the envelope: computed at its cells (R, C, 3), and interpolated.
    """
    towards = view.outline.eye - surface
    cosine = at_texels((normals * towards).sum(-1) / np.linalg.norm(towards, axis=-1))
    pixels = at_texels(view.outline.project(surface)[0])
    height, width = view.linear.shape[:2]
    inside = (pixels > 0.0).all(-1) & (pixels[..., 0] < width) & (pixels[..., 1] < height)
    return np.asarray(np.where(inside, np.maximum(cosine, 0.0), 0.0), np.float32), pixels


def _delit(view: HairView, pixels: Float32Array, normals: Float64Array) -> tuple[Float32Array, Float32Array]:
    """Albedo (T, U, 3) that an image shows, times its certainty, and the certainty (T, U).

    Albedo is the image's colour over the shading of hair at the cells' normals (R, C, 3). Colours are multiplied with
    their certainty before they are interpolated, so that a bright background does not bleed into dark hair.
    """
    # Normals in the view frame, whose y and z are opposite to the camera's.
    facing = normals @ (view.outline.rotation * np.array([[1.0], [-1.0], [-1.0]])).T
    basis = sh_basis(torch.from_numpy(facing)).numpy()
    floor = LEAST_SHADING * np.maximum(mean_irradiance(view.light_sh), LEAST_IRRADIANCE)
    shading = np.maximum(basis @ softened(view.light_sh).astype(np.float64), floor)
    certainty = view.hair.certainty
    weighted = _sampled(np.dstack([view.linear * certainty[..., None], certainty]), pixels)
    return weighted[..., :3] / at_texels(shading), weighted[..., 3]


def _coverage(grid: EnvelopeGrid, shown: Float32Array, best: Float32Array) -> Float32Array:
    """(T, U) coverage: as seen, and on unseen texels hair on the scalp as dense as on the scalp that was seen."""
    scalp = at_texels((grid.region == int(Region.SCALP)).astype(np.float64))
    # At outlines masks are undecided: on the scalp hair is more likely than what they show there.
    known = np.clip(best / np.where(scalp > 0.5, LEAST_WEIGHT, LEAST_BESIDE_WEIGHT), 0.0, 1.0)
    on_scalp = known * scalp
    share = float((shown * on_scalp).sum() / max(on_scalp.sum(), 1e-6)) if on_scalp.sum() > 1.0 else 1.0
    density = float(np.clip((share - BALD_SHARE) / (HAIRY_SHARE - BALD_SHARE), 0.0, 1.0))
    expected = _wide_mean(scalp, PULL_STEPS[1]) * density
    return np.asarray(known * shown + (1.0 - known) * expected, np.float32)


def _hanging(grid: EnvelopeGrid, coverage: Float32Array) -> Float32Array:
    """Coverage (T, U) of what hangs down from the scalp without a gap: collars and shoulders do not."""
    scalp = at_texels((grid.region == int(Region.SCALP)).astype(np.float64))
    # Small gaps between strands are bridged.
    padded = cv2.copyMakeBorder(coverage, 0, 0, WRAP_TEXELS, WRAP_TEXELS, cv2.BORDER_WRAP)
    bridged = cv2.dilate(padded, np.ones((GAP_TEXELS, GAP_TEXELS), np.uint8))[:, WRAP_TEXELS:-WRAP_TEXELS]
    reached = np.minimum.accumulate(np.maximum(bridged, (scalp > 0.0).astype(np.float32)), axis=0)
    share = np.clip(reached / HANGING_COVERAGE, 0.0, 1.0)
    below_jaw = at_texels(grid.origins[..., 1]) < JAW_BOTTOM_M
    return np.asarray(np.where(below_jaw, coverage * share, coverage), np.float32)


def _combined(broad: _Sums, sharp: _Sums, likely: Float32Array) -> Float32Array:
    """(T, U, 3) albedo: low frequencies of one mean, high ones of the other, spread over unseen texels.

    :param likely: (T, U) weight of the texels from which unseen ones take their colour.
    """
    low = _spread(broad.mean(), np.clip(broad.best / LEAST_WEIGHT, 0.0, 1.0), likely)
    own = sharp.weight > 1e-6
    detail = np.where(own[..., None], sharp.mean(), low)
    difference = cv2.copyMakeBorder(low - detail, 0, 0, WRAP_TEXELS, WRAP_TEXELS, cv2.BORDER_WRAP)
    difference = cv2.GaussianBlur(difference, (0, 0), BAND_TEXELS)[:, WRAP_TEXELS:-WRAP_TEXELS]
    return np.asarray(np.clip(detail + difference, *ALBEDO_RANGE), np.float32)


def _spread(color: Float32Array, known: Float32Array, likely: Float32Array) -> Float32Array:
    """(T, U, 3) colours, those of unknown texels by their known neighbours, near ones first (pull-push)."""
    source = known * likely
    weighted = np.concatenate([color * source[..., None], source[..., None]], -1)
    filled, share = color * known[..., None], known.copy()
    for step in PULL_STEPS:
        near = _wide_mean(weighted, step)
        missing = (1.0 - share) * np.clip(near[..., 3] / LEAST_NEAR, 0.0, 1.0)
        filled += missing[..., None] * near[..., :3] / np.maximum(near[..., 3:], 1e-6)
        share += missing
    mean = weighted[..., :3].sum((0, 1)) / max(float(source.sum()), 1e-6)
    return np.asarray(filled + (1.0 - share)[..., None] * mean, np.float32)


def _wide_mean(texels: Float32Array, step: int) -> Float32Array:
    """Texels (T, U, ...) averaged over some `step` texels to each side, round the head."""
    height, width = texels.shape[:2]
    small = cv2.resize(texels, (width // step, height // step), interpolation=cv2.INTER_AREA)
    border = 4
    padded = cv2.copyMakeBorder(small, 0, 0, border, border, cv2.BORDER_WRAP)
    smooth = cv2.GaussianBlur(padded, (0, 0), 1.0)
    wide = cv2.resize(smooth, (padded.shape[1] * step, height), interpolation=cv2.INTER_LINEAR)
    return np.asarray(wide[:, border * step : border * step + width], np.float32)


def _sampled(image: Float32Array, pixels: Float32Array) -> Float32Array:
    """Bilinear samples (T, U, ...) of an image at pixels (T, U, 2); 0 outside."""
    x, y = (np.ascontiguousarray(pixels[..., axis]) - np.float32(0.5) for axis in range(2))
    return np.asarray(cv2.remap(image, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT), np.float32)
