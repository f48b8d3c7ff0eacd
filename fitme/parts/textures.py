"""Reflectance of the parts: what is common to everybody, in the person's tones.

Teeth have the enamel's tone of the person: of the head's maps, where the upper row of teeth lies in the model's layout.
The fit's maps hold the generator's teeth there, and images of smiles over them by the expression.
"""

from dataclasses import dataclass

import cv2
import numpy as np

from fitme.arrays import BoolArray, Float32Array
from fitme.parts.drawn_head import STRIP_PLACES, STRIP_SHARE
from fitme.parts.head_parts import HeadParts, Texture
from fitme.reflectance.maps import ReflectanceMaps
from fitme.reflectance.modality import MODALITIES

ENAMEL = (0.62, 0.565, 0.46)
"""Linear albedo of enamel where no image shows any."""
ENAMEL_LUMINANCE = (0.40, 0.66)
"""Range of the luminance of enamel: images show teeth in the shade of the lips."""
GUM = (0.36, 0.15, 0.14)
"""Linear albedo of gums."""
RATIO_CODE = 128.0
"""Code of a ratio of one in the textures of teeth."""
PART_SPECULAR = 0.7
"""Specular albedo of parts that have no map of it: saliva and tears, index 1.34 to 1.4."""


@dataclass(frozen=True)
class PersonTones:
    """Tones that the parts take from a person's maps, linear."""

    enamel: Float32Array
    """(3,)."""


def person_tones(maps: ReflectanceMaps) -> PersonTones:
    """Tones of the first of a batch of maps."""
    return PersonTones(np.array(ENAMEL, np.float32))


def teeth_map(parts: HeadParts, tones: PersonTones) -> Float32Array:
    """(H, W, 3) linear diffuse albedo of teeth and gums."""
    codes = parts.teeth_texture.astype(np.float32)
    ratio, enamel = codes[..., :3] / np.float32(RATIO_CODE), codes[..., 3:] / np.float32(255.0)
    tone = np.array(GUM, np.float32) + enamel * (tones.enamel - np.array(GUM, np.float32))
    return np.asarray(ratio * tone, np.float32)


def with_strip(maps: ReflectanceMaps, parts: HeadParts | None) -> ReflectanceMaps:
    """Maps (1, (1 + STRIP_SHARE) R, R, C) for `DrawnHead`: those of the head (1, R, R, C) above, the parts' below."""
    import torch

    side = maps.diffuse.shape[2]
    height = round(STRIP_SHARE * maps.diffuse.shape[1])
    strips = {
        modality.name: np.broadcast_to(np.array(modality.default, np.float32), (height, side, modality.channels)).copy()
        for modality in MODALITIES
    }
    strips["specular"][:] = PART_SPECULAR
    if parts is not None:
        _put(strips["diffuse"], Texture.TEETH, teeth_map(parts, person_tones(maps)))
    below = {name: torch.from_numpy(strip)[None] for name, strip in strips.items()}
    return ReflectanceMaps.from_names(
        {name: torch.cat([values, below[name].to(values)], 1) for name, values in maps.by_name().items()}
    )


def _put(strip: Float32Array, texture: Texture, values: Float32Array) -> None:
    height, width = strip.shape[:2]
    left, top, right, bottom = STRIP_PLACES[texture]
    columns, rows = slice(round(left * width), round(right * width)), slice(round(top * height), round(bottom * height))
    size = columns.stop - columns.start, rows.stop - rows.start
    strip[rows, columns] = cv2.resize(values, size, interpolation=cv2.INTER_AREA)
