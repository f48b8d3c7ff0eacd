"""What a smile changes in people's skin: mean over pairs of portraits, neutral and smiling.

Both portraits of a person are fitted each on its own, and their de-lit textures differ by the folds of the smile, its
redness and what the estimated lights differ in. The latter is the same all over the face or random: the median over the
calm upper face is subtracted, and the mean over people, mirror symmetric, leaves what smiles have in common.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch

from fitme.arrays import BoolArray, Float32Array
from fitme.errors import InputError
from fitme.fit.texture.skin.mask import OFFSET
from fitme.reflectance.expression_prior import LARGEST_CHANGE, ExpressionPrior
from fitme.reflectance.packaged_models import packaged_generator
from fitme.shape.expressions import MIRRORED_EXPRESSION
from fitme.shape.model_file import load_default_model
from fitme.shape.regions import Region
from fitme.skin.texel_geometry import TexelGeometry
from fitme.training.people.people_set import TEXTURES_FOLDER, find_portraits, name_of
from fitme.training.people.portrait_fit import (
    PortraitFitter,
    PortraitTexture,
    UnusablePortrait,
    load_texture,
    save_texture,
)

NEUTRAL, SMILING = "neutral", "smiling"
"""Ends of the names of the two portraits of a pair, NUMBER_neutral and NUMBER_smiling."""
RESOLUTION, PRIOR_RESOLUTION = 512, 128
"""Texels a side of the compared textures, and of the prior."""
SEEN_FROM = 0.3
"""Least confidence of compared texels, in both portraits."""
FEWEST_PEOPLE = 5.0
"""Summed weight of people from which the mean is the change; below, it shrinks to none."""
SHRINKAGE = 0.8
"""Factor of the mean at which, over the people it is of, the mean gain in decibels is largest: at 1 those
who fold less lose more than others gain."""
FEWEST_CALM = 500
"""Texels of the calm face, of maps of 512 a side, below which a pair is not used."""
CALM_HEIGHT, CALM_HALF_WIDTH, CLEAR_OF_LIDS = 0.1, 0.2, 0.03
"""The calm face lies this far above the tip of the nose, within this half width, away from the lids: layout units."""
LIP_LINE = 0.006
"""Distance from the line between the lips, layout units, within which teeth show: their change is no skin's."""


@dataclass(frozen=True, eq=False)
class SmilePair:
    """Portraits of one person."""

    neutral: PortraitTexture
    smiling: PortraitTexture
    expression: Float32Array
    """(52,) of the smile."""


def smile_prior(pairs: Iterable[SmilePair], geometry: TexelGeometry) -> ExpressionPrior:
    """Mean change by a smile over people, mirror symmetric.

    :param geometry: of the textures' resolution.
    :raises InputError: without a usable pair.
    """
    skin = _skin(geometry)
    calm = (
        geometry.is_region(Region.SKIN)
        & (geometry.v < geometry.landmark(1)[1] - CALM_HEIGHT)
        & (geometry.u < CALM_HALF_WIDTH)
        & (geometry.eyelids > CLEAR_OF_LIDS)
    )
    fewest = FEWEST_CALM * (geometry.resolution / 512) ** 2
    total = np.zeros((PRIOR_RESOLUTION, PRIOR_RESOLUTION, 4), np.float64)
    expressions = []
    for pair in pairs:
        change = _change(pair, skin, calm, fewest)
        if change is not None:
            total += np.asarray(cv2.resize(change, (PRIOR_RESOLUTION,) * 2, interpolation=cv2.INTER_AREA), np.float64)
            expressions.append(pair.expression)
    if not expressions:
        raise InputError("no pair of a neutral and a smiling portrait is usable: give others")
    total += total[:, ::-1]
    weight = 0.5 * total[..., 3:]
    mean = SHRINKAGE * 0.5 * total[..., :3] / np.maximum(weight, FEWEST_PEOPLE)
    expression = np.mean(expressions, axis=0)
    expression = 0.5 * (expression + expression[list(MIRRORED_EXPRESSION)])
    return ExpressionPrior(
        torch.from_numpy(expression[None].astype(np.float32)), torch.from_numpy(mean[None].astype(np.float32))
    )


def fitted_pairs(
    folders: Sequence[Path], out: Path, resolution: int, leave_out: Callable[[Path], bool]
) -> Iterator[SmilePair]:
    """Pairs of portraits in folders, fitted, or read from `out`/textures where they were fitted before.

    :param leave_out: portraits that are not looked at, such as `split.is_held_out`.
    :raises InputError: for folders without portraits.
    """
    (out / TEXTURES_FOLDER).mkdir(parents=True, exist_ok=True)
    fitter = PortraitFitter(load_default_model(), packaged_generator("painted"), resolution, neutral=False)
    with closing(fitter):
        for folder in folders:
            paths = {path.stem: path for path in find_portraits(folder) if not leave_out(path)}
            for stem, path in paths.items():
                number, _, kind = stem.rpartition("_")
                smiling = paths.get(f"{number}_{SMILING}")
                if kind != NEUTRAL or smiling is None:
                    continue
                try:
                    textures = [_texture(fitter, one, out) for one in (path, smiling)]
                    yield SmilePair(textures[0], textures[1], fitter.expression(smiling))
                except UnusablePortrait:
                    continue


def _texture(fitter: PortraitFitter, path: Path, out: Path) -> PortraitTexture:
    """Texture of a portrait, kept in a file. Raises UnusablePortrait."""
    file = out / TEXTURES_FOLDER / f"{name_of(path)}.npz"
    if not file.is_file():
        save_texture(fitter.fit(path), file)
    return load_texture(file)


def _change(pair: SmilePair, skin: BoolArray, calm: BoolArray, fewest: float) -> Float32Array | None:
    """(R, R, 4) weighted logarithm of smiling over neutral albedo, and the weights; None if too little was seen."""
    confidence = np.minimum(pair.neutral.confidence, pair.smiling.confidence)
    weight = confidence * np.minimum(pair.neutral.skin_probability, pair.smiling.skin_probability)
    weight = np.where(confidence > SEEN_FROM, weight, 0.0)
    measured = calm & (weight > SEEN_FROM)
    if np.count_nonzero(measured) < fewest:
        return None
    change = np.log((pair.smiling.observed + OFFSET) / (pair.neutral.observed + OFFSET))
    change = np.clip(change - np.median(change[measured], axis=0), -LARGEST_CHANGE, LARGEST_CHANGE)
    weight = (weight * skin)[..., None]
    return np.asarray(np.concatenate([change * weight, weight], -1), np.float32)


def _skin(geometry: TexelGeometry) -> BoolArray:
    """(R, R) skin and lips, without the line between these."""
    inside = geometry.is_region(Region.SKIN) | geometry.is_region(Region.LIPS)
    return np.asarray(inside & (geometry.inner_lips > LIP_LINE))
