"""Benchmark `reflectance`: quality of the reflectance generator on synthetic heads held out from training.

`fitme bench reflectance` measures everything, `fitme bench reflectance-quick` everything on fewer heads. `python -m
fitme.bench.reflectance.benchmark` takes other weights, chosen parts or another number of heads.
"""

import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from os import cpu_count
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from fitme.bench.reflectance.efficientnet import imagenet_network
from fitme.bench.reflectance.encoder import encoder_rows
from fitme.bench.reflectance.inversion import inversion_rows
from fitme.bench.reflectance.samples import consistency_rows, frechet_rows, tone_rows
from fitme.bench.reflectance.sets import extract_features, held_out_batches, sample_batches
from fitme.bench.reflectance.spectra import reference_rows
from fitme.bench.reflectance.speed import speed_rows
from fitme.bench.rows import BenchmarkRow
from fitme.bench.run import SEED, json_line, run_benchmark, table_of
from fitme.reflectance.generator import ReflectanceGenerator
from fitme.reflectance.packaged_models import packaged_encoder, packaged_generator
from fitme.reflectance.texture_encoder import PAINTED_ENCODER, TextureEncoder, load_encoder
from fitme.reflectance.weights import load_generator
from fitme.training.data.dataset import HELD_OUT_SEED, MapDataset, build_dataset

LARGEST_WORKERS = 4
"""Largest number of processes that paint held-out heads."""


class Part(StrEnum):
    """Part of the benchmark that can be measured alone."""

    SPEED = "speed"
    INVERSION = "inversion"
    SAMPLES = "samples"
    TONE = "tone"
    ENCODER = "encoder"
    SPECTRA = "spectra"


@dataclass(frozen=True)
class Extent:
    """Number of heads that each figure is measured on."""

    inverted: int = 64
    """Held-out heads that are inverted into W+, and estimated by the encoder."""
    compared: int = 512
    """Heads in each of the sets whose features are compared: samples, and two halves of the held-out maps."""
    tone_samples: int = 10_000
    """Samples whose skin tone is measured."""


FULL, QUICK = Extent(), Extent(inverted=8, compared=128, tone_samples=2_000)


def reflectance() -> list[BenchmarkRow]:
    """Rows of all parts, with the package's own weights."""
    return measure(packaged_generator(), FULL)


def reflectance_quick() -> list[BenchmarkRow]:
    """Rows of all parts on few heads, with the package's own weights."""
    return measure(packaged_generator(), QUICK)


def measure(
    generator: ReflectanceGenerator,
    extent: Extent,
    parts: Sequence[Part] = tuple(Part),
    maps_folder: Path | None = None,
    encoder: TextureEncoder | None = None,
) -> list[BenchmarkRow]:
    """Rows of the chosen parts; progress, and parts that are left out, are printed on standard error.

    :param maps_folder: folder of the held-out maps, which later calls reuse; temporary if None.
    :param encoder: texture encoder to measure; if None, the package's own if it was trained for this generator.
    """
    generator.requires_grad_(False)
    if Part.SAMPLES in parts:
        imagenet_network()  # Fail on missing or damaged weights now, not after an hour.
    if Part.ENCODER in parts and encoder is None:
        encoder = _own_encoder(generator)
    rows: list[BenchmarkRow] = []
    with tempfile.TemporaryDirectory() as temporary:
        held_out = _HeldOut(generator, extent, Path(temporary) if maps_folder is None else maps_folder)
        for part in parts:
            start = time.perf_counter()
            found = _measure(part, generator, extent, held_out, encoder)
            for row in found:
                _print_progress(f"  {row.name}: {row.value:.4g} {row.unit}")
            _print_progress(f"{part}: {time.perf_counter() - start:.0f} s")
            rows += found
    return rows


def _measure(
    part: Part, generator: ReflectanceGenerator, extent: Extent, held_out: "_HeldOut", encoder: TextureEncoder | None
) -> list[BenchmarkRow]:
    """Rows of one part."""
    match part:
        case Part.SPEED:
            return speed_rows(generator)
        case Part.INVERSION:
            return inversion_rows(generator, held_out.maps, extent.inverted, _print_progress)
        case Part.SAMPLES:
            held_out_features = extract_features(held_out_batches(held_out.maps))
            samples = extract_features(sample_batches(generator, extent.compared, SEED))
            return [*frechet_rows(held_out_features, samples), *consistency_rows(held_out_features, samples, SEED)]
        case Part.TONE:
            return tone_rows(generator, extent.tone_samples, SEED + 1)
        case Part.ENCODER:
            return [] if encoder is None else encoder_rows(encoder, generator, extent.inverted)
        case Part.SPECTRA:
            return reference_rows(_print_progress)


def _own_encoder(generator: ReflectanceGenerator) -> TextureEncoder | None:
    """The package's encoder, or None with a message where it has none for this generator."""
    if not PAINTED_ENCODER.is_file():
        _print_progress("encoder: left out, the package has no weights for it")
        return None
    found = packaged_encoder(generator)
    if found is None:
        _print_progress("encoder: left out, the package's was trained for another generator")
    return found


class _HeldOut:
    """Held-out maps, painted on first access."""

    def __init__(self, generator: ReflectanceGenerator, extent: Extent, folder: Path) -> None:
        self._resolution, self._folder = generator.config.resolution, folder
        self._count = max(extent.inverted, 2 * extent.compared)

    @cached_property
    def maps(self) -> MapDataset:
        start, workers = time.perf_counter(), min(LARGEST_WORKERS, cpu_count() or 1)
        dataset = build_dataset(
            self._folder, self._count, self._resolution, first_seed=HELD_OUT_SEED, workers=workers, replace=False
        )
        _print_progress(f"{self._count} held-out heads: {time.perf_counter() - start:.0f} s")
        return dataset


def _print_progress(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def main(
    parts: Annotated[list[Part] | None, typer.Option("--part", help="Measure only this; may be repeated.")] = None,
    heads: Annotated[int, typer.Option(help="Held-out heads that are inverted and estimated.")] = FULL.inverted,
    compared: Annotated[int, typer.Option(help="Heads in each set whose features are compared.")] = FULL.compared,
    tone_samples: Annotated[int, typer.Option(help="Samples whose skin tone is measured.")] = FULL.tone_samples,
    weights: Annotated[Path | None, typer.Option(help="Generator weights; by default the package's own.")] = None,
    maps: Annotated[Path | None, typer.Option(help="Folder to keep the held-out maps in, for other calls.")] = None,
    encoder: Annotated[Path | None, typer.Option(help="Texture encoder's weights; by default the package's.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="End with one line of JSON.")] = False,
) -> None:
    """Measure, and print a table."""
    generator = packaged_generator() if weights is None else load_generator(weights)
    extent = Extent(heads, compared, tone_samples)
    texture_encoder = None if encoder is None else load_encoder(encoder)
    rows = run_benchmark(lambda: measure(generator, extent, parts or tuple(Part), maps, texture_encoder))
    Console().print(table_of("reflectance", rows))
    if as_json:
        print(json_line("reflectance", rows))


if __name__ == "__main__":
    typer.run(main)
