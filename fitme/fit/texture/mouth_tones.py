"""Tones of teeth and of the mouth's flesh in an avatar's maps: the person's teeth where images show them.

Teeth that no image shows have the tone of those that one does. Flesh is lit by flesh: what reaches it has lost green
and blue before.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from fitme.arrays import Float32Array
from fitme.color import LUMINANCE
from fitme.fit.texture.delighting import ViewAlbedo
from fitme.fit.texture.divided_light import MAXIMAL_ALBEDO
from fitme.fit.texture.teeth import ShownTeeth
from fitme.fit.texture.unprojection import TexelTable
from fitme.ramp import linear_ramp
from fitme.shape.regions import Region

ENAMEL = (0.68, 0.605, 0.49)
"""Linear albedo of enamel where no image shows any: between shades A1 and B1 of the VITA classical guide; A1 alone
(CIELAB b* 15) looks yellow beside lips."""
ENAMEL_LUMINANCE = (0.4, 0.72)
"""Range of the luminance of enamel beside teeth that images show."""
COOLEST_RED, WARMEST_RED = 1.05, 1.25
"""Bounds of red over green in the albedo of enamel."""
WARMEST_BLUE, COOLEST_BLUE = 0.7, 0.92
"""Bounds of blue over green: no enamel is blue, whatever the light in which the fit explains an image."""
SURE_WEIGHTS = 0.05, 0.4
"""Summed weights between which images begin to decide on a tooth, and from which they alone do."""
TONE_SHARES = 0.03, 0.15
"""Shares of the teeth's texels that images show at which they begin to decide on the others' tone, and from which they
alone do."""
BRIGHT_QUANTILE = 0.7
"""Quantile of luminance from which texels of teeth tell the tone of enamel: gaps and shade make others darker."""
LEAST_FLESH_RED = 1.05
"""Least red over green of flesh, over that of the person's skin."""
LEAST_FLESH_WEIGHT = 0.1
"""Weight from which a texel of a view counts."""
FLESH_SHARES = 0.05, 0.5
"""Texels that all views together show, over those of the mouth's inside, from which images begin to decide on its tone,
and from which they alone do."""
FLESH_LEVELS, LARGEST_HUE = (0.4, 2.5), 1.25
"""Bounds of the flesh's level over the usual, and of the ratios between channels over theirs."""
LEAST_ALBEDO = 0.005
"""Lower bound of the generated albedo by which what images show is divided."""
FLESH_TINT = (1.0, 0.78, 0.62)
"""Factors on the albedo of tongue, gums and cheeks for light that other flesh has reflected."""


def enamel_tone(shown: ShownTeeth) -> Float32Array:
    """(3,) linear albedo of enamel where images show none, by the teeth that they do show."""
    usual = np.array(ENAMEL, np.float32)
    sure = linear_ramp(shown.weight, SURE_WEIGHTS)
    known = shown.albedo[sure > 0.5]
    share = float(linear_ramp(np.array(sure.mean()), TONE_SHARES))
    if not len(known) or share == 0.0:
        return usual
    luminance = known @ LUMINANCE
    bright = known[luminance >= np.quantile(luminance, BRIGHT_QUANTILE)].mean(0)
    red, blue = bright[0] / bright[1], bright[2] / bright[1]
    hue = np.array([np.clip(red, COOLEST_RED, WARMEST_RED), 1.0, np.clip(blue, WARMEST_BLUE, COOLEST_BLUE)])
    own = float(np.clip(bright @ LUMINANCE, *ENAMEL_LUMINANCE)) * hue / float(hue @ LUMINANCE)
    return np.asarray(usual + share * (own - usual), np.float32)


@dataclass(frozen=True, eq=False)
class ShownMouth:
    """What images of open mouths show behind the lips."""

    teeth: ShownTeeth
    """The rows of teeth."""
    flesh: Float32Array
    """(3,) albedo of tongue, gums and cheeks over the generator's, lit by flesh."""


def flesh_tone(
    table: TexelTable, generated: Float32Array, views: Sequence[ViewAlbedo], skin: Float32Array
) -> Float32Array:
    """(3,) albedo of the mouth's flesh over a generated one (N, 3), linear: median over what views of open mouths show
    of it. Without any, light that other flesh has reflected alone.

    :param skin: (3,) linear albedo of the person's skin: flesh is redder.
    """
    inside = np.flatnonzero(table.within((Region.MOUTH_INTERIOR,)))
    expected = np.maximum(generated[inside], LEAST_ALBEDO)
    ratios = []
    for view in views:
        albedo, weight = (values[inside] for values in view.over(len(table.rows)))
        redder = albedo[:, 0] * skin[1] >= LEAST_FLESH_RED * albedo[:, 1] * skin[0]
        shown = redder & (weight >= LEAST_FLESH_WEIGHT) & (albedo.min(1) > 0.0)
        ratios.append(np.log(albedo[shown] / expected[shown]))
    known = np.concatenate(ratios) if ratios else np.zeros((0, 3))
    usual = np.array(FLESH_TINT, np.float32)
    share = float(linear_ramp(np.array(len(known) / max(len(inside), 1)), FLESH_SHARES))
    if share == 0.0:
        return usual
    # Lips beside the opening are taken for flesh where they are a little off: its level is surer than its hue.
    ratio = np.median(known, axis=0) - np.log(usual)  # (3,)
    level = float(np.clip(ratio.mean(), *np.log(FLESH_LEVELS)))
    hue = np.clip(ratio - ratio.mean(), -np.log(LARGEST_HUE), np.log(LARGEST_HUE))
    own = usual * np.exp(level + hue)
    return np.asarray(usual + share * (own - usual), np.float32)


def with_teeth(table: TexelTable, albedo: Float32Array, shown: ShownTeeth | None) -> Float32Array:
    """(N, 3) albedo with the person's teeth; `albedo` (N, 3) linear, `shown` None before images showed any."""
    result = albedo.copy()
    teeth = table.within((Region.TEETH,))
    if shown is None:
        result[teeth] = ENAMEL
        return result
    enamel = enamel_tone(shown)
    result[teeth] = enamel
    share = linear_ramp(shown.weight, SURE_WEIGHTS)[:, None]
    places = table.texels_at(shown.texels.rows, shown.texels.columns)
    result[places] = enamel + share * (shown.albedo - enamel)
    return result


def with_mouth(table: TexelTable, albedo: Float32Array, shown: ShownMouth | None) -> Float32Array:
    """(N, 3) generated albedo (N, 3), linear, with the person's teeth and flesh; None before images showed any."""
    result = with_teeth(table, albedo, None if shown is None else shown.teeth)
    flesh = np.array(FLESH_TINT, np.float32) if shown is None else shown.flesh
    inside = table.within((Region.MOUTH_INTERIOR,))
    result[inside] = np.minimum(result[inside] * flesh, MAXIMAL_ALBEDO)
    return result
