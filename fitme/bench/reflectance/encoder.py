"""Benchmark rows: what the texture encoder guesses in one pass from a half-visible, lit texture."""

from fitme.bench.rows import BenchmarkRow
from fitme.reflectance.generator import ReflectanceGenerator
from fitme.reflectance.texture_encoder import TextureEncoder
from fitme.training.encoder.score import score_encoder

GUESS_TARGET = ">= 24"


def encoder_rows(encoder: TextureEncoder, generator: ReflectanceGenerator, heads: int) -> list[BenchmarkRow]:
    """PSNR of the guessed diffuse albedo of held-out heads over all covered texels, unseen ones included."""
    score = score_encoder(encoder, generator, heads)
    what = f"one-pass guess of {heads} held-out maps, {100.0 * score.observed_share:.0f} % visible"
    return [
        BenchmarkRow(f"{what}: diffuse albedo PSNR, mean", score.psnr_db, "dB", GUESS_TARGET),
        BenchmarkRow(f"{what}: PSNR, lowest", score.lowest_psnr_db, "dB"),
        BenchmarkRow(f"{what}: PSNR of seen texels, mean", score.observed_psnr_db, "dB"),
        BenchmarkRow(f"{what}: PSNR of unseen texels, mean", score.hidden_psnr_db, "dB"),
        *(BenchmarkRow(f"{what}: PSNR, mean of {name} skin", db, "dB") for name, db in score.psnr_of_class_db.items()),
    ]
