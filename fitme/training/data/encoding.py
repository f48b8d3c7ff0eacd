"""Encoding of reflectance maps for training: channels of all generated modalities (`modality.MODALITIES.generated`) in
one array, as bytes on disk and as float tensors in training.

With the three core modalities these are sRGB-encoded diffuse albedo (3), specular albedo (1), and slopes of the surface
along u and up the layout (2).
"""

import numpy as np
import torch
from torch import Tensor

from fitme.arrays import Float32Array, UInt8Array
from fitme.color import linear_to_bytes, linear_to_srgb
from fitme.reflectance.map_arrays import MapArrays
from fitme.reflectance.maps import ReflectanceMaps
from fitme.reflectance.modality import MODALITIES, Encoding, Modality
from fitme.reflectance.raw_outputs import split_channels

SLOPE_LIMIT = 0.6
"""Slope that the largest byte encodes."""


def channel_count() -> int:
    """Number of channels of an encoded map: 6 with the three core modalities."""
    return sum(modality.raw_channels for modality in MODALITIES.generated)


def encode_maps(maps: MapArrays) -> UInt8Array:
    """Bytes (R, R, 6) of maps (R, R, C): colours sRGB-encoded, other values linear, normals as slopes from
    -`SLOPE_LIMIT` to `SLOPE_LIMIT`."""
    by_name = maps.by_name()
    return np.concatenate([_to_bytes(modality, by_name[modality.name]) for modality in MODALITIES.generated], -1)


def decode_bytes(maps: Tensor) -> Tensor:
    """Encoded maps (B, 6, R, R), float32, of bytes (B, R, R, 6): values in [0, 1], colours still sRGB-encoded, slopes
    as rise over run."""
    stack = maps.permute(0, 3, 1, 2).float()
    parts = split_channels(stack, MODALITIES.generated)
    return torch.cat([_from_bytes(MODALITIES[name], part) for name, part in parts.items()], 1)


def encoded_maps(maps: ReflectanceMaps) -> Tensor:
    """Encoded maps (B, 6, R, R) of reflectance maps, as from `decode_bytes` but not rounded to bytes."""
    by_name = maps.by_name()
    parts = [_channels_of(modality, by_name[modality.name]) for modality in MODALITIES.generated]
    return torch.cat(parts, -1).permute(0, 3, 1, 2)


def mirrored_maps(maps: Tensor) -> Tensor:
    """Mirror images of encoded maps (B, 6, R, R) about the face's axis: columns reversed, slopes along u negated."""
    return maps.flip(-1) * maps.new_tensor(_mirror_signs())[:, None, None]


def _to_bytes(modality: Modality, values: Float32Array) -> UInt8Array:
    """Bytes (R, R, channels) of a map (R, R, C)."""
    if modality.encoding is Encoding.COLOR:
        return linear_to_bytes(values)
    if modality.encoding is Encoding.LINEAR:
        return np.asarray(np.clip(np.rint(values * 255.0), 0, 255), np.uint8)
    slopes = values[..., :2] / np.maximum(values[..., 2:], 0.1)
    return np.asarray(np.clip(np.rint(slopes / SLOPE_LIMIT * 127.0), -127, 127) + 128.0, np.uint8)


def _from_bytes(modality: Modality, values: Tensor) -> Tensor:
    """Encoded values (B, channels, R, R) of bytes."""
    if modality.encoding is Encoding.TANGENT_NORMAL:
        return (values - 128.0) / 127.0 * SLOPE_LIMIT
    return values / 255.0


def _channels_of(modality: Modality, values: Tensor) -> Tensor:
    """Encoded values (B, R, R, channels) of a map (B, R, R, C)."""
    if modality.encoding is Encoding.TANGENT_NORMAL:
        return values[..., :2] / values[..., 2:].clamp(min=0.1)
    return linear_to_srgb(values) if modality.encoding is Encoding.COLOR else values


def _mirror_signs() -> list[float]:
    """Signs of the channels in a mirror image."""
    signs = []
    for modality in MODALITIES.generated:
        slopes = modality.encoding is Encoding.TANGENT_NORMAL
        signs += [-1.0, 1.0] if slopes else [1.0] * modality.raw_channels
    return signs
