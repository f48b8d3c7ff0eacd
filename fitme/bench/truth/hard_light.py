"""Albedo under hard light against that of the same people under soft light: `python -m fitme.bench.truth.hard_light`.

A flash beside the camera and a low sun cast shadows with sharp edges onto the face. Those that the fit's light does not
explain stay in the albedo.
"""

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from statistics import fmean

from fitme.bench.rows import BenchmarkRow
from fitme.bench.run import run_benchmark, table_of
from fitme.bench.truth.dataset import DatasetSize, make_truth, truth_folder
from fitme.bench.truth.heads import FitResources, FittedHead, keyframe_of, load_resources, new_fitter
from fitme.bench.truth.lights import HARD_KINDS, SOFT_KIND, LightKind
from fitme.bench.truth.metrics import AlbedoScore
from fitme.bench.truth.scores import TIME_LIMIT_S, SubjectBench
from fitme.fit.lighting.key_light import KeyLightSettings
from fitme.shape.model_file import load_default_model
from fitme.track.factory import dlib_embedder

SIZE = DatasetSize(subjects=3, frames=6)
LARGEST_RATIO = 1.3
"""Target of the albedo's error over that under soft light."""


def hard_light(numbers: Sequence[int] = range(SIZE.subjects), *, key_light: bool = False) -> list[BenchmarkRow]:
    """Rows of some subjects; missing frames are rendered first. Even subjects have a flash, odd ones a low sun.

    :param key_light: fit with key lights (`fitme.fit.lighting.key_light`).
    """
    resources = load_resources(load_default_model(), dlib_embedder())
    light = replace(resources.settings.light, key=KeyLightSettings(enabled=key_light))
    resources = replace(resources, settings=replace(resources.settings, light=light))
    hard, soft = [], []
    for number in numbers:
        hard.append(_score(number, HARD_KINDS[number % len(HARD_KINDS)], resources))
        soft.append(_score(number, SOFT_KIND, resources))
    return rows_of(hard, soft)


def rows_of(hard: Sequence[AlbedoScore], soft: Sequence[AlbedoScore]) -> list[BenchmarkRow]:
    """Mean errors of the albedos of the same people under both lights, and their ratios."""
    rows = []
    for title, field in (("diffuse albedo", "error"), ("diffuse albedo, level aside", "hue")):
        under = [fmean(getattr(score, field) for score in scores) for scores in (hard, soft)]
        target = f"<= {LARGEST_RATIO:g}" if field == "error" else None
        rows += [
            BenchmarkRow(f"{title}, hard light: fit", under[0], "linear"),
            BenchmarkRow(f"{title}, soft light: fit", under[1], "linear"),
            BenchmarkRow(f"{title}, hard over soft light: fit", under[0] / under[1], "", target),
        ]
    return rows


def light_folder(kind: LightKind) -> Path:
    """Folder of the frames under a light of a kind, in that of the benchmark."""
    return truth_folder() / "lights" / kind.name.lower()


def _score(number: int, kind: LightKind, resources: FitResources) -> AlbedoScore:
    """Albedo's errors of a fit of a subject under a light."""
    folder = light_folder(kind)
    make_truth(folder, SIZE, [number], kind=kind)
    bench = SubjectBench(folder, number, SIZE.frames, resources)
    fitter = new_fitter(resources)
    for index, tracked_frame in enumerate(bench.fitted.values()):
        fitter.add_keyframe(keyframe_of(str(index), tracked_frame, resources.embedder))
    fitter.refine(TIME_LIMIT_S)
    score = bench.albedo(FittedHead(fitter))
    print(f"subject {number:2d}, {kind}: albedo {score.error:.3f}, level aside {score.hue:.3f}", flush=True)
    return score


def main() -> None:
    """Entry point of ``python -m fitme.bench.truth.hard_light``."""
    from rich.console import Console

    parser = argparse.ArgumentParser(prog="python -m fitme.bench.truth.hard_light", description=__doc__)
    parser.add_argument("--subjects", type=int, nargs="*", help="their numbers; all by default")
    parser.add_argument("--key-light", action="store_true", help="fit with key lights")
    given = parser.parse_args()
    numbers = given.subjects or range(SIZE.subjects)
    rows = run_benchmark(lambda: hard_light(numbers, key_light=given.key_light))
    Console().print(table_of("hard light", rows))


if __name__ == "__main__":
    main()
