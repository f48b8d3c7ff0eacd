"""Fusion of the hair's albedo and coverage from several images into the envelope's texture.

Each image gives every texel that it sees a de-lit colour and a probability of hair. Low frequencies are averaged over
the images, high ones come mostly from the image that sees a texel best, so that strands stay sharp. Texels that no
image saw take the colour of seen hair at the same height, of which highlights are left out, and a pattern of strands
as contrasty as that of seen hair; their coverage is that of similar hair styles (`fitme.hair.coverage`).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import torch

from fitme.arrays import Float32Array, Float64Array
from fitme.hair.coverage import LEAST_WEIGHT, completed_coverage
from fitme.hair.envelope import EnvelopeGrid
from fitme.hair.likelihood import HairPixels
from fitme.hair.matte import HairMatte
from fitme.hair.outline import OutlineView
from fitme.hair.shading import LEAST_SHADING, mean_irradiance, softened
from fitme.hair.statistics import contrasts, curliness
from fitme.hair.strands import HairKind, hair_locks
from fitme.hair.texels import TEXTURE_COLUMNS, TEXTURE_ROWS, at_texels, blurred, sampled, wide_mean
from fitme.render.shading import sh_basis
from fitme.shape.regions import Region

BROAD_POWER, SHARP_POWER = 2.0, 48.0
"""Powers of the cosine between normal and viewing direction that weigh images, for low and for high frequencies."""
SHARPNESS_POWER = 4.0
"""Power of the images' sharpness in the weights for high frequencies."""
BAND_TEXELS = 4.0
"""Standard deviation of the filter between low and high frequencies."""
PULL_STEPS = (2, 4, 8)
"""Distances in texels over which colours are carried to unseen texels."""
LEAST_NEAR = 0.05
"""Share of known texels within such a distance from which their mean is taken."""
HEIGHT_TEXELS = 24.0
"""Standard deviation of the filter of the hair's colour along its height."""
WHOLE_SHARE = 0.02
"""Weight of the mean colour of all hair in that of each height, over the texels of a row."""
HIGHLIGHT_POWER = 2.0
"""Power of its luminance by which a texel counts less in the colour of unseen hair."""
HIGHLIGHT_FLOOR = 0.8
"""Luminance up to which all texels count alike there, over the mean."""
HIGHLIGHT_RATIO, HIGHLIGHT_GAMMA = 2.0, 0.5
"""Luminance over the typical one above which it is a highlight, and the exponent that compresses it there."""
MELANIN_SLOPE = 0.45
"""Log of red over green over log of green over blue of eumelanin, whose absorption falls with the wavelength's power of
3.3 (Jacques and McAuliffe, "The Melanosome", 1991); pheomelanin is redder."""
DYED = (0.2, 0.3)
"""Missing log of red over green from which hair counts as dyed, and at which nothing is mended any more."""
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
    matte: HairMatte
    """Of the same window, in pixels (D, D) of its own."""
    hair: HairPixels
    """Of the same window (S, S)."""
    hidden: Float32Array
    """(S, S) 1 where something lies before the envelope, 0 elsewhere."""
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


def fuse_texture(
    grid: EnvelopeGrid,
    thickness_m: Float64Array,
    views: Sequence[HairView],
    expected: Float64Array,
    long: bool,
) -> HairTexture:
    """Albedo and coverage of an envelope of thickness (R, C) by all images of it.

    :param expected: (R, C) coverage where none shows it.
    :param long: whether hair is long, hanging or tied back.
    """
    surface = grid.surface(thickness_m)
    normals = grid.normals(surface)
    shape = (TEXTURE_ROWS, TEXTURE_COLUMNS)
    scalp = at_texels((grid.region == int(Region.SCALP)).astype(np.float64))
    broad, sharp = _Sums(shape), _Sums(shape)
    covered, seen, best = (np.zeros(shape, np.float32) for _ in range(3))
    for view in views:
        # Both are smooth over the envelope: computed at its cells, and interpolated.
        cosine, pixels = (at_texels(cells) for cells in cell_cosines(view.outline, surface, normals))
        visible = cosine * (1.0 - sampled(view.hidden, pixels))
        weight = view.sharpness * visible**BROAD_POWER
        matte = _matte_at(view, pixels)
        probability, opaque = (matte * sampled(part, pixels) for part in (view.hair.probability, view.hair.opaque))
        # What shows the background is beside the head, wherever the envelope lies: the scalp is no thinner for it.
        counted = weight * np.where(scalp > 0.0, np.maximum(opaque, probability), 1.0)
        covered += weight * probability
        seen += counted
        best = np.maximum(best, counted)
        color, certain = _delit(view, pixels, normals, scalp)
        broad.add(color, certain, weight)
        sharp.add(color, certain, view.sharpness**SHARPNESS_POWER * visible**SHARP_POWER)
    likely = np.maximum(scalp, OTHER_SHARE)
    known = np.clip(broad.best / LEAST_WEIGHT, 0.0, 1.0)
    albedo = _combined(broad, sharp, known, likely)
    curl = curliness(albedo, known * likely)
    lay = hair_locks(HairKind.CURLED if curl > 0.0 else HairKind.HANGING if long else HairKind.CROPPED)
    coverage = completed_coverage(grid, thickness_m, covered / np.maximum(seen, 1e-8), best, expected, lay)
    # Unseen hair is light and dark by its locks, as strongly as seen hair; between curls one sees into the dark.
    tone = lay.pattern(contrasts(albedo, known * likely)) - curl * lay.gaps()
    locks = np.exp(tone * (1.0 - known))
    albedo = np.clip(albedo * locks[..., None], *ALBEDO_RANGE)
    return HairTexture(albedo, np.where(coverage > LEAST_COVERAGE, coverage, 0.0)[..., None].astype(np.float32))


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


def cell_cosines(
    outline: OutlineView, surface: Float64Array, normals: Float64Array
) -> tuple[Float64Array, Float64Array]:
    """Cosines (R, C) between normals and viewing direction, 0 where a cell is turned away or outside of the image; and
    the cells' pixels (R, C, 2)."""
    towards = outline.eye - surface
    cosine = (normals * towards).sum(-1) / np.linalg.norm(towards, axis=-1)
    pixels = outline.project(surface)[0]
    camera = outline.camera
    inside = (pixels > 0.0).all(-1) & (pixels[..., 0] < camera.width) & (pixels[..., 1] < camera.height)
    return np.where(inside, np.maximum(cosine, 0.0), 0.0), pixels


def _fine(view: HairView, pixels: Float32Array) -> Float32Array:
    """Pixels (..., 2) of a view's matte, of those of its window."""
    return pixels * np.float32(view.matte.coverage.shape[0] / view.hidden.shape[0])


def _matte_at(view: HairView, pixels: Float32Array) -> Float32Array:
    return sampled(view.matte.coverage, _fine(view, pixels))


def _delit(
    view: HairView, pixels: Float32Array, normals: Float64Array, scalp: Float32Array
) -> tuple[Float32Array, Float32Array]:
    """Albedo (T, U, 3) that an image shows, times its certainty, and the certainty (T, U).

    Albedo is the image's colour over the shading of hair at the cells' normals (R, C, 3). On the scalp (T, U) only what
    has the colour of hair counts: not an ear before it.
    """
    # Normals in the view frame, whose y and z are opposite to the camera's.
    facing = normals @ (view.outline.rotation * np.array([[1.0], [-1.0], [-1.0]])).T
    basis = sh_basis(torch.from_numpy(facing)).numpy()
    floor = LEAST_SHADING * np.maximum(mean_irradiance(view.light_sh), LEAST_IRRADIANCE)
    shading = np.maximum(basis @ softened(view.light_sh).astype(np.float64), floor)
    own = np.where(scalp > 0.5, sampled(view.hair.alike, pixels), 1.0)
    certainty = (sampled(view.hair.certainty, pixels) * own * _matte_at(view, pixels) ** 2).astype(np.float32)
    color = sampled(view.matte.color, _fine(view, pixels))
    return certainty[..., None] * color / at_texels(shading), certainty


def _combined(broad: _Sums, sharp: _Sums, known: Float32Array, likely: Float32Array) -> Float32Array:
    """(T, U, 3) albedo: low frequencies of one mean, high ones of the other, spread over unseen texels.

    :param known: (T, U) share to which images show a texel.
    :param likely: (T, U) weight of the texels from which unseen ones take their colour.
    """
    mean = broad.mean()
    tint = _tint(_typical(mean, known * likely).mean(0))
    low = _spread(mean, known, likely)
    own = np.clip(sharp.weight / 1e-6, 0.0, 1.0) * np.sqrt(known)
    detail = low + own[..., None] * (sharp.mean() - low)
    seen = np.clip(detail + blurred(low - detail, BAND_TEXELS), *ALBEDO_RANGE)
    seen = np.where(likely[..., None] > 0.5, _without_highlights(seen, _typical(mean, known * likely)), seen)
    return np.asarray(np.clip(seen * tint, *ALBEDO_RANGE), np.float32)


def _tint(typical: Float32Array) -> Float32Array:
    """(3,) factors that make a typical albedo (3,) as red as the melanin in hair is at least.

    The light's hue is known by the skin's alone, and badly: hair that is greener than any melanin was de-lit with too
    red a light. Hair that is much greener was dyed, or is a scarf.
    """
    logs = np.log(np.maximum(typical, ALBEDO_RANGE[0]))  # 0 where no hair was seen
    red, blue = float(logs[0] - logs[1]), float(logs[1] - logs[2])
    missing = max(MELANIN_SLOPE * blue - red, 0.0)
    step = 0.5 * missing * float(np.clip((DYED[1] - missing) / (DYED[1] - DYED[0]), 0.0, 1.0))
    return np.array([np.exp(step), np.exp(-step), 1.0], np.float32)


def _without_highlights(albedo: Float32Array, typical: Float32Array) -> Float32Array:
    """Albedo (T, U, 3) whose highlights over the typical colour (T, 3) at their height are compressed: what strands
    mirror in the images' light is not their colour, and is drawn anew in any other light."""
    ratio = albedo.mean(-1) / np.maximum(typical.mean(-1)[:, None], ALBEDO_RANGE[0])
    excess = np.maximum(ratio / HIGHLIGHT_RATIO, 1.0)
    return np.asarray(albedo * excess[..., None] ** (HIGHLIGHT_GAMMA - 1.0), np.float32)


def _spread(color: Float32Array, known: Float32Array, likely: Float32Array) -> Float32Array:
    """(T, U, 3) colours: unknown texels take those of their known neighbours (pull-push), and farther away the typical
    colour of hair at their height."""
    source = known * likely
    weighted = np.concatenate([color * source[..., None], source[..., None]], -1)
    filled, share = color * known[..., None], known.copy()
    for step in PULL_STEPS:
        near = wide_mean(weighted, step)
        missing = (1.0 - share) * np.clip(near[..., 3] / LEAST_NEAR, 0.0, 1.0) / len(PULL_STEPS)
        filled += missing[..., None] * near[..., :3] / np.maximum(near[..., 3:], 1e-6)
        share += missing
    return np.asarray(filled + (1.0 - share)[..., None] * _typical(color, source)[:, None], np.float32)


def _typical(color: Float32Array, weight: Float32Array) -> Float32Array:
    """(T, 3) colour of hair at each height, by colours (T, U, 3) and their weights (T, U).

    Luminance counts against a texel: highlights, and background between strands, are not the hair's colour.
    """
    luminance = color.mean(-1)
    typical = float((weight * luminance).sum() / max(float(weight.sum()), 1e-6))
    floor = max(HIGHLIGHT_FLOOR * typical, ALBEDO_RANGE[0])
    dark = weight * (floor / np.maximum(luminance, floor)) ** HIGHLIGHT_POWER
    rows = np.concatenate([(dark[..., None] * color).sum(1), dark.sum(1)[:, None]], -1)  # (T, 4)
    along = cv2.GaussianBlur(np.ascontiguousarray(rows[:, None]), (1, 0), sigmaX=0.1, sigmaY=HEIGHT_TEXELS)[:, 0]
    along = along + WHOLE_SHARE * rows.mean(0)
    return np.asarray(along[:, :3] / np.maximum(along[:, 3:], 1e-9), np.float32)
