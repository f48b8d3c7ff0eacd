"""Raw outputs of the generator, (B, channels, R, R) by modality, and the reflectance maps that they encode.

Albedos are the logistic function of raw outputs, normals follow from raw slopes, so that no output is out of range.
"""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from fitme.color import srgb_to_linear
from fitme.reflectance.maps import ReflectanceMaps
from fitme.reflectance.modality import MODALITIES, Encoding, Modality

NORMAL_SLOPE_SCALE = 0.2
"""Surface slope of a raw normal output of one; slopes of skin relief are small."""
_LOGIT_MARGIN = 2e-3
"""Margin of albedos from 0 and 1 before the logit."""


def split_channels(stacked: Tensor, modalities: Sequence[Modality]) -> dict[str, Tensor]:
    """Raw maps (B, channels, R, R) by modality of stacked ones (B, channels of all, R, R)."""
    parts = torch.split(stacked, [m.raw_channels for m in modalities], 1)
    return {m.name: part for m, part in zip(modalities, parts, strict=True)}


def decode(raw: Mapping[str, Tensor]) -> ReflectanceMaps:
    """Maps (B, R, R, C) of raw outputs (B, channels, R, R) by modality.

    Under the logistic function dark hair and light skin are equally far from saturation.
    """
    return ReflectanceMaps.from_names(
        {name: _decoded(MODALITIES[name], values).permute(0, 2, 3, 1) for name, values in raw.items()}
    )


def _decoded(modality: Modality, raw: Tensor) -> Tensor:
    """(B, C, R, R) map of raw outputs (B, channels, R, R)."""
    if modality.encoding is not Encoding.TANGENT_NORMAL:
        return torch.sigmoid(raw)
    slopes = raw * NORMAL_SLOPE_SCALE
    upright = torch.cat([slopes, torch.ones_like(slopes[:, :1])], 1)
    # Many times as fast as torch's normalize, which takes norms across channels one texel at a time.
    return upright * (1.0 + slopes.square().sum(1, keepdim=True)).rsqrt()


def encode_raw(maps: Tensor) -> dict[str, Tensor]:
    """Raw outputs (B, channels, R, R) by modality of training data (B, channels of all, R, R): colours sRGB-encoded,
    other values linear, normals as slopes."""
    return {
        name: _encoded(MODALITIES[name], values) for name, values in split_channels(maps, MODALITIES.generated).items()
    }


def _encoded(modality: Modality, values: Tensor) -> Tensor:
    """Inverse of `_decoded`, of training data (B, channels, R, R)."""
    if modality.encoding is Encoding.TANGENT_NORMAL:
        return values / NORMAL_SLOPE_SCALE
    linear = srgb_to_linear(values) if modality.encoding is Encoding.COLOR else values
    return torch.logit(linear, _LOGIT_MARGIN)
