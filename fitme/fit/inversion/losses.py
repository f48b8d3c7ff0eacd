"""Loss terms of inversion and tuning. Colours are compared sRGB-encoded, in which errors are perceptually uniform."""

from dataclasses import dataclass

import torch
import torch.nn.functional as functional
from torch import Tensor

from fitme.arrays import Float32Array
from fitme.color import linear_to_srgb
from fitme.track.identity import DlibEmbedder

PYRAMID_LEVELS = 3
"""Octaves over which image gradients are compared."""
CROP_VALUE_RANGE = 255.0
"""The identity network takes encoded colours from 0 to this."""


def encoded_l1(linear: Tensor, encoded_target: Tensor, weight: Tensor) -> Tensor:
    """Mean absolute difference, weighted by (B, H, W, 1), of linear from sRGB-encoded colours (B, H, W, 3)."""
    difference = (linear_to_srgb(linear) - encoded_target).abs().mean(-1, keepdim=True)
    return (difference * weight).sum() / weight.sum().clamp(min=1e-6)


def gradient_l1(linear: Tensor, encoded_target: Tensor, weight: Tensor) -> Tensor:
    """Weighted mean absolute difference of horizontal and vertical image gradients, over `PYRAMID_LEVELS` octaves;
    arguments as for `encoded_l1`."""
    difference = (linear_to_srgb(linear) - encoded_target).permute(0, 3, 1, 2)
    weight = weight.permute(0, 3, 1, 2)
    total = linear.new_zeros(())
    for _ in range(PYRAMID_LEVELS):
        for axis in (2, 3):
            length = difference.shape[axis] - 1
            step = difference.narrow(axis, 1, length) - difference.narrow(axis, 0, length)
            both = weight.narrow(axis, 1, length) * weight.narrow(axis, 0, length)
            total = total + (step.abs() * both).sum() / both.sum().clamp(min=1e-6) / difference.shape[1]
        difference, weight = functional.avg_pool2d(difference, 2), functional.avg_pool2d(weight, 2)
    return total


@dataclass(frozen=True)
class TargetFace:
    """Features and embedding of an image by the identity network."""

    features: tuple[Tensor, ...]
    """(1, C, H, W) each, outputs of its levels."""
    embedding: Tensor
    """(1, 128)."""


@torch.no_grad()
def target_face(embedder: DlibEmbedder, target: Tensor, landmarks: Float32Array) -> TargetFace:
    """Features of an image (1, R, R, 3), sRGB-encoded in [0, 1], with landmarks (478, 2) in its pixels."""
    return TargetFace(*embedder.features(embedder.crops(target * CROP_VALUE_RANGE, landmarks[None])))


def identity_losses(
    embedder: DlibEmbedder,
    rendered: Tensor,  # (1, R, R, 3) encoded
    target: TargetFace,
    landmarks: Float32Array,  # (478, 2) pixels of the crop
) -> tuple[Tensor, Tensor]:
    """Feature distance and cosine distance of the embeddings between a render of a face and its image in one crop.

    Features as a perceptual metric follow GANFIT (Gecer et al., CVPR 2019, eqs. 8 and 9), which FitMe takes over.
    """
    features, embedding = embedder.features(embedder.crops(rendered * CROP_VALUE_RANGE, landmarks[None]))
    distance = rendered.new_zeros(())
    for found, wanted in zip(features, target.features, strict=True):
        scale = wanted.square().mean().clamp(min=1e-6)
        distance = distance + (found - wanted).square().mean() / scale
    cosine = 1.0 - functional.cosine_similarity(embedding, target.embedding).mean()
    return distance / len(features), cosine


def landmark_loss(projected: Tensor, observed: Tensor, sigma_px: Tensor) -> Tensor:
    """Mean squared error of landmarks (P, 2) in standard deviations (P,), linear beyond one (Huber)."""
    return functional.huber_loss(projected / sigma_px[:, None], observed / sigma_px[:, None])
