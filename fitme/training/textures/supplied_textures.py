"""Maps of user-supplied textures and MakeHuman's skins: translated to full reflectance, in every class of skin tone.

A texture becomes `len(CLASS_NAMES)` maps: one in its own class, and one for each other class with the skin tone of a
synthetic head of that class (`tone_matching.match_tone`), so that the classes are balanced.
"""

import hashlib
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import torch
from PIL import Image, UnidentifiedImageError
from scipy.ndimage import gaussian_filter

from fitme.arrays import BoolArray, Float32Array, UInt8Array
from fitme.color import srgb_to_linear
from fitme.errors import InputError
from fitme.reflectance.map_arrays import MapArrays
from fitme.reflectance.modality import Encoding, Modality
from fitme.shape.regions import Region
from fitme.skin.layers import lip_mask
from fitme.skin.painter import Skin, synthesize_skin
from fitme.skin.skin_tone_classes import CLASS_NAMES, ita_class_index, skin_ita_deg
from fitme.skin.texel_geometry import TexelGeometry, default_texel_geometry
from fitme.training.data.dataset import SuppliedMaps
from fitme.training.data.encoding import encode_maps
from fitme.training.textures.makehuman import find_skins, resample
from fitme.training.textures.tone_matching import match_tone, skin_mask
from fitme.training.textures.translation_network import TextureTranslator, translate

TEXTURE_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp")
REFERENCE_SEED = 2_000_000
"""First seed of the reference heads, synthetic heads that supply skin tone, hair, eyes and teeth."""
REFERENCE_TRIES = 400
"""Largest number of seeds that are tried."""
REFERENCES_PER_CLASS = 8
_LID_EDGE, _LID_REACH = 0.003, 0.008
"""Softness and width of the rim of the eye's opening, which is red in MakeHuman's skins, layout units."""
_HAIR_EDGE_TEXELS = 0.7
"""Softness of the reference's hair mask, texels of maps of 256 a side."""


@dataclass(frozen=True)
class SuppliedTexture:
    """File of a texture, and its layout."""

    path: Path
    makehuman: bool
    """Whether it is in MakeHuman's layout, without hair, eyes and teeth; otherwise it is in the default layout and
    complete."""


def find_textures(folder: Path) -> list[Path]:
    """Texture files in a folder, by name; InputError if there are none."""
    if not folder.is_dir():
        raise InputError(f"{folder}: there is no such folder of textures")
    found = sorted(path for path in folder.iterdir() if path.suffix.lower() in TEXTURE_SUFFIXES)
    if not found:
        raise InputError(
            f"{folder} holds no textures ({', '.join(TEXTURE_SUFFIXES)}): put UV textures in the default layout there"
        )
    return found


def read_texture(path: Path, resolution: int) -> Float32Array:
    """Texture in the default layout as linear colour (R, R, 3), averaged down to R texels a side in linear light.

    :raises InputError: if it is no image, damaged, not RGB of 8 or 16 bits, not square with a power of two of texels
        a side, or smaller than R.
    """
    codes = _read_rgb(path)
    height, width = codes.shape[:2]
    if height != width or width & (width - 1):
        raise InputError(
            f"{path}: {width} x {height} texels; a UV texture in the default layout is square with a power of two a"
            f" side, such as {max(resolution, 1024)} x {max(resolution, 1024)}: export it so"
        )
    if width < resolution:
        raise InputError(
            f"{path}: {width} x {height} texels are too few for maps of {resolution}: give a larger texture, or build"
            f" with --resolution {width}"
        )
    largest = np.iinfo(codes.dtype).max
    linear = srgb_to_linear(torch.from_numpy(codes.astype(np.float32) / largest)).numpy()
    if width > resolution:
        linear = cv2.resize(linear, (resolution, resolution), interpolation=cv2.INTER_AREA)
    return np.asarray(linear, np.float32)


def supplied_maps(
    textures: Path | None, makehuman: Path | None, resolution: int, network: TextureTranslator, weights: Path
) -> SuppliedMaps | None:
    """Maps for `build_dataset` of a folder of textures and a folder of MakeHuman's skins; None without either.

    Every texture is read and checked here, before any map is made.

    :param weights: file from which `network` was loaded, for the set's recipe.
    :raises InputError: for an unusable folder or texture.
    """
    sources = [SuppliedTexture(path, False) for path in find_textures(textures)] if textures else []
    sources += [SuppliedTexture(path, True) for path in find_skins(makehuman)] if makehuman else []
    if not sources:
        return None
    for source in sources:
        if source.makehuman:
            read_skin(source.path)
        else:
            read_texture(source.path, resolution)
    recipe: dict[str, Any] = {
        "images": {source.path.name: _digest(source.path) for source in sources},
        "translation": _digest(weights),
        "classes": len(CLASS_NAMES),
    }

    def make() -> Iterator[UInt8Array]:
        references = ReferenceHeads(default_texel_geometry(resolution))
        for source in sources:
            yield from maps_of_texture(source, references, network)

    return SuppliedMaps(len(sources) * len(CLASS_NAMES), recipe, make)


def maps_of_texture(
    source: SuppliedTexture, references: "ReferenceHeads", network: TextureTranslator
) -> Iterator[UInt8Array]:
    """Encoded maps (R, R, 6) of a texture, one for each class of skin tone, from the palest to the darkest."""
    texel_geometry = references.texel_geometry
    if source.makehuman:
        texture, known = resample(read_skin(source.path), texel_geometry.resolution)
        known = known & ~_eye_socket_mask(texel_geometry)
    else:
        texture, known = read_texture(source.path, texel_geometry.resolution), texel_geometry.covered
    coverage = torch.from_numpy(known.astype(np.float32))[None]
    maps = translate(network, torch.from_numpy(texture)[None], coverage)
    plain = MapArrays.from_names({name: tensor[0].numpy() for name, tensor in maps.by_name().items()})
    own_class = int(ita_class_index(skin_ita_deg(plain.diffuse, texel_geometry)))
    draw = np.random.default_rng(zlib.crc32(source.path.name.encode()))
    for ita_class in range(len(CLASS_NAMES)):
        reference = references.of_class(ita_class, draw)
        head = plain
        if ita_class != own_class:
            head = replace(plain, diffuse=match_tone(plain.diffuse, reference.diffuse, texel_geometry))
        if source.makehuman:
            head = _with_hair_and_eyes(head, reference, texel_geometry)
        yield encode_maps(head)


class ReferenceHeads:
    """Synthetic heads of every class of skin tone, painted on first use."""

    def __init__(self, texel_geometry: TexelGeometry) -> None:
        self.texel_geometry = texel_geometry
        self._skins: list[list[Skin]] = [[] for _ in CLASS_NAMES]
        self._next_seed = REFERENCE_SEED

    def of_class(self, ita_class: int, draw: np.random.Generator) -> Skin:
        """Random one of the first heads of a class."""
        while len(self._skins[ita_class]) < REFERENCES_PER_CLASS and self._next_seed < REFERENCE_SEED + REFERENCE_TRIES:
            skin = synthesize_skin(self._next_seed, self.texel_geometry.resolution)
            self._next_seed += 1
            same_class = self._skins[int(ita_class_index(skin_ita_deg(skin.diffuse, self.texel_geometry)))]
            if len(same_class) < REFERENCES_PER_CLASS:
                same_class.append(skin)
        return self._skins[ita_class][int(draw.integers(len(self._skins[ita_class])))]


def _with_hair_and_eyes(head: MapArrays, reference: Skin, texel_geometry: TexelGeometry) -> MapArrays:
    """Head with the hair, the rims of the eyes, the eyes and the mouth interior of a synthetic one."""
    blur = _HAIR_EDGE_TEXELS * texel_geometry.resolution / 256.0
    hair = gaussian_filter(
        (1.0 - skin_mask(reference.diffuse, texel_geometry)) * (1.0 - lip_mask(texel_geometry)), blur
    )
    rim = 1.0 / (1.0 + np.exp(np.clip((texel_geometry.eyelids - _LID_REACH) / _LID_EDGE, -30.0, 30.0)))
    weight = np.where(texel_geometry.skin_like, np.maximum(hair, rim), 1.0)[..., None].astype(np.float32)

    def blended(modality: Modality, own: Float32Array, other: Float32Array) -> Float32Array:
        mixed = own + (other - own) * weight
        if modality.encoding is not Encoding.TANGENT_NORMAL:
            return mixed
        return np.asarray(mixed / np.linalg.norm(mixed, axis=-1, keepdims=True), np.float32)

    return head.mapped(blended, reference.arrays)


def _eye_socket_mask(texel_geometry: TexelGeometry) -> BoolArray:
    """Mask (R, R) of skin within the eyes' opening, which is red in MakeHuman's skins."""
    return np.asarray((texel_geometry.eyelids < _LID_REACH) & texel_geometry.is_region(Region.SKIN))


def read_skin(path: Path) -> UInt8Array:
    """Skin of MakeHuman (H, W, 3), sRGB bytes; InputError if it is damaged or of another kind."""
    codes = _read_rgb(path)
    if codes.dtype != np.uint8 or codes.shape[0] != codes.shape[1]:
        raise InputError(
            f"{path}: {codes.shape[1]} x {codes.shape[0]} pixels of {8 * codes.itemsize} bits a channel; MakeHuman's"
            " skins are square with 8 bits: fetch the package again"
        )
    return codes.astype(np.uint8)


def _read_rgb(path: Path) -> UInt8Array | npt.NDArray[np.uint16]:
    """Codes (H, W, 3) of an RGB image with 8 or 16 bits a channel; InputError if it is unusable."""
    codes: npt.NDArray[Any] | None
    try:
        with Image.open(path) as image:
            image.load()
            mode = image.mode
            # Pillow reduces PNGs of 16 bits to 8.
            codes = cv2.imread(str(path), cv2.IMREAD_UNCHANGED) if image.format == "PNG" else _blue_first(image)
    except UnidentifiedImageError as error:
        raise InputError(f"{path}: not an image in a known format; export it as PNG") from error
    except (OSError, SyntaxError, ValueError, EOFError, cv2.error) as error:
        raise InputError(f"{path}: the image is truncated or damaged ({error}); export it again") from error
    if mode != "RGB":
        raise InputError(f"{path}: mode {mode}; a texture is RGB without alpha or palette: convert it to RGB")
    if codes is None or codes.ndim != 3 or codes.shape[2] != 3:
        raise InputError(f"{path}: the image is damaged or of an unknown kind; export it as PNG")
    if codes.dtype not in (np.uint8, np.uint16):
        raise InputError(f"{path}: {codes.dtype} a channel; a texture has 8 or 16 bits: export it so")
    return np.ascontiguousarray(codes[..., ::-1])


def _blue_first(image: Image.Image) -> UInt8Array:
    """Codes (H, W, C) with the channels reversed, in OpenCV's order; (H, W) for a single channel."""
    codes = np.asarray(image)
    return codes[..., ::-1] if codes.ndim == 3 else codes


def _digest(path: Path) -> str:
    """Beginning of the SHA-256 of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()[:16]
