"""Everything that decides a made-up skin but the places of its spots: traits, noise weights and crease depths."""

from dataclasses import astuple, dataclass

import numpy as np

from fitme.arrays import Float32Array
from fitme.skin.attributes import SkinAttributes, sample_attributes
from fitme.skin.noise_fields import STRAND_FIELDS
from fitme.skin.texel_geometry import FINE_FIELDS, GRAIN_FIELDS, LOW_FIELDS, MIDDLE_FIELDS, PORE_FIELDS
from fitme.skin.wrinkles import WRINKLES

MIXTURES = (
    ("low", 3, LOW_FIELDS), ("middle", 3, MIDDLE_FIELDS), ("fine", 2, FINE_FIELDS), ("grain", 2, GRAIN_FIELDS),
    ("pores", 2, PORE_FIELDS), ("scalp_strands", 1, STRAND_FIELDS), ("beard_strands", 1, STRAND_FIELDS),
    ("brow_strands", 1, STRAND_FIELDS), ("lip_folds", 1, STRAND_FIELDS), ("iris_fibres", 1, STRAND_FIELDS),
)  # fmt: skip
"""Banks of the atlas, how many mixtures of each a skin needs, and the fields that a mixture weighs."""
MIXTURE_COUNT = sum(count * fields for _, count, fields in MIXTURES)
CREASE_RANGE = (0.3, 1.0)
"""Factors by which the creases of one head differ in depth."""


@dataclass(frozen=True)
class SkinFactors:
    """What a skin is painted from."""

    attributes: SkinAttributes
    mixtures: Float32Array
    """(MIXTURE_COUNT,) weights of the noise banks, standard normal."""
    creases: Float32Array
    """(len(WRINKLES),) factors on the depth of each crease."""

    def mixture(self, bank: str) -> Float32Array:
        """(count, fields) unit-length weights for the named bank of `MIXTURES`."""
        start = 0
        for name, count, fields in MIXTURES:
            if name == bank:
                weights = self.mixtures[start : start + count * fields].reshape(count, fields)
                return np.asarray(weights / np.linalg.norm(weights, axis=1, keepdims=True), np.float32)
            start += count * fields
        raise KeyError(bank)


def draw_factors(generator: np.random.Generator) -> SkinFactors:
    """Causes of a random head."""
    attributes = sample_attributes(generator)
    mixtures = generator.standard_normal(MIXTURE_COUNT).astype(np.float32)
    return SkinFactors(attributes, mixtures, generator.uniform(*CREASE_RANGE, len(WRINKLES)).astype(np.float32))


def factor_vector(factors: SkinFactors) -> Float32Array:
    """(CAUSE_COUNT,) float32: traits in the order of their fields, tuples flattened, then mixtures, then creases."""
    flat: list[float] = []
    for value in astuple(factors.attributes):
        flat.extend(value if isinstance(value, tuple) else (float(value),))
    return np.asarray(np.concatenate([np.array(flat), factors.mixtures, factors.creases]), np.float32)


FACTOR_COUNT = len(factor_vector(draw_factors(np.random.default_rng(0))))
"""Length of `factor_vector`."""
