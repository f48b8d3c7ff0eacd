"""Which keyframes contradict the others: another person's picture, a covered face, a pose that was found wrong."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass

import numpy as np

from fitme.arrays import Float32Array


@dataclass(frozen=True)
class OutlierSettings:
    """When a keyframe is dropped."""

    fewest: int = 4
    """Keyframes below which nobody can tell who is wrong."""
    deviations: float = 4.0
    """Robust standard deviations above the others' median disagreement that a keyframe may have."""
    ratio: float = 2.1
    """Times the others' median disagreement that it may have in any case."""
    floor: float = 0.04
    """Disagreement, in sRGB-encoded units, that is never held against a keyframe."""
    largest_share: float = 0.34
    """Share of the keyframes that may be dropped."""


MAD_TO_DEVIATION = 1.4826
"""Standard deviation over median absolute deviation of normal variables."""


def outlier(disagreements: Mapping[str, float], candidates: Collection[str], settings: OutlierSettings) -> str | None:
    """The one of the candidates that contradicts the others most, if that is more than chance; None otherwise.

    `disagreements` are those of all keyframes, the candidates' among them.
    """
    known = {key: value for key, value in disagreements.items() if np.isfinite(value)}
    compared = [key for key in known if key in candidates]
    if len(known) < settings.fewest or not compared:
        return None
    worst = max(compared, key=known.__getitem__)
    others = np.array([value for key, value in known.items() if key != worst])
    middle = float(np.median(others))
    deviation = MAD_TO_DEVIATION * float(np.median(np.abs(others - middle)))
    limit = max(settings.floor, settings.ratio * middle, middle + settings.deviations * deviation)
    return worst if known[worst] > limit else None


def identity_outlier(
    embeddings: Mapping[str, Float32Array], same_person_distance: float, settings: OutlierSettings
) -> str | None:
    """The keyframe whose identity embedding (D,) is farther from most others' than those of one person are, and much
    farther than theirs from each other; None if there is none."""
    if len(embeddings) < settings.fewest:
        return None
    keys, points = list(embeddings), np.stack(list(embeddings.values()))
    distances = np.linalg.norm(points[:, None] - points, axis=-1)
    typical = np.array([np.median(np.delete(row, index)) for index, row in enumerate(distances)])
    worst = int(np.argmax(typical))
    limit = max(same_person_distance, settings.ratio * float(np.median(np.delete(typical, worst))))
    return keys[worst] if typical[worst] > limit else None
