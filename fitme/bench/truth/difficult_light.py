"""Albedo under difficult light, over that beside a window: `python -m fitme.bench.truth.difficult_light`.

A flash beside the camera and a low sun cast shadows with sharp edges onto the face; two lamps of different hue colour
its sides; frames of different days have another light and white balance each. What the fit's light does not explain
stays in the albedo.
"""

import argparse
from collections.abc import Sequence
from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from statistics import fmean

from fitme.bench.rows import BenchmarkRow
from fitme.bench.run import run_benchmark, table_of
from fitme.bench.truth.dataset import DatasetSize, make_truth, truth_folder
from fitme.bench.truth.heads import FitResources, FittedHead, fitter_of, load_resources
from fitme.bench.truth.lights import HARD_KINDS, SOFT_KIND, LightKind
from fitme.bench.truth.metrics import AlbedoScore
from fitme.bench.truth.scores import TIME_LIMIT_S, SubjectBench
from fitme.bench.truth.sheets import write_sheet
from fitme.fit.lighting.key_light import KeyLightSettings
from fitme.shape.model_file import load_default_model
from fitme.track.factory import dlib_embedder

SIZE = DatasetSize(subjects=3, frames=6)
LARGEST_RATIO = 1.3
"""Target of the albedo's error over that under soft light."""
LARGEST_ITA_ERROR_DEG = 12.0
"""Target of the error of the typology angle."""


class Difficulty(StrEnum):
    """What makes a subject's light difficult."""

    HARD = "hard light"
    TWO_HUES = "two lamps of different hue"
    DAYS = "different days"

    def kinds(self, number: int) -> tuple[LightKind, ...]:
        """Kinds of a subject's lights, which its frames have in turn; of hard light even subjects have a flash."""
        return {
            Difficulty.HARD: (HARD_KINDS[number % len(HARD_KINDS)],),
            Difficulty.TWO_HUES: (LightKind.TWO_LAMPS,),
            Difficulty.DAYS: (LightKind.WINDOW, LightKind.LAMP, LightKind.OUTDOORS),
        }[self]


def difficult_light(
    difficulties: Sequence[Difficulty] = tuple(Difficulty),
    numbers: Sequence[int] = range(SIZE.subjects),
    *,
    key_light: bool = False,
    sheets: Path | None = None,
) -> list[BenchmarkRow]:
    """Rows of some subjects; missing frames are rendered first.

    :param key_light: fit with key lights (`fitme.fit.lighting.key_light`).
    :param sheets: folder that receives a sheet of each fit; none if None.
    """
    resources = load_resources(load_default_model(), dlib_embedder())
    light = replace(resources.settings.light, key=KeyLightSettings(enabled=key_light))
    resources = replace(resources, settings=replace(resources.settings, light=light))
    soft = [_score(number, (SOFT_KIND,), resources, sheets) for number in numbers]
    rows = []
    for difficulty in difficulties:
        scores = [_score(number, difficulty.kinds(number), resources, sheets) for number in numbers]
        rows += rows_of(difficulty, scores, soft)
    return rows


def rows_of(difficulty: Difficulty, scores: Sequence[AlbedoScore], soft: Sequence[AlbedoScore]) -> list[BenchmarkRow]:
    """Mean errors of the albedos of the same people under both lights, their ratios, and the error of their ITA."""
    rows = []
    for title, field in (("diffuse albedo", "error"), ("diffuse albedo, level aside", "hue")):
        under = [fmean(getattr(score, field) for score in both) for both in (scores, soft)]
        target = f"<= {LARGEST_RATIO:g}" if field == "error" else None
        rows += [
            BenchmarkRow(f"{difficulty}: {title}", under[0], "linear"),
            BenchmarkRow(f"{difficulty}: {title}, soft light", under[1], "linear"),
            BenchmarkRow(f"{difficulty}: {title}, over soft light", under[0] / under[1], "", target),
        ]
    ita_deg = fmean(score.ita_deg for score in scores)
    rows.append(BenchmarkRow(f"{difficulty}: typology angle", ita_deg, "deg", f"<= {LARGEST_ITA_ERROR_DEG:g}"))
    return rows


def light_folder(kinds: Sequence[LightKind]) -> Path:
    """Folder of the frames under lights of some kinds, in that of the benchmark."""
    return truth_folder() / "lights" / "_".join(kind.name.lower() for kind in kinds)


def _score(number: int, kinds: Sequence[LightKind], resources: FitResources, sheets: Path | None) -> AlbedoScore:
    """Albedo's errors of a fit of a subject under lights."""
    folder = light_folder(kinds)
    make_truth(folder, SIZE, [number], kinds=kinds)
    bench = SubjectBench(folder, number, SIZE.frames, resources)
    fitter = fitter_of(bench.fitted.values(), resources)
    fitter.refine(TIME_LIMIT_S)
    score = bench.albedo(FittedHead(fitter))
    print(
        f"subject {number:2d}, {', '.join(kinds)}: albedo {score.error:.3f}, level aside {score.hue:.3f}, "
        f"ITA {score.ita_deg:.1f} deg",
        flush=True,
    )
    if sheets is not None:
        sheets.mkdir(parents=True, exist_ok=True)
        write_sheet(folder, number, SIZE.frames, fitter, sheets / f"{folder.name}_{number:02d}.png")
    return score


def main() -> None:
    """Entry point of ``python -m fitme.bench.truth.difficult_light``."""
    from rich.console import Console

    parser = argparse.ArgumentParser(prog="python -m fitme.bench.truth.difficult_light", description=__doc__)
    parser.add_argument("difficulties", type=Difficulty, nargs="*", choices=list(Difficulty), help="all by default")
    parser.add_argument("--subjects", type=int, nargs="*", help="their numbers; all by default")
    parser.add_argument("--key-light", action="store_true", help="fit with key lights")
    parser.add_argument("--sheets", type=Path, help="folder for a sheet of each fit")
    given = parser.parse_args()
    rows = run_benchmark(
        lambda: difficult_light(
            given.difficulties or tuple(Difficulty),
            given.subjects or range(SIZE.subjects),
            key_light=given.key_light,
            sheets=given.sheets,
        )
    )
    Console().print(table_of("difficult light", rows))


if __name__ == "__main__":
    main()
