"""Benchmark rows: accuracy of the texture encoder's one-pass estimate from a half-visible, lit texture."""

from fitme.bench.rows import BenchmarkRow
from fitme.reflectance.generator import ReflectanceGenerator
from fitme.reflectance.texture_encoder import TextureEncoder
from fitme.training.encoder.score import score_encoder

ESTIMATE_TARGET = ">= 24"


def encoder_rows(encoder: TextureEncoder, generator: ReflectanceGenerator, heads: int) -> list[BenchmarkRow]:
    """Rows of PSNR of the estimated diffuse albedo of held-out heads over all covered texels, unobserved ones
    included."""
    score = score_encoder(encoder, generator, heads)
    what = f"one-pass estimate of {heads} held-out maps, {100.0 * score.observed_share:.0f} % visible"
    return [
        BenchmarkRow(f"{what}: diffuse albedo PSNR, mean", score.psnr_db, "dB", ESTIMATE_TARGET),
        BenchmarkRow(f"{what}: PSNR, lowest", score.lowest_psnr_db, "dB"),
        BenchmarkRow(f"{what}: PSNR of observed texels, mean", score.observed_psnr_db, "dB"),
        BenchmarkRow(f"{what}: PSNR of unobserved texels, mean", score.hidden_psnr_db, "dB"),
        *(BenchmarkRow(f"{what}: PSNR, mean of {name} skin", db, "dB") for name, db in score.psnr_of_class_db.items()),
    ]
