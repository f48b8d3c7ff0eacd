"""Data set of people's reflectance, built from folders of portraits (`fitme data build --people FOLDER`).

::

    textures/NAME.npz     de-lit texture of each portrait (`portrait_fit`); kept, so that a build is resumed
    left_out.json         portraits that were left out, and why
    NAME.webp             sRGB-encoded diffuse albedo of the whole head, R x R
    portraits.npz         all that is smooth, see `PeopleSet`
    views.npz             views for the texture encoder's training, see `views_file`
    about.json            recipe; written last

It holds maps of real people: it is for training on the machine where it was built, and never shipped.
"""

import io
import json
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from fitme.arrays import Float32Array, UInt8Array
from fitme.atomic_file import atomic_file
from fitme.errors import InputError
from fitme.training.data.encoding import SLOPE_LIMIT

if TYPE_CHECKING:
    from fitme.skin.texel_geometry import TexelGeometry

ABOUT_FILE, PORTRAITS_FILE, LEFT_OUT_FILE, TEXTURES_FOLDER = "about.json", "portraits.npz", "left_out.json", "textures"
VERSION = 1
PORTRAIT_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp")
HISTOGRAM_SIDE = 256
"""Texels a side of the maps whose histograms are taken."""
COARSE_SIDE = 128
"""Texels a side of what is smooth: specular albedo, coarse relief, masks."""
QUALITY = 97
"""Of the albedos' WebP files."""
ENCODER_SIDE, VIEWS = 64, 240
"""Texels a side of the views that the texture encoder is trained with, and their number."""
DIGITS = 3
"""Decimals of stored CIELAB values."""
_REGION_LANDMARKS = {
    "forehead": (10, 151), "eyes": (159, 386, 145, 374), "nose": (1, 4, 5), "mouth": (13, 14, 0, 17),
    "chin": (152, 175), "cheeks": (50, 280), "temples": (127, 356),
}  # fmt: skip
"""MediaPipe's landmarks in the middle of each region."""
_REGION_WIDTH, _REGION_HEIGHT = 0.075, 0.06
"""Standard deviations of a region, layout units."""
_FAR, _REGION_POWER = 0.12, 3.0
"""Weight of what is far from all regions, and exponent of the weights."""


@dataclass(frozen=True, eq=False)
class PeopleSet:
    """Maps of N people, and what changes their skin tone. r is `COARSE_SIDE`."""

    names: tuple[str, ...]
    diffuse: UInt8Array
    """(N, R, R, 3) sRGB-encoded."""
    coarse: UInt8Array
    """(N, r, r, 3) specular albedo, and slopes of the coarse relief from -`SLOPE_LIMIT` to `SLOPE_LIMIT`."""
    share: UInt8Array
    """(N, r, r) share of the photo in the albedo."""
    skin: UInt8Array
    """(N, r, r) mask of the skin, without hair and lips."""
    between_hairs: UInt8Array
    """(N, r, r) light between hairs."""
    places: Float32Array
    """(N, 2, 3, Q) see `tone_curves.ToneCurves`."""
    heights: Float32Array
    """(N, classes, 2, 3, Q)."""
    darkening: Float32Array
    """(N, classes, 3)."""
    ita_deg: Float32Array
    """(N,) individual typology angle."""
    regions: UInt8Array
    """(K, r, r) soft masks of the parts of the head that different people may contribute, mirror symmetric; their
    sum is 255."""
    lips: UInt8Array
    """(r, r) mask of the lips."""
    surface: UInt8Array
    """(r, r) mask of the outer surface of the head."""
    weight: UInt8Array
    """(r, r) weights of texels in training losses, in hundredths."""

    @property
    def resolution(self) -> int:
        """Texels a side of the albedos."""
        return int(self.diffuse.shape[1])


def build_people_set(
    folders: Sequence[Path],
    out: Path,
    resolution: int,
    *,
    progress: Callable[[int, int], None] | None = None,
    leave_out: Callable[[Path], bool] = lambda path: False,
) -> PeopleSet:
    """Build the set of the portraits in `folders`, each folder from one studio, or resume a build.

    :param leave_out: portraits that are not looked at, such as `split.is_held_out`.
    :param progress: called with the number of portraits fitted so far and in total.
    :raises InputError: for folders without portraits, or if no portrait is usable.
    """
    # Imported only here: training on the set needs neither the tracker nor the fit.
    from fitme.reflectance.packaged_models import packaged_encoder, packaged_generator
    from fitme.skin.texel_geometry import default_texel_geometry
    from fitme.training.encoder.simulated_textures import CaptureSettings
    from fitme.training.encoder.trainer import EncoderTrainingConfig, measured_views
    from fitme.training.people.portrait_fit import PortraitTexture, load_texture
    from fitme.training.people.portrait_maps import (
        LARGEST_COVERED,
        covered_share,
        encoded_diffuse,
        flat_field,
        painted_field,
        portrait_maps,
    )
    from fitme.training.people.tone_curves import class_histograms, histogram, tone_curves
    from fitme.training.people.views_file import save_views

    geometry = default_texel_geometry(resolution)
    left_out = _fit_portraits(folders, out, resolution, progress, leave_out)
    wanted = painted_field(resolution)
    generator = packaged_generator("painted")
    encoder = packaged_encoder(generator)
    assert encoder is not None
    names, maps = [], []
    for folder in folders:
        textures: dict[str, PortraitTexture] = {}
        for path in find_portraits(folder):
            if leave_out(path) or name_of(path) in left_out:
                continue
            texture = load_texture(out / TEXTURES_FOLDER / f"{name_of(path)}.npz")
            if (share := covered_share(texture, geometry)) > LARGEST_COVERED:
                left_out[name_of(path)] = f"{share:.0%} of the open face is covered"
            else:
                textures[name_of(path)] = texture
        field = flat_field(list(textures.values()), geometry) if textures else wanted
        for name, texture in textures.items():
            names.append(name)
            maps.append(portrait_maps(texture, field, wanted, geometry, generator, encoder))
    if not maps:
        raise InputError(f"no portrait of {', '.join(map(str, folders))} can be used: see {out / LEFT_OUT_FILE}")
    _write_json(out / LEFT_OUT_FILE, left_out)

    # Histograms need no more detail than masks have.
    factor = max(resolution // HISTOGRAM_SIDE, 1)
    smaller = default_texel_geometry(resolution // factor)
    small = [block_means(entry.diffuse, factor) for entry in maps]
    histograms = [histogram(diffuse, smaller) for diffuse in small]
    classes = class_histograms(histograms, [entry.ita_deg for entry in maps], smaller)
    curves = [tone_curves(diffuse, own, classes, smaller) for diffuse, own in zip(small, histograms, strict=True)]
    for name, entry in zip(names, maps, strict=True):
        _write_image(out / f"{name}.webp", _bytes(encoded_diffuse(entry)))
    coarse = [_coarse(np.concatenate([m.specular, 0.5 + 0.5 * m.slopes / SLOPE_LIMIT], -1)) for m in maps]
    arrays = {
        "names": np.array(names),
        "coarse": np.stack(coarse),
        "share": np.stack([_coarse(m.share[..., None])[..., 0] for m in maps]),
        "skin": np.stack([_coarse(c.skin[..., None])[..., 0] for c in curves]),
        "between_hairs": np.stack([_coarse(c.between_hairs[..., None])[..., 0] for c in curves]),
        "places": np.stack([c.places for c in curves]).round(DIGITS),
        "heights": np.stack([c.heights for c in curves]).round(DIGITS),
        "darkening": np.stack([c.darkening for c in curves]),
        "ita_deg": np.array([m.ita_deg for m in maps], np.float32),
        **layout_arrays(default_texel_geometry(min(resolution, COARSE_SIDE))),
    }
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)
    with atomic_file(out / PORTRAITS_FILE) as partial:
        partial.write_bytes(buffer.getvalue())
    save_views(measured_views(ENCODER_SIDE, EncoderTrainingConfig(views=VIEWS), CaptureSettings()), out)
    recipe = {"version": VERSION, "resolution": resolution, "people": len(names), "left_out": len(left_out)}
    _write_json(out / ABOUT_FILE, recipe)
    return load_people_set(out)


def load_people_set(folder: Path) -> PeopleSet:
    """Set that `build_people_set` built; InputError if it is missing, unfinished or damaged."""
    if not (folder / ABOUT_FILE).is_file():
        raise InputError(f"{folder} holds no finished set of people: build it with `fitme data build --people`")
    try:
        with np.load(folder / PORTRAITS_FILE) as file:
            arrays = {name: file[name] for name in file.files}
        names = tuple(str(name) for name in arrays.pop("names"))
        diffuse = np.stack([np.asarray(Image.open(folder / f"{name}.webp").convert("RGB")) for name in names])
        return PeopleSet(names=names, diffuse=diffuse, **arrays)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{folder} is damaged ({error}): build it again with `fitme data build --people`") from error


def layout_arrays(geometry: "TexelGeometry") -> dict[str, UInt8Array]:
    """Arrays of a set that depend on the layout alone: `regions`, `lips`, `surface`, `weight`."""
    from fitme.skin.layers import lip_mask
    from fitme.training.data.dataset import texel_weight

    centres = {name: geometry.landmark(*indices) for name, indices in _REGION_LANDMARKS.items()}
    bumps = [
        np.exp(-0.5 * (((geometry.u - u) / _REGION_WIDTH) ** 2 + ((geometry.v - v) / _REGION_HEIGHT) ** 2))
        for u, v in centres.values()
    ]
    # Sharpened shares, and one more region for everything far from the face.
    shares = np.stack([*bumps, np.full_like(bumps[0], _FAR)]) ** _REGION_POWER
    shares /= shares.sum(0)
    return {
        "regions": _bytes(shares),
        "lips": _bytes(lip_mask(geometry)),
        "surface": _bytes(geometry.skin_like.astype(np.float32)),
        "weight": np.asarray(np.rint(100.0 * texel_weight(geometry)[0, 0].numpy()), np.uint8),
    }


def reduced(people: PeopleSet, resolution: int) -> PeopleSet:
    """Set with albedos of at most so many texels a side, means of blocks."""
    factor = people.resolution // resolution
    if factor <= 1:
        return people
    smaller = [np.rint(block_means(maps.astype(np.float32), factor)).astype(np.uint8) for maps in people.diffuse]
    return replace(people, diffuse=np.stack(smaller))


def find_portraits(folder: Path) -> list[Path]:
    """Portraits in a folder, by name; InputError if there are none."""
    if not folder.is_dir():
        raise InputError(f"{folder}: there is no such folder of portraits")
    found = sorted(path for path in folder.iterdir() if path.suffix.lower() in PORTRAIT_SUFFIXES)
    if not found:
        raise InputError(f"{folder} holds no portraits ({', '.join(PORTRAIT_SUFFIXES)})")
    return found


def name_of(path: Path) -> str:
    """Name of a portrait in the set: its folder's and its own."""
    return f"{path.parent.name}_{path.stem}"


def _fit_portraits(
    folders: Sequence[Path],
    out: Path,
    resolution: int,
    progress: Callable[[int, int], None] | None,
    leave_out: Callable[[Path], bool],
) -> dict[str, str]:
    """Write the missing textures of portraits; reasons by the names of those that are left out."""
    from fitme.reflectance.packaged_models import packaged_generator
    from fitme.shape.model_file import load_default_model
    from fitme.training.people.portrait_fit import PortraitFitter, UnusablePortrait, save_texture

    (out / TEXTURES_FOLDER).mkdir(parents=True, exist_ok=True)
    left_out: dict[str, str] = _read_json(out / LEFT_OUT_FILE)
    paths = [path for folder in folders for path in find_portraits(folder) if not leave_out(path)]
    with closing(PortraitFitter(load_default_model(), packaged_generator("painted"), resolution)) as fitter:
        for done, path in enumerate(paths):
            if progress:
                progress(done, len(paths))
            target = out / TEXTURES_FOLDER / f"{name_of(path)}.npz"
            if target.is_file() or name_of(path) in left_out:
                continue
            try:
                save_texture(fitter.fit(path), target)
            except UnusablePortrait as reason:
                left_out[name_of(path)] = str(reason)
                _write_json(out / LEFT_OUT_FILE, left_out)
    if progress:
        progress(len(paths), len(paths))
    return left_out


def _coarse(values: Float32Array) -> UInt8Array:
    """Bytes (r, r, C) of values (R, R, C) in [0, 1], means of blocks."""
    return _bytes(block_means(values, max(len(values) // COARSE_SIDE, 1)))


def block_means(values: Float32Array, factor: int) -> Float32Array:
    """(H / factor, W / factor, C) means of the blocks of values (H, W, C)."""
    height, width, channels = values.shape
    blocks = values.reshape(height // factor, factor, width // factor, factor, channels)
    return np.asarray(blocks.mean((1, 3)), np.float32)


def _bytes(values: Float32Array) -> UInt8Array:
    return np.asarray(np.clip(np.rint(values * 255.0), 0, 255), np.uint8)


def _write_image(path: Path, image: UInt8Array) -> None:
    with atomic_file(path) as partial:
        Image.fromarray(image).save(partial, "WEBP", quality=QUALITY, method=4)


def _write_json(path: Path, value: Any) -> None:  # noqa: ANN401
    with atomic_file(path) as partial:
        partial.write_text(json.dumps(value, indent=1, sort_keys=True))


def read_left_out(folder: Path) -> dict[str, str]:
    """Reasons, by the names of portraits, why a set lacks them."""
    return _read_json(folder / LEFT_OUT_FILE)


def _read_json(path: Path) -> dict[str, str]:
    try:
        content = json.loads(path.read_text()) if path.is_file() else {}
    except ValueError:
        content = {}
    return content if isinstance(content, dict) else {}
