"""How well a generator and its encoder hold people on whom they were not trained."""

from dataclasses import dataclass
from statistics import fmean

import torch
from torch import Tensor

from fitme.reflectance.generator import ReflectanceGenerator
from fitme.reflectance.layers import downsample
from fitme.reflectance.texture_encoder import TextureEncoder
from fitme.training.people.mixing import PeopleBank
from fitme.training.people.scores import SEEN, SMALLEST_SQUARE, encoded_albedo, mean_square

BATCH = 5


@dataclass(frozen=True)
class EncoderScore:
    """PSNR of the sRGB-encoded diffuse albedo that one pass of the encoder predicts, mean over people, dB."""

    seen_db: float
    """Where the photo shows the skin."""
    hidden_db: float
    """Over the half of the face that was hidden from the encoder, where the photo shows it."""


@torch.no_grad()
def score_encoder(
    generator: ReflectanceGenerator, encoder: TextureEncoder, bank: PeopleBank, resolution: int
) -> EncoderScore:
    """Scores over everybody in a bank: of the whole photo, and with either half of the face hidden.

    :param resolution: texels a side of the predicted maps.
    """
    seen_db: list[float] = []
    hidden_db: list[float] = []
    for indices in torch.split(torch.arange(bank.count), BATCH):
        drawn = bank.people(indices)
        albedo, share = drawn.maps[:, :3], drawn.share
        target = downsample(albedo, bank.resolution // resolution)
        seen = (downsample(share, bank.resolution // resolution) > SEEN).float()
        seen_db += _psnr(_predicted(generator, encoder, albedo, share, resolution), target, seen)
        for side in (0, 1):
            # The layout is mirror symmetric about its middle column.
            hidden, shown = _half(share, side), _half(share, 1 - side)
            found = _predicted(generator, encoder, albedo, share * shown, resolution)
            hidden_db += _psnr(found, target, seen * downsample(hidden, bank.resolution // resolution))
    return EncoderScore(fmean(seen_db), fmean(hidden_db))


def _predicted(
    generator: ReflectanceGenerator, encoder: TextureEncoder, albedo: Tensor, visibility: Tensor, resolution: int
) -> Tensor:
    """(B, 3, r, r) sRGB-encoded albedo that the encoder finds in one (B, 3, R, R) with visibility (B, 1, R, R)."""
    texture, visible = albedo.permute(0, 2, 3, 1), visibility.permute(0, 2, 3, 1)
    w_plus = encoder.encode(texture.contiguous(), visible.contiguous(), delighted=True)
    return encoded_albedo(generator, w_plus, resolution)


def _half(like: Tensor, side: int) -> Tensor:
    """Mask (1, 1, R, R) of the left or right half of the layout."""
    columns = torch.arange(like.shape[-1]) * 2 >= like.shape[-1]
    return (columns == bool(side)).float().expand(1, 1, *like.shape[-2:])


def _psnr(found: Tensor, target: Tensor, mask: Tensor) -> list[float]:
    """PSNR of each of B heads (B, 3, r, r) over a mask (B, 1, r, r), dB; of those with an empty mask none."""
    square = mean_square(found, target, mask).clamp(min=SMALLEST_SQUARE)
    decibels: list[float] = (-10.0 * square.log10())[mask.sum((1, 2, 3)) > 0].tolist()
    return decibels
