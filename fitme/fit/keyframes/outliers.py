"""Outlier rejection of keyframes: other persons, covered faces, wrong poses."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Annotated

import numpy as np
from msgspec import Meta

from fitme.arrays import Float32Array


@dataclass(frozen=True)
class OutlierSettings:
    """Thresholds at which a keyframe is dropped."""

    fewest: Annotated[int, Meta(ge=2)] = 4
    """Keyframes below which none is dropped: there is no majority to compare with."""
    deviations: Annotated[float, Meta(ge=0.0)] = 4.0
    """Robust standard deviations above the others' median disagreement that an inlier may have."""
    ratio: Annotated[float, Meta(ge=1.0)] = 2.1
    """Multiple of the others' median disagreement that an inlier may have in any case."""
    floor: Annotated[float, Meta(ge=0.0)] = 0.04
    """Disagreement, in sRGB-encoded units, that an inlier may have in any case."""
    largest_share: Annotated[float, Meta(ge=0.0, le=1.0)] = 0.34
    """Largest share of the keyframes that may be dropped."""


MAD_TO_DEVIATION = 1.4826
"""Standard deviation over median absolute deviation of normal variables."""


def outlier(disagreements: Mapping[str, float], candidates: Collection[str], settings: OutlierSettings) -> str | None:
    """Key of the candidate with the largest disagreement, if that is an outlier of the distribution; None otherwise.

    :param disagreements: of all keyframes, the candidates included, sRGB-encoded units; NaN where unknown.
    """
    finite = {key: value for key, value in disagreements.items() if np.isfinite(value)}
    compared = [key for key in finite if key in candidates]
    if len(finite) < settings.fewest or not compared:
        return None
    worst = max(compared, key=finite.__getitem__)
    others = np.array([value for key, value in finite.items() if key != worst])
    # Median and median absolute deviation: a second outlier among the others hardly moves them.
    middle = float(np.median(others))
    deviation = MAD_TO_DEVIATION * float(np.median(np.abs(others - middle)))
    limit = max(settings.floor, settings.ratio * middle, middle + settings.deviations * deviation)
    return worst if finite[worst] > limit else None


def identity_outlier(
    embeddings: Mapping[str, Float32Array], same_person_distance: float, settings: OutlierSettings
) -> str | None:
    """Key of the keyframe whose identity embedding (D,) is farthest from the others' in the median, if that exceeds
    both `same_person_distance` and a multiple of the others' median distances; None otherwise."""
    if len(embeddings) < settings.fewest:
        return None
    keys, points = list(embeddings), np.stack(list(embeddings.values()))  # (N, D)
    distances = np.linalg.norm(points[:, None] - points, axis=-1)  # (N, N)
    typical = np.array([np.median(np.delete(row, index)) for index, row in enumerate(distances)])
    worst = int(np.argmax(typical))
    limit = max(same_person_distance, settings.ratio * float(np.median(np.delete(typical, worst))))
    return keys[worst] if typical[worst] > limit else None
