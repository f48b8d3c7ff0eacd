"""How good the encoder's guesses are, on heads that no training has seen: one picture of a head that is turned aside,
so that half of its face is hidden, lit by an unknown light."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch

from fitme.metrics.similarity import psnr
from fitme.reflectance.generator import ReflectanceGenerator
from fitme.reflectance.maps import ReflectanceMaps
from fitme.reflectance.texture_encoder import TextureEncoder
from fitme.render.rasterizer import select_backend
from fitme.shape import load_default_model
from fitme.skin.painter import synthesize_skin
from fitme.skin.skin_tone_classes import CLASS_NAMES, ita_class_index, skin_ita_deg
from fitme.skin.texel_geometry import default_texel_geometry
from fitme.training.data.dataset import HELD_OUT_SEED, encoded_maps
from fitme.training.encoder.simulated_textures import (
    CaptureSettings,
    TextureObservation,
    measure_views,
    simulate_observations,
)

YAW_RANGE_DEG = (20.0, 50.0)
"""How far heads are turned, to either side in turn."""
OBSERVED_VISIBILITY = 0.1
"""Visibility from which a texel counts as seen."""
SCORE_BATCH = 8


@dataclass(frozen=True)
class TextureEncoderScore:
    """PSNR of the guessed diffuse albedo, sRGB-encoded, over all covered texels, the unseen ones included."""

    psnr_db: float
    """Mean over heads."""
    lowest_psnr_db: float
    seen_psnr_db: float
    """Over the seen texels only; mean over heads."""
    unseen_psnr_db: float
    psnr_of_class_db: dict[str, float]
    """Mean over the heads of each class of skin tone that occurs, by its name in `typology.CLASS_NAMES`."""
    angle_error_of_class_deg: dict[str, float]
    """Mean absolute error of the individual typology angle."""
    seen_share: float
    """Mean share of the covered texels that were seen."""


@torch.no_grad()
def score_encoder(
    encoder: TextureEncoder, generator: ReflectanceGenerator, heads: int = 64, capture: CaptureSettings | None = None
) -> TextureEncoderScore:
    """Guess `heads` held-out made heads at the generator's resolution. Deterministic."""
    texel_geometry = default_texel_geometry(generator.config.resolution)
    covered = torch.from_numpy(texel_geometry.covered.astype(np.float32))
    rows, found_deg, true_deg = [], [], []
    for truth, observation in partly_visible_heads(heads, generator.config.resolution, capture or CaptureSettings()):
        guess = generator.synthesize(encoder.encode(observation.texture, observation.visibility))
        seen = (observation.visibility[..., 0] > OBSERVED_VISIBILITY).float() * covered
        for index in range(len(seen)):
            found, wanted = guess.diffuse[index : index + 1], truth.diffuse[index : index + 1]
            masks = (covered, seen[index], covered - seen[index])
            share = float(seen[index].sum() / covered.sum())
            rows.append([*(float(psnr(found, wanted, mask)) for mask in masks), share])
            found_deg.append(skin_ita_deg(found[0].numpy(), texel_geometry))
            true_deg.append(skin_ita_deg(wanted[0].numpy(), texel_geometry))
    table, errors = np.array(rows), np.abs(np.array(found_deg) - np.array(true_deg))
    classes = ita_class_index(np.array(true_deg))
    present = [(name, classes == index) for index, name in enumerate(CLASS_NAMES) if (classes == index).any()]
    return TextureEncoderScore(
        psnr_db=float(table[:, 0].mean()),
        lowest_psnr_db=float(table[:, 0].min()),
        seen_psnr_db=float(table[:, 1].mean()),
        unseen_psnr_db=float(table[:, 2].mean()),
        psnr_of_class_db={name: float(table[chosen, 0].mean()) for name, chosen in present},
        angle_error_of_class_deg={name: float(errors[chosen].mean()) for name, chosen in present},
        seen_share=float(table[:, 3].mean()),
    )


def partly_visible_heads(
    heads: int, resolution: int, capture: CaptureSettings
) -> Iterator[tuple[ReflectanceMaps, TextureObservation]]:
    """Held-out heads in batches, each with one lit picture's texels, turned further with every pair. Deterministic."""
    turned = np.linspace(*YAW_RANGE_DEG, heads)
    yaws = np.where(np.arange(heads) % 2 == 0, turned, -turned).astype(np.float32)
    views = measure_views(load_default_model(), select_backend("cpu"), yaws, resolution, capture, seed=HELD_OUT_SEED)
    random = torch.Generator().manual_seed(HELD_OUT_SEED)
    for batch in torch.split(torch.arange(heads), SCORE_BATCH):
        truth = _painted([HELD_OUT_SEED + int(index) for index in batch], resolution)
        yield truth, simulate_observations(encoded_maps(truth), views, capture, random, batch)


def _painted(seeds: list[int], resolution: int) -> ReflectanceMaps:
    return ReflectanceMaps.concatenated([synthesize_skin(seed, resolution).maps() for seed in seeds])
