"""Tones of teeth and of the mouth's flesh in an avatar's maps: the person's enamel where images show it.

An open mouth shows teeth, lips, tongue or the dark at the texels of the upper front teeth, depending on the expression.
Enamel is as light as skin or lighter, and less red (`fitme.fit.alignment.rows_of_teeth` has the figures); only what
looks like it counts. Flesh is lit by flesh: what reaches it has lost green and blue before.
"""

import numpy as np

from fitme.arrays import BoolArray, Float32Array
from fitme.color import LUMINANCE
from fitme.fit.texture.fusion import FusedTexture
from fitme.fit.texture.unprojection import TexelTable
from fitme.parts.textures import BRIGHT_QUANTILE, ENAMEL, FRONT_TEETH_U, UPPER_TEETH_V
from fitme.shape.regions import Region

LEAST_CONFIDENCE = 0.3
"""Confidence from which an observed texel counts."""
LEAST_LIGHT, LARGEST_RED = 0.8, 0.85
"""Least luminance and largest red over green of enamel over those of the person's skin, de-lit."""
LEAST_SHARE, FULL_SHARE = 0.1, 0.3
"""Shares of the upper front teeth at which images begin to decide on their tone, and from which they alone do."""
FLESH_TINT = (1.0, 0.78, 0.62)
"""Factors on the albedo of tongue, gums and cheeks for light that other flesh has reflected."""


def enamel_tone(table: TexelTable, texture: FusedTexture) -> Float32Array:
    """(3,) linear albedo of the person's enamel: as images show it, the usual one where they show none."""
    usual = np.array(ENAMEL, np.float32)
    front = front_teeth(table)
    known = texture.confidence >= LEAST_CONFIDENCE
    skin = texture.observed[table.within((Region.SKIN,)) & known]
    if not len(skin) or not front.any():
        return usual
    expected = np.median(skin, axis=0)
    shown = texture.observed[front & known]
    light = shown @ LUMINANCE >= LEAST_LIGHT * (expected @ LUMINANCE)
    pale = shown[:, 0] * expected[1] <= LARGEST_RED * shown[:, 1] * expected[0]
    enamel = shown[light & pale]
    count = np.count_nonzero(front)
    share = _decides(len(enamel) / count)
    if share == 0.0:
        return usual
    # Gaps between teeth and the shade of the lips make enamel darker, nothing makes it lighter.
    luminance = enamel @ LUMINANCE
    own = enamel[luminance >= np.quantile(luminance, BRIGHT_QUANTILE)].mean(0)
    return np.asarray(usual + share * (own - usual), np.float32)


def _decides(share: float) -> float:
    """Share in [0, 1] with which an observed share of the upper front teeth decides on their tone."""
    return min(max((share - LEAST_SHARE) / (FULL_SHARE - LEAST_SHARE), 0.0), 1.0)


def with_tones(table: TexelTable, albedo: Float32Array, enamel: Float32Array) -> Float32Array:
    """(N, 3) albedo of the mouth's interior and teeth with the person's enamel (3,) and flesh in its own light.

    :param albedo: (N, 3) linear, the generator's: its teeth keep their pattern, lighter or darker than their brightest.
    """
    result = albedo.copy()
    result[table.within((Region.MOUTH_INTERIOR,))] *= np.array(FLESH_TINT, np.float32)
    front = front_teeth(table)
    if front.any():
        teeth = table.within((Region.TEETH,))
        luminance = albedo @ LUMINANCE
        bright = luminance[front]
        brightest = float(bright[bright >= np.quantile(bright, BRIGHT_QUANTILE)].mean())
        result[teeth] = luminance[teeth, None] / max(brightest, 1e-4) * enamel
    return result


def front_teeth(table: TexelTable) -> BoolArray:
    """(N,) mask of the upper front teeth, by their place in the model's layout."""
    v, u = ((places + 0.5) / table.resolution for places in (table.rows, table.columns))
    (top, bottom), (left, right) = UPPER_TEETH_V, FRONT_TEETH_U
    place = (v >= top) & (v < bottom) & (u >= left) & (u < right)
    return np.asarray(place & table.within((Region.TEETH,)))
