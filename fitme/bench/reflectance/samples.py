"""Benchmark rows: what random samples look like beside held-out maps."""

import numpy as np
import torch

from fitme.bench.reflectance.consistency import CANDIDATES, learn_partners, retrieve_partners
from fitme.bench.reflectance.frechet import frechet_distance
from fitme.bench.reflectance.sets import SeenSet
from fitme.bench.rows import BenchmarkRow
from fitme.reflectance.generator import ReflectanceGenerator
from fitme.skin.skin_tone_classes import CLASS_NAMES, SkinToneCounts, skin_ita_deg
from fitme.skin.texel_geometry import default_texel_geometry
from fitme.training.contact_sheets import sample_latents, synthesize_all

TONE_RESOLUTION = 64
"""Texels a side at which a generator's skin already has the tone of its full maps, within a degree."""
TONE_BATCH = 500
LEARNING_SHARE = 0.75
"""Part of the held-out maps that the retrieval network learns on; it is measured on the rest."""
RATIO_TARGET, TONE_TARGET, CONSISTENCY_TARGET = "<= 3", "10 to 24", ">= 0.9"


def frechet_rows(held_out: SeenSet, samples: SeenSet) -> list[BenchmarkRow]:
    """Distance of the samples from halves of the held-out maps beside that between the halves, all of as many heads."""
    count = len(samples.small)
    halves = held_out.part(0, count), held_out.part(count, 2 * count)
    rows = []
    for what, made_features, (first, second) in (
        ("diffuse maps", samples.texture_features, [half.texture_features for half in halves]),
        ("portraits of the mean head", samples.portrait_features, [half.portrait_features for half in halves]),
    ):
        real = frechet_distance(first, second)
        made = (frechet_distance(made_features, first) + frechet_distance(made_features, second)) / 2.0
        name = f"FID of {what} on EfficientNet-lite0"
        rows += [
            BenchmarkRow(f"{name}, {count} samples and {count} held-out", made, ""),
            BenchmarkRow(f"{name}, two halves of {count} held-out", real, ""),
            BenchmarkRow(f"{name}, ratio of the two", made / real, "", RATIO_TARGET),
        ]
    return rows


def tone_rows(generator: ReflectanceGenerator, count: int, seed: int) -> list[BenchmarkRow]:
    """How random samples spread over the classes of the typology angle."""
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


def consistency_rows(held_out: SeenSet, samples: SeenSet, seed: int) -> list[BenchmarkRow]:
    """How often the partner of a diffuse albedo is found, on held-out maps that the network did not learn on and on
    samples."""
    learning = round(LEARNING_SHARE * len(held_out.small))
    network = learn_partners(held_out.small[:learning], seed)
    real = retrieve_partners(network, held_out.small[learning:])
    made = retrieve_partners(network, samples.small)
    rows = []
    for partner, of_real, of_made in (
        ("specular", real.specular, made.specular),
        ("normals", real.normals, made.normals),
    ):
        name = f"retrieval of the right {partner} for a diffuse among {CANDIDATES}"
        rows += [
            BenchmarkRow(f"{name}, held-out maps", of_real, "share"),
            BenchmarkRow(f"{name}, samples", of_made, "share"),
            BenchmarkRow(f"{name}, samples over held-out maps", of_made / max(of_real, 1e-6), "", CONSISTENCY_TARGET),
        ]
    return rows
