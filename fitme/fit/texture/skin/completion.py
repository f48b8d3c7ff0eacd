"""Skin that the generator paints and no image shows: without painted hair on neck and ears, without a seam at the back,
with lids where they unfold, without lines on the forehead that every painted head has.

The generator learned from painted heads. Of those, strands of long hair remain on unobserved necks in the tone of skin,
and creases of the forehead lie at the same places on everybody.
"""

import cv2
import numpy as np

from fitme.arrays import Float32Array
from fitme.fit.texture.skin.mask import OFFSET
from fitme.fit.texture.texel_blur import low_pass
from fitme.fit.texture.unprojection import TexelTable
from fitme.shape.expressions import expression_index
from fitme.shape.morphable_model import MorphableModel
from fitme.shape.regions import Region

GRAIN_SIGMA = {Region.NECK: 0.025, Region.EARS: 0.005}
"""Standard deviation of the Gaussian that leaves the tone of unobserved skin alone, as a share of the map's side: that
of ears keeps their hollows."""
COLLAR_V = (0.74, 0.82)
"""Rows of the neck in the layout between which images give way to expected skin."""
SEAM_WIDTH = 0.06
"""Distance from the cut at the back of the head, layout units, over which both sides become one."""
SKIN_ROWS_TO = 0.868
"""v at which the skin ends in the layout; islands of eyes and mouth lie below."""
LID_MOTION = (0.15, 0.45)
"""Shares of the largest motion of a lid by a blink between which a texel becomes the lid's."""
LASH_LINE = (0.88, 0.98)
"""Shares between which the rim begins, which keeps what images show of it."""
LID_SHADE = (0.97, 0.93, 0.93)
"""Albedo of closed lids over that of the skin round the eyes: thinner, so redder and darker."""
LID_SHARE = 0.9
"""Share of the lid's tone in its albedo; the rest is what open eyes show of the fold."""
BROW_LOG = 0.12
"""Logarithm by which brows and lashes are darker, at least, than the skin round the eyes."""
AROUND_EYES_SIGMA = 0.035
"""Standard deviation of the Gaussian over the skin round the eyes, as a share of the map's side."""
FOREHEAD_V, FOREHEAD_HALF_U = (0.105, 0.215), 0.17
"""Rows and half width of the forehead in the layout."""
BARE_SIGMA, BARE_DENSITY = 0.05, 0.1
"""Standard deviation of the Gaussian over observed skin beside a bald scalp, as a share of the map's side; the share
of observed skin within it from which its tone is taken."""
BARE_EDGE = 0.015
"""Standard deviation of the filter of a bald scalp's edge, as a share of the map's side."""
BARE_V = 0.36
"""v down to which a bald head is bare: above the ears."""
CREASE_SIGMA = (0.03, 0.0025)
"""Standard deviations along and across of what counts as a crease of the forehead, as shares of the map's side."""


def blink_of(model: MorphableModel) -> Float32Array:
    """(V, 3) displacement of a model's vertices by closed eyes, metres."""
    closed = [expression_index(f"eyeBlink{side}") for side in ("Left", "Right")]
    return np.asarray(model.expression_basis[closed].sum(0).cpu().numpy(), np.float32)


def collar_fade(table: TexelTable) -> Float32Array:
    """(N, 1) factor of what images show of the neck: 0 at its lower edge, where it mostly is a collar, 1 above."""
    height = (table.rows + 0.5) / table.resolution
    fade = 1.0 - _ramp((height - COLLAR_V[0]) / (COLLAR_V[1] - COLLAR_V[0]))
    return np.where(table.region == Region.NECK, fade, 1.0).astype(np.float32)[:, None]


def smooth_unseen(table: TexelTable, albedo: Float32Array, share: Float32Array) -> Float32Array:
    """(N, 3) linear albedo, its texels of neck and ears without grain where no image showed them.

    :param share: (N, 1) observed share in [0, 1].
    """
    result = albedo
    logs = np.log(albedo + OFFSET)
    for region, sigma in GRAIN_SIGMA.items():
        mine = (table.region == region)[:, None]
        tone = np.exp(low_pass(table, logs, mine.astype(np.float32), sigma)) - OFFSET
        result = np.where(mine, share * albedo + (1.0 - share) * tone, result)
    return np.asarray(result, np.float32)


def bare_scalp(table: TexelTable, albedo: Float32Array, share: Float32Array, skin: Float32Array) -> Float32Array:
    """(N, 3) linear albedo of a bald head: no painted hair where no image showed the scalp, but the skin beside it.

    :param share: (N, 1) observed share in [0, 1]; skin: (N, 1) weight of observed skin.
    """
    seen = (share * skin * table.within((Region.SKIN, Region.SCALP))[:, None]).astype(np.float32)
    if not seen.any():
        return albedo
    logs = np.log(albedo + OFFSET)
    whole = (seen * logs).sum(0) / seen.sum()
    near = np.clip(low_pass(table, seen, np.ones_like(seen), BARE_SIGMA) / BARE_DENSITY, 0.0, 1.0)
    tone = np.exp(whole + near * (low_pass(table, logs, seen, BARE_SIGMA) - whole)) - OFFSET
    upper = table.within((Region.SKIN, Region.SCALP)) & ((table.rows + 0.5) / table.resolution < BARE_V)
    bare = (upper | table.within((Region.SCALP,))).astype(np.float32)[:, None]
    bare = np.maximum(bare, 2.0 * low_pass(table, bare, np.ones_like(bare), BARE_EDGE)).clip(0.0, 1.0)
    bare = bare * (1.0 - share) * table.within((Region.SKIN, Region.SCALP, Region.NECK, Region.EARS))[:, None]
    return np.asarray(albedo + bare * (tone - albedo), np.float32)


def join_at_back(table: TexelTable, albedo: Float32Array, share: Float32Array) -> Float32Array:
    """(N, 3) albedo whose two sides agree along the cut at the back of the head.

    The layout is symmetric, and the cut is its border: both texels of one place on the cut are mirror images.

    :param share: (N, 1) observed share in [0, 1]; the side that was seen decides.
    """
    u, v = ((places + 0.5) / table.resolution for places in (table.columns, table.rows))
    distance = np.minimum(np.minimum(u, 1.0 - u), v)
    near = (1.0 - _ramp(distance / SEAM_WIDTH)) * (v < SKIN_ROWS_TO)
    other = near[:, None] * (0.5 + 0.5 * (table.mirrored(share) - share))
    return np.asarray(albedo + other * (table.mirrored(albedo) - albedo), np.float32)


def with_lids(table: TexelTable, albedo: Float32Array, skin: Float32Array, blink: Float32Array) -> Float32Array:
    """(N, 3) albedo with plain lids: open eyes fold them, and show brow and lashes in their place.

    :param skin: (N, 1) weight of observed skin.
    :param blink: (V, 3) displacement of the head's vertices by closed eyes, metres.
    """
    lid = lid_share(table, blink)
    around = (skin * (1.0 - lid) * table.within((Region.SKIN,))[:, None]).astype(np.float32)
    if not around.any():
        return albedo
    logs = np.log(albedo + OFFSET)
    # The tone of the skin round the eyes, then without what is darker than it: brows.
    darker = (low_pass(table, logs, around, AROUND_EYES_SIGMA) - logs).mean(1, keepdims=True)
    bare = around * (1.0 - _ramp(darker / BROW_LOG))
    tone = np.exp(low_pass(table, logs, bare, AROUND_EYES_SIGMA)) - OFFSET
    known = lid * np.clip(low_pass(table, bare, np.ones_like(bare), AROUND_EYES_SIGMA) / 0.1, 0.0, 1.0)
    return np.asarray(albedo + LID_SHARE * known * (tone * LID_SHADE - albedo), np.float32)


def lid_share(table: TexelTable, blink: Float32Array) -> Float32Array:
    """(N, 1) in [0, 1] share of the lids in the texels: what closed eyes unfold, without the rim at the lashes.

    :param blink: (V, 3) displacement of the head's vertices by closed eyes, metres.
    """
    motion = np.linalg.norm(table.weights @ blink, axis=1)
    motion /= max(float(motion.max()), 1e-9)
    lid = _ramp((motion - LID_MOTION[0]) / (LID_MOTION[1] - LID_MOTION[0]))
    lid *= 1.0 - _ramp((motion - LASH_LINE[0]) / (LASH_LINE[1] - LASH_LINE[0]))
    return np.asarray(lid * table.within((Region.SKIN,)), np.float32)[:, None]


def without_forehead_lines(normals: Float32Array) -> Float32Array:
    """(1, R, R, 3) unit normals without creases across the forehead; pores stay."""
    size = normals.shape[1]
    slopes = normals[0, ..., :2] / np.maximum(normals[0, ..., 2:], 1e-3)
    creases = cv2.GaussianBlur(slopes, (0, 0), CREASE_SIGMA[0] * size, sigmaY=CREASE_SIGMA[1] * size)
    u, v = (np.arange(size) + 0.5) / size, (np.arange(size) + 0.5) / size
    inside = (
        _ramp((FOREHEAD_HALF_U - np.abs(u - 0.5)) / 0.04)[None]
        * (_ramp((v - FOREHEAD_V[0]) / 0.02) * _ramp((FOREHEAD_V[1] - v) / 0.02))[:, None]
    )
    smooth = slopes - inside[..., None] * creases
    vectors = np.concatenate([smooth, np.ones_like(smooth[..., :1])], -1)
    return np.asarray(vectors / np.linalg.norm(vectors, axis=-1, keepdims=True), np.float32)[None]


def _ramp(x: Float32Array) -> Float32Array:
    t = np.clip(x, 0.0, 1.0)
    return np.asarray(t * t * (3.0 - 2.0 * t), np.float32)
