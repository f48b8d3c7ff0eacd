"""Accuracy of the texture encoder on held-out heads: one image of a head that is turned aside, so that half of its face
is hidden, under unknown light."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch

from fitme.metrics.similarity import psnr
from fitme.reflectance.generator import ReflectanceGenerator
from fitme.reflectance.maps import ReflectanceMaps
from fitme.reflectance.texture_encoder import TextureEncoder
from fitme.shape.model_file import load_default_model
from fitme.skin.painter import synthesize_skin
from fitme.skin.skin_tone_classes import CLASS_NAMES, ita_class_index, skin_ita_deg
from fitme.skin.texel_geometry import default_texel_geometry
from fitme.training.data.dataset import HELD_OUT_SEED
from fitme.training.data.encoding import encoded_maps
from fitme.training.encoder.simulated_textures import (
    CaptureSettings,
    TextureObservation,
    measure_views,
    simulate_observations,
)

YAW_RANGE_DEG = (20.0, 50.0)
"""Range of yaw, alternately to either side."""
OBSERVED_VISIBILITY = 0.1
"""Visibility from which a texel counts as observed."""
SCORE_BATCH = 8


@dataclass(frozen=True)
class TextureEncoderScore:
    """PSNR of the estimated diffuse albedo, sRGB-encoded, over the covered texels."""

    psnr_db: float
    """Mean over heads, all covered texels."""
    lowest_psnr_db: float
    """Of the worst head."""
    observed_psnr_db: float
    """Mean over heads, observed texels only."""
    hidden_psnr_db: float
    """Mean over heads, hidden texels only."""
    psnr_of_class_db: dict[str, float]
    """Mean over the heads of each class of skin tone that occurs, by its name in `CLASS_NAMES`."""
    ita_error_of_class_deg: dict[str, float]
    """Mean absolute error of the individual typology angle."""
    observed_share: float
    """Mean share of the observed texels in the covered ones."""


@torch.no_grad()
def score_encoder(
    encoder: TextureEncoder, generator: ReflectanceGenerator, heads: int = 64, capture: CaptureSettings | None = None
) -> TextureEncoderScore:
    """Score of the encoder on held-out synthetic heads at the generator's resolution. Deterministic."""
    texel_geometry = default_texel_geometry(generator.config.resolution)
    covered = torch.from_numpy(texel_geometry.covered.astype(np.float32))
    rows, found_deg, true_deg = [], [], []
    for truth, observation in partly_visible_heads(heads, generator.config.resolution, capture or CaptureSettings()):
        estimate = generator.synthesize(encoder.encode(observation.texture, observation.visibility))
        observed = (observation.visibility[..., 0] > OBSERVED_VISIBILITY).float() * covered
        for index in range(len(observed)):
            found, wanted = estimate.diffuse[index : index + 1], truth.diffuse[index : index + 1]
            masks = (covered, observed[index], covered - observed[index])
            share = float(observed[index].sum() / covered.sum())
            rows.append([*(float(psnr(found, wanted, mask)) for mask in masks), share])
            found_deg.append(skin_ita_deg(found[0].numpy(), texel_geometry))
            true_deg.append(skin_ita_deg(wanted[0].numpy(), texel_geometry))
    table, errors = np.array(rows), np.abs(np.array(found_deg) - np.array(true_deg))
    classes = ita_class_index(np.array(true_deg))
    present = [(name, classes == index) for index, name in enumerate(CLASS_NAMES) if (classes == index).any()]
    return TextureEncoderScore(
        psnr_db=float(table[:, 0].mean()),
        lowest_psnr_db=float(table[:, 0].min()),
        observed_psnr_db=float(table[:, 1].mean()),
        hidden_psnr_db=float(table[:, 2].mean()),
        psnr_of_class_db={name: float(table[chosen, 0].mean()) for name, chosen in present},
        ita_error_of_class_deg={name: float(errors[chosen].mean()) for name, chosen in present},
        observed_share=float(table[:, 3].mean()),
    )


def partly_visible_heads(
    heads: int, resolution: int, capture: CaptureSettings
) -> Iterator[tuple[ReflectanceMaps, TextureObservation]]:
    """Held-out heads in batches, each with the lit texture of one image; every pair is turned further.
    Deterministic."""
    turned = np.linspace(*YAW_RANGE_DEG, heads)
    yaws = np.where(np.arange(heads) % 2 == 0, turned, -turned).astype(np.float32)
    views = measure_views(load_default_model(), yaws, resolution, capture, seed=HELD_OUT_SEED)
    random = torch.Generator().manual_seed(HELD_OUT_SEED)
    for batch in torch.split(torch.arange(heads), SCORE_BATCH):
        truth = _painted([HELD_OUT_SEED + int(index) for index in batch], resolution)
        yield truth, simulate_observations(encoded_maps(truth), views, capture, random, batch)


def _painted(seeds: list[int], resolution: int) -> ReflectanceMaps:
    """Maps of the synthetic heads of seeds, as one batch."""
    return ReflectanceMaps.concatenated([synthesize_skin(seed, resolution).maps() for seed in seeds])
