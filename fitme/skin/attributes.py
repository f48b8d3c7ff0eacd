"""Attributes of a synthetic skin: skin tone, age, hair, eyes and make-up, drawn at random over the whole human
range."""

from dataclasses import dataclass

import numpy as np

from fitme.skin.pigments import ITA_CLASSES

BEARD_PARTS = ("moustache", "chin", "jaw", "sideburns")
"""Parts of a beard whose densities vary independently."""


@dataclass(frozen=True)
class SkinAttributes:
    """Attributes of one head. Amounts are in [0, 1] where nothing else is stated."""

    ita_deg: float
    """Individual typology angle (ITA) of the cheeks, degrees: 70 palest, -65 darkest."""
    blood: float
    """Volume fraction in the dermis of the cheeks before flushing."""
    masculine: float
    age: float
    """0 is twenty years, 1 is eighty."""
    flush: float
    """Redness of cheeks, nose and ears."""
    mottling: float
    freckles: float
    moles: int
    blemishes: int
    eyelid_darkness: float
    tan_lines: float
    """Tan of forehead and nose compared with the neck."""
    hair_eumelanin: float
    """Absorption in units of `pigments.hair_color`, above 0."""
    hair_pheomelanin: float
    hair_gray: float
    hair_density: float
    """0 is bald or shaved."""
    hair_length: float
    """0 is short; 1 hangs over ears and the sides of the neck."""
    hairline_rise: float
    """Height of the hairline above its mean, layout units; may be negative."""
    temple_recession: float
    brow_density: float
    brow_width: float
    """Half height of the brow, layout units."""
    brow_lift: float
    """Height of the brow above its mean, layout units; may be negative."""
    brow_length: float
    """Length as a share of the mean."""
    beard_density: tuple[float, float, float, float]
    """Density of each part of `BEARD_PARTS`."""
    beard_shadow: float
    """Shaved stubble under the skin."""
    lash_darkness: float
    eyeliner: float
    lipstick: float
    lipstick_hue: tuple[float, float, float]
    """Linear sRGB albedo of the lipstick."""
    lip_blood: float
    """Ratio of the blood of the lips to the skin's."""
    iris_melanin: float
    iris_green: float
    sclera_redness: float
    oil: float
    """Additional specular albedo of forehead and nose."""
    moisture: float
    """Additional specular albedo of the lips."""
    pores: float
    wrinkles: float


def sample_attributes(generator: np.random.Generator) -> SkinAttributes:
    """Attributes of a random head. The ITA is uniform over the six classes of skin tone, then within the class; hair
    and eye colour correlate with it as they do in people; age, sex and hair style vary widely."""
    g = generator
    # Attributes that others depend on are drawn first.
    low, high = list(ITA_CLASSES.values())[g.integers(len(ITA_CLASSES))]
    angle = g.uniform(low, high)
    pale = float(np.clip((angle + 10.0) / 75.0, 0.0, 1.0))  # 0 for dark, 1 for very light skin
    masculine = float(g.random() < 0.5)
    age = g.beta(1.1, 1.6)
    eumelanin, pheomelanin = _hair_pigment(g, pale)
    bearded = masculine * (g.random() < 0.55)
    bald = masculine * (g.random() < 0.15 + 0.25 * age)
    style = g.dirichlet(np.full(4, 1.2)) * 2.2 if g.random() < 0.35 else np.full(4, g.uniform(0.3, 1.0))
    beard = np.clip(style * bearded * g.beta(1.3, 1.0), 0.0, 1.0)
    brown_eyes = g.random() > 0.75 * pale**1.5
    return SkinAttributes(
        ita_deg=float(angle),
        blood=float(np.exp(g.normal(np.log(0.009), 0.25))),
        masculine=masculine,
        age=float(age),
        flush=float(g.beta(1.5, 2.5)),
        mottling=float(g.beta(2.0, 3.0)),
        freckles=float(g.beta(1.0, 2.0) * (g.random() < 0.3) * (0.3 + 0.7 * pale)),
        moles=int(g.poisson(2.5)),
        blemishes=int(g.poisson(3.0) if g.random() < 0.4 else 0),
        eyelid_darkness=float(g.beta(1.5, 2.5)),
        tan_lines=float(g.beta(1.5, 3.0)),
        hair_eumelanin=eumelanin,
        hair_pheomelanin=pheomelanin,
        hair_gray=float(np.clip((age - 0.35) * g.uniform(0.3, 2.2), 0.0, 0.95)),
        hair_density=float((1.0 - bald) * g.beta(4.0, 1.0) + bald * g.uniform(0.0, 0.35)),
        hair_length=float(g.uniform(0.4, 1.0) * (g.random() < 0.5 - 0.44 * masculine)),
        hairline_rise=float(g.normal(0.0, 0.014) + 0.02 * masculine * age - 0.06 * (g.random() < 0.12)),
        temple_recession=float(np.clip(masculine * g.beta(1.2, 2.0) + 0.1 * g.random(), 0.0, 1.0)),
        brow_density=float(np.clip(g.normal(0.72 + 0.12 * masculine, 0.2), 0.12, 1.0)),
        brow_width=float(np.clip(g.normal(0.0115 + 0.003 * masculine, 0.0028), 0.005, 0.02)),
        brow_lift=float(g.normal(0.004, 0.005)),
        brow_length=float(np.clip(g.normal(1.0, 0.1), 0.75, 1.15)),
        beard_density=(float(beard[0]), float(beard[1]), float(beard[2]), float(beard[3])),
        beard_shadow=float(masculine * g.beta(1.5, 1.5)),
        lash_darkness=float(np.clip(g.normal(0.7 - 0.1 * masculine, 0.18), 0.2, 1.0)),
        eyeliner=float((1.0 - masculine) * (g.random() < 0.3) * g.random()),
        lipstick=float((1.0 - masculine) * (g.random() < 0.35) * g.uniform(0.2, 0.9)),
        lipstick_hue=(float(g.uniform(0.22, 0.5)), float(g.uniform(0.03, 0.13)), float(g.uniform(0.03, 0.1))),
        lip_blood=float(np.exp(g.normal(np.log(4.5), 0.35))),
        iris_melanin=float(g.beta(5.0, 1.5) if brown_eyes else g.beta(1.2, 5.0)),
        iris_green=float(g.random()),
        sclera_redness=float(g.beta(1.2, 4.0)),
        oil=float(g.beta(2.0, 2.0)),
        moisture=float(g.beta(2.0, 2.0)),
        pores=float(g.beta(2.0, 2.0)),
        wrinkles=float(np.clip(age * 1.1 + g.normal(0.0, 0.1), 0.0, 1.0)),
    )


def _hair_pigment(g: np.random.Generator, pale: float) -> tuple[float, float]:
    """Eumelanin and pheomelanin of natural hair: mostly dark; fair and red only with fair skin."""
    kind = g.random()
    if kind < 0.28 * pale**2:
        return float(g.uniform(0.03, 0.15)), float(g.uniform(0.05, 0.2))  # fair
    if kind < 0.36 * pale**2:
        return float(g.uniform(0.05, 0.2)), float(g.uniform(0.3, 0.7))  # red
    return float(np.exp(g.uniform(np.log(0.25 + 0.8 * (1.0 - pale)), np.log(2.5)))), float(g.uniform(0.0, 0.15))
