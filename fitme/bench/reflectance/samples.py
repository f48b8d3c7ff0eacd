"""Benchmark rows: random samples of the generator compared with held-out maps."""

import numpy as np
import torch

from fitme.bench.reflectance.consistency import CANDIDATES, retrieve_partners, train_retrieval
from fitme.bench.reflectance.frechet import frechet_distance
from fitme.bench.reflectance.sets import FeatureSet
from fitme.bench.rows import BenchmarkRow
from fitme.reflectance.generator import ReflectanceGenerator
from fitme.skin.skin_tone_classes import CLASS_NAMES, SkinToneCounts, skin_ita_deg
from fitme.skin.texel_geometry import default_texel_geometry
from fitme.training.contact_sheets import sample_latents, synthesize_all

TONE_RESOLUTION = 64
"""Texels a side at which the skin tone of a generator's maps equals the full resolution's within one degree ITA."""
TONE_BATCH = 500
LEARNING_SHARE = 0.75
"""Share of the held-out maps that the retrieval network is trained on; the rest measure it."""
RATIO_TARGET, TONE_TARGET, CONSISTENCY_TARGET = "<= 3", "10 to 24", ">= 0.9"


def frechet_rows(held_out: FeatureSet, samples: FeatureSet) -> list[BenchmarkRow]:
    """Rows of the Fréchet distance of the samples from either half of the held-out maps, relative to the distance
    between the halves; all three sets have one size."""
    count = len(samples.thumbnails)
    halves = held_out.part(0, count), held_out.part(count, 2 * count)
    rows = []
    for what, sample_features, (first, second) in (
        ("diffuse maps", samples.texture_features, [half.texture_features for half in halves]),
        ("portraits of the mean head", samples.portrait_features, [half.portrait_features for half in halves]),
    ):
        real = frechet_distance(first, second)
        distance = (frechet_distance(sample_features, first) + frechet_distance(sample_features, second)) / 2.0
        name = f"FID of {what} on EfficientNet-lite0"
        rows += [
            BenchmarkRow(f"{name}, {count} samples and {count} held-out", distance, ""),
            BenchmarkRow(f"{name}, two halves of {count} held-out", real, ""),
            BenchmarkRow(f"{name}, ratio of the two", distance / real, "", RATIO_TARGET),
        ]
    return rows


def tone_rows(generator: ReflectanceGenerator, count: int, seed: int) -> list[BenchmarkRow]:
    """Rows of the share of random samples in each class of the individual typology angle (ITA)."""
    texel_geometry = default_texel_geometry(TONE_RESOLUTION)
    angles: list[float] = []
    for w in torch.split(sample_latents(generator, count, seed), TONE_BATCH):
        diffuse = synthesize_all(generator, w, TONE_RESOLUTION).diffuse.numpy()
        angles += [skin_ita_deg(head, texel_geometry) for head in diffuse]
    shares = SkinToneCounts.of(np.array(angles)).shares
    return [
        BenchmarkRow(f"ITA of {count:,} samples: {name}", 100.0 * share, "%", TONE_TARGET)
        for name, share in zip(CLASS_NAMES, shares, strict=True)
    ]


def consistency_rows(held_out: FeatureSet, samples: FeatureSet, seed: int) -> list[BenchmarkRow]:
    """Rows of the rate at which the partner of a diffuse albedo is retrieved, on held-out maps that the network was not
    trained on and on samples."""
    training_count = round(LEARNING_SHARE * len(held_out.thumbnails))
    network = train_retrieval(held_out.thumbnails[:training_count], seed)
    real = retrieve_partners(network, held_out.thumbnails[training_count:])
    of_samples = retrieve_partners(network, samples.thumbnails)
    rows = []
    for partner, real_rate, sample_rate in (
        ("specular", real.specular, of_samples.specular),
        ("normals", real.normals, of_samples.normals),
    ):
        name = f"retrieval of the right {partner} for a diffuse among {CANDIDATES}"
        rows += [
            BenchmarkRow(f"{name}, held-out maps", real_rate, "share"),
            BenchmarkRow(f"{name}, samples", sample_rate, "share"),
            BenchmarkRow(
                f"{name}, samples over held-out maps", sample_rate / max(real_rate, 1e-6), "", CONSISTENCY_TARGET
            ),
        ]
    return rows
