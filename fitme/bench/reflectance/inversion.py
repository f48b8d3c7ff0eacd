"""Benchmark rows: accuracy of W+ inversion of held-out maps, before and after weight tuning."""

import time
from collections.abc import Callable, Sequence

import numpy as np
import torch

from fitme.arrays import Float64Array, Int64Array
from fitme.bench.reflectance.sets import as_reflectance, held_out_maps
from fitme.bench.rows import BenchmarkRow
from fitme.reflectance.generator import ReflectanceGenerator
from fitme.skin.skin_tone_classes import CLASS_NAMES, ita_class_index
from fitme.skin.texel_geometry import default_texel_geometry
from fitme.training.data.dataset import MapDataset
from fitme.training.generator.inversion_score import HeadScores, InversionScore, score_inversion

INVERSION_STEPS, TUNING_STEPS = 200, 100
BATCH = 4
"""Heads that are inverted in one batch; their losses are independent."""
PSNR_TARGET, SSIM_TARGET, TUNED_TARGET = ">= 30", ">= 0.90", ">= 34"
WORST_SHARE = 0.1


def inversion_rows(
    generator: ReflectanceGenerator,
    held_out: MapDataset,
    heads: int,
    progress: Callable[[str], None],
    *,
    steps: int = INVERSION_STEPS,
    tuning_steps: int = TUNING_STEPS,
) -> list[BenchmarkRow]:
    """Rows of the first `heads` held-out heads: means over heads of scores over the texels that the layout covers.

    :param progress: receives one line after each batch.
    """
    mask = torch.from_numpy(default_texel_geometry(held_out.resolution).covered).float()
    scores: list[HeadScores] = []
    start = time.perf_counter()
    for first in range(0, heads, BATCH):
        target = as_reflectance(held_out_maps(held_out, first, min(first + BATCH, heads)))
        scores += score_inversion(generator, target, steps=steps, tuning_steps=tuning_steps, mask=mask)
        progress(f"inverted and tuned {len(scores)} of {heads} heads in {time.perf_counter() - start:.0f} s")
    classes = ita_class_index(held_out.ita_deg[:heads])
    what = f"W+ inversion of {heads} held-out maps, {steps} steps"
    tuned = f"the same, {tuning_steps} more steps of weight tuning"
    return [
        *_rows(what, [score.inverted for score in scores], classes, PSNR_TARGET, SSIM_TARGET),
        *_rows(tuned, [score.tuned for score in scores if score.tuned is not None], classes, TUNED_TARGET, None),
        BenchmarkRow("inversion and tuning, time of one head", (time.perf_counter() - start) / heads, "s"),
    ]


def _rows(
    what: str, scores: Sequence[InversionScore], classes: Int64Array, psnr_target: str, ssim_target: str | None
) -> list[BenchmarkRow]:
    """Rows of PSNR and SSIM over heads: means, the worst tenth, and PSNR by class of skin tone."""
    decibels, similarities = (
        np.array([score.psnr_db for score in scores]),
        np.array([score.ssim for score in scores]),
    )
    return [
        BenchmarkRow(f"{what}: diffuse albedo PSNR, mean", float(decibels.mean()), "dB", psnr_target),
        BenchmarkRow(f"{what}: PSNR, mean of the worst tenth", _worst(decibels), "dB"),
        *(
            BenchmarkRow(f"{what}: PSNR, mean of {name} skin", float(decibels[classes == index].mean()), "dB")
            for index, name in enumerate(CLASS_NAMES)
            if (classes == index).any()
        ),
        BenchmarkRow(f"{what}: diffuse albedo SSIM, mean", float(similarities.mean()), "", ssim_target),
        BenchmarkRow(f"{what}: SSIM, mean of the worst tenth", _worst(similarities), ""),
    ]


def _worst(values: Float64Array) -> float:
    """Mean of the lowest tenth of the values, at least one."""
    return float(np.sort(values)[: max(1, round(WORST_SHARE * len(values)))].mean())
