"""Generative factors of a synthetic skin: attributes, weights of noise fields and depths of creases. The places of
moles and blemishes are not among them."""

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
"""Banks of noise fields in `TexelGeometry`: name, mixtures that a skin needs, fields in each mixture."""
MIXTURE_COUNT = sum(count * fields for _, count, fields in MIXTURES)
"""Weights of all mixtures together."""
CREASE_RANGE = (0.3, 1.0)
"""Range of the factors on the depths of a head's creases."""


@dataclass(frozen=True)
class SkinFactors:
    """Generative factors of one skin."""

    attributes: SkinAttributes
    mixtures: Float32Array
    """(MIXTURE_COUNT,) weights of the noise fields, standard normal."""
    creases: Float32Array
    """(len(WRINKLES),) factors on the depth of each crease."""

    def mixture(self, bank: str) -> Float32Array:
        """Weights (count, fields) of unit length for the named bank of `MIXTURES`; KeyError for an unknown bank."""
        start = 0
        for name, count, fields in MIXTURES:
            if name == bank:
                weights = self.mixtures[start : start + count * fields].reshape(count, fields)
                return np.asarray(weights / np.linalg.norm(weights, axis=1, keepdims=True), np.float32)
            start += count * fields
        raise KeyError(bank)


def draw_factors(generator: np.random.Generator) -> SkinFactors:
    """Factors of a random head."""
    attributes = sample_attributes(generator)
    mixtures = generator.standard_normal(MIXTURE_COUNT).astype(np.float32)
    return SkinFactors(attributes, mixtures, generator.uniform(*CREASE_RANGE, len(WRINKLES)).astype(np.float32))


def factor_vector(factors: SkinFactors) -> Float32Array:
    """Factors as a vector (FACTOR_COUNT,), float32: attributes in the order of their fields, tuples flattened, then
    mixtures, then creases."""
    flat: list[float] = []
    for value in astuple(factors.attributes):
        flat.extend(value if isinstance(value, tuple) else (float(value),))
    return np.asarray(np.concatenate([np.array(flat), factors.mixtures, factors.creases]), np.float32)


FACTOR_COUNT = len(factor_vector(draw_factors(np.random.default_rng(0))))
"""Length of `factor_vector`."""
