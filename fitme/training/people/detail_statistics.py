"""Statistics of the fine detail of people's skin, for `fitme.fit.texture.skin.detail`.

What is measured are the de-lit textures of portraits, where they are seen well and are skin. Of each person variances
by octave and part of the face enter, no texel. What images blur is blurred here, too: portraits of the set resolve
about one cycle per millimetre.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from fitme.arrays import BoolArray, Float32Array, Float64Array
from fitme.color import LUMINANCE
from fitme.errors import InputError
from fitme.fit.texture.skin.detail import LIPS, MIDDLE, Octaves, part_weights
from fitme.fit.texture.skin.mask import OFFSET
from fitme.fit.texture.unprojection import TexelTable, texel_table
from fitme.reflectance.skin_detail import FINEST_SIGMA, VERSION, PartDetail, SkinDetail, quantile_levels
from fitme.shape.model_file import load_default_model
from fitme.shape.regions import Region
from fitme.skin.texel_geometry import TexelGeometry, default_texel_geometry
from fitme.training.people.people_set import TEXTURES_FOLDER, load_people_set
from fitme.training.people.portrait_fit import PortraitTexture, load_texture

OCTAVES = 3
"""Coarser ones are uneven tone and what is left of the light, not texture."""
QUANTILES = 33
SEEN_WELL, SURELY_SKIN = 0.5, 0.6
"""Least confidence and skin probability of measured texels."""
MARGIN_TEXELS = (5, 9)
"""Width and height of the surroundings that must be seen well, too."""
LARGEST_DEVIATION = 3.5
"""Standard deviations beyond which a texel's detail counts as an edge, a hair or a mole, not as texture."""
NORMAL_MAD = 1.4826
"""Standard deviation of a normal variable over its median absolute deviation."""
SMALLEST_VARIANCE = 1e-6
"""Least variance of a colour channel, over that of luminance."""
FEWEST_TEXELS = 150
"""Texels of a part of a person below which it is not measured."""
FEWEST_PEOPLE = 5
"""People below whom a part has the statistics of the cheeks."""
LARGEST_EXCESS = 0.15
"""Largest logarithm of the strength of a part's detail over the cheeks'. What noses and chins have beyond it are form
that the light does not explain, and stubble: as noise these are freckles."""
COARSEST_SHARE = 0.6
"""Strength of the coarsest octave over the measured one: the rest is light, and spots that have places of their own."""
CLEAR_OF_BROWS, CLEAR_OF_LIDS, CLEAR_OF_LIPS = 0.02, 0.012, 0.006
"""Distances, layout units, within which there are hairs, lashes and edges."""
_LANDMARKS = {"forehead": (10, 151), "cheeks": (50, 280), "nose": (1, 4, 5), "chin": (152, 175)}
"""MediaPipe's landmarks in the middle of each part."""


@dataclass(frozen=True, eq=False)
class _Measured:
    """Detail of one part of one person."""

    log_sigma: Float64Array
    """(O,)."""
    covariance: Float64Array
    """(O, 3, 3) of log R, G, B over the variance of log luminance."""
    quantiles: Float64Array
    """(O, Q)."""
    log_tone: float


def detail_statistics(textures: Iterable[PortraitTexture], resolution: int) -> SkinDetail:
    """Statistics over people, one texture (R, R) of each.

    :raises InputError: if fewer than `FEWEST_PEOPLE` show their cheeks.
    """
    geometry = default_texel_geometry(resolution)
    table = texel_table(load_default_model(), resolution)
    measured: dict[str, list[_Measured]] = {name: [] for name in (*_LANDMARKS, LIPS)}
    layout = _layout(geometry)
    octaves = Octaves(tuple(FINEST_SIGMA * 2.0**k * resolution for k in range(OCTAVES + 1)), 0)
    parts = part_weights(table, layout)
    clear = table.from_map(_clear_of_edges(geometry)[..., None].astype(np.float32)) > 0.0
    people = 0
    for texture in textures:
        people += 1
        for part, one in _measure(table, octaves, texture, list(measured), parts, clear[:, 0]).items():
            measured[part].append(one)
    if len(measured["cheeks"]) < FEWEST_PEOPLE:
        raise InputError(f"{len(measured['cheeks'])} people show their cheeks, {FEWEST_PEOPLE} are needed: give more")
    return _summary(layout, measured, people)


def textures_of_set(data: Path, progress: Callable[[int, int], None]) -> Iterator[PortraitTexture]:
    """Textures of the people of a set that `fitme data build --people` built.

    :raises InputError: if the set or a texture is missing.
    """
    names = load_people_set(data).names
    for done, name in enumerate(names):
        yield load_texture(data / TEXTURES_FOLDER / f"{name}.npz")
        progress(done + 1, len(names))


def _measure(
    table: TexelTable,
    octaves: Octaves,
    texture: PortraitTexture,
    names: Sequence[str],
    parts: Float32Array,  # (N, P)
    clear: BoolArray,  # (N,)
) -> dict[str, _Measured]:
    """Detail of each part of a person that is seen well enough."""
    good = (texture.confidence > SEEN_WELL) & (texture.skin_probability > SURELY_SKIN)
    inner = cv2.erode(good.astype(np.uint8), np.ones(MARGIN_TEXELS[::-1], np.uint8)) > 0
    logs = np.log(texture.observed + OFFSET)
    bands = [table.from_map(band) for band in octaves.split(logs, good.astype(np.float32))]  # O of (N, 3)
    usable = clear & table.from_map(inner[..., None].astype(np.float32))[:, 0].astype(bool)
    found = {}
    for index, name in enumerate(names):
        at = usable & (parts[:, index] > MIDDLE)
        if np.count_nonzero(at) < FEWEST_TEXELS:
            continue
        light = np.stack([band[at] @ LUMINANCE for band in bands]).astype(np.float64)  # (O, n)
        # Edges of nostrils, hairs and moles are no texture: values beyond the limit count as the limit.
        limit = LARGEST_DEVIATION * NORMAL_MAD * np.median(np.abs(light), 1, keepdims=True)
        sigma = np.clip(light, -limit, limit).std(1)
        covariance = np.stack([np.cov(band[at].T) for band in bands]) / light.var(1)[:, None, None]
        quantiles = np.quantile(light / sigma[:, None], quantile_levels(QUANTILES), axis=1).T
        tone = float((table.from_map(logs)[at] @ LUMINANCE).mean())
        found[name] = _Measured(np.log(sigma), covariance, quantiles, tone)
    return found


def _summary(layout: SkinDetail, measured: dict[str, list[_Measured]], people: int) -> SkinDetail:
    """Statistics over people of what was measured of each."""
    skin = [one for name in ("forehead", "cheeks", "nose") for one in measured[name]]
    log_tone = float(np.mean([one.log_tone for one in measured["cheeks"]]))
    # One slope for all parts: a single part has too few dark skins.
    slope = _tone_slope([measured[name] for name in _LANDMARKS])
    cheeks = np.mean([one.log_sigma - slope * (one.log_tone - log_tone) for one in measured["cheeks"]], 0)
    parts = {}
    for name, ones in measured.items():
        used = ones if len(ones) >= FEWEST_PEOPLE else measured["cheeks"]
        at_tone = np.stack([one.log_sigma - slope * (one.log_tone - log_tone) for one in used])
        parts[name] = PartDetail(
            _rounded(_of_texture(name, at_tone.mean(0), cheeks)), _rounded(at_tone.std(0)), _rounded(slope)
        )
    covariance = np.mean([one.covariance for one in skin], axis=0) + SMALLEST_VARIANCE * np.eye(3)
    quantiles = np.mean([one.quantiles for one in skin], axis=0)
    color = tuple(tuple(_rounded(row) for row in np.linalg.cholesky(c)) for c in covariance)
    return SkinDetail(
        VERSION, people, round(log_tone, 4), layout.places, parts, color, tuple(_rounded(q) for q in quantiles)
    )


def _of_texture(name: str, log_sigma: Float64Array, cheeks: Float64Array) -> Float64Array:
    """(O,) `log_sigma` of a part's texture, of what was measured of it and of the cheeks (O,), the coarsest last."""
    limited = log_sigma if name == LIPS else np.minimum(log_sigma, cheeks + LARGEST_EXCESS)
    return np.append(limited[:-1], limited[-1] + np.log(COARSEST_SHARE))


def _tone_slope(groups: Sequence[Sequence[_Measured]]) -> Float64Array:
    """(O,) slope of `log_sigma` over `log_tone`, least squares within the groups."""
    tones, sigmas = [], []
    for group in groups:
        if group:
            tones.append(np.array([one.log_tone for one in group]) - np.mean([one.log_tone for one in group]))
            all_sigmas = np.stack([one.log_sigma for one in group])
            sigmas.append(all_sigmas - all_sigmas.mean(0))
    tone, sigma = np.concatenate(tones), np.concatenate(sigmas)
    return np.asarray(tone @ sigma / max(float(tone @ tone), 1e-9), np.float64)


def _layout(geometry: TexelGeometry) -> SkinDetail:
    """Statistics of no detail, with the places of the parts."""
    places = {
        name: tuple((round(float(u), 4), round(float(v), 4)) for u, v in map(geometry.landmark, landmarks))
        for name, landmarks in _LANDMARKS.items()
    }
    nothing = PartDetail((0.0,) * OCTAVES, (0.0,) * OCTAVES, (0.0,) * OCTAVES)
    identity = tuple(tuple(row) for row in np.eye(3).tolist())
    parts = dict.fromkeys((*_LANDMARKS, LIPS), nothing)
    return SkinDetail(VERSION, 0, 0.0, places, parts, (identity,) * OCTAVES, ((0.0,) * QUANTILES,) * OCTAVES)


def _clear_of_edges(geometry: TexelGeometry) -> BoolArray:
    """(R, R) texels away from brows, lids and the edges of the lips."""
    brows = np.minimum(*(np.abs(curve.across) for curve in geometry.brows)) < CLEAR_OF_BROWS
    lips = geometry.is_region(Region.LIPS)
    edges = np.abs(geometry.lips) < CLEAR_OF_LIPS
    between = lips & (np.abs(geometry.inner_lips) < CLEAR_OF_LIPS)
    return np.asarray(~brows & (geometry.eyelids > CLEAR_OF_LIDS) & ~edges & ~between)


def _rounded(values: Float64Array) -> tuple[float, ...]:
    return tuple(round(float(value), 4) for value in values)
