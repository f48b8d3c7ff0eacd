"""Benchmark of fits against independent ground truth: `python -m fitme.bench.truth.report`.

Heads of scan-based or of synthetic people are path-traced by another renderer under lights that no training used. The
fit is compared with the mean face, landmarks only and the unlit-texture baseline. Missing frames are rendered first
(`fitme.bench.truth.dataset`).
"""

import argparse
import json
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict
from itertools import pairwise
from multiprocessing import get_context
from pathlib import Path
from statistics import fmean, median

import numpy as np

from fitme.atomic_file import atomic_file
from fitme.bench.rows import BenchmarkRow
from fitme.bench.run import json_line, run_benchmark, table_of
from fitme.bench.truth.dataset import (
    FULL,
    QUICK,
    DatasetSize,
    add_set_arguments,
    make_truth,
    size_of,
    truth_folder,
)
from fitme.bench.truth.heads import METHODS
from fitme.bench.truth.people import Population
from fitme.bench.truth.scores import SubjectReport, bench_subject
from fitme.bench.truth.sheets import write_sheet
from fitme.errors import InputError
from fitme.shape.face_regions import FaceRegion
from fitme.stage import Stage

GROWING_SUBJECTS = 2
"""Number of subjects whose fit is also scored over a growing number of keyframes."""
MEAN_FACE_SHARE, LANDMARKS_SHARE, NORMAL_SHARE, IDENTITY_SHARE = 0.6, 0.8, 0.75, 0.7
LARGEST_OVER_MEAN_FACE = {
    Population.SCANS: {"scan_mm": 0.5, "scan_free_mm": 0.55, "normal_deg": 0.68},
    Population.SYNTHETIC: {"scan_mm": 0.7, "scan_free_mm": 0.7, "normal_deg": 0.8},
}
"""Targets of the fit's mean errors of shape over the mean face's, by population and field of `HeadScore`."""
LARGEST_ALBEDO_ERROR = 0.06
LARGEST_ITA_ERROR_DEG, LARGEST_ITA_DIFFERENCE_DEG = 11.0, 8.0
"""Targets of the mean over the classes of skin tone, and of the difference between two of them."""
SMALLEST_RELIT_DB = 24.0
SMALLEST_CORRELATION = 0.8
LONGEST_REFINEMENT_S = 45.0
LARGEST_RISE = 1.02
REPORT_FILE = "report.json"

UNITS = {
    "scan_mm": "mm", "scan_free_mm": "mm", "landmark_mm": "mm", "normal_deg": "deg", "pose_deg": "deg",
    "albedo": "linear", "albedo_bias": "linear", "albedo_hue": "linear", "albedo_relative": "",
    "albedo_ita_deg": "deg",
    "psnr_db": "dB", "ssim": "", "identity": "L2", "unseen_identity": "L2",
    "relit_psnr_db": "dB", "overlap": "", "head_psnr_db": "dB", "head_relit_psnr_db": "dB",
}  # fmt: skip
"""Units by the fields of `HeadScore`."""
TITLES = {
    "scan_mm": "scan to mesh, known scale", "scan_free_mm": "scan to mesh, free scale", "landmark_mm": "landmarks",
    "normal_deg": "normal angle", "pose_deg": "head pose", "albedo": "diffuse albedo",
    "albedo_bias": "diffuse albedo, bias", "albedo_hue": "diffuse albedo, level aside",
    "albedo_relative": "diffuse albedo, over its level", "albedo_ita_deg": "typology angle of the skin",
    "psnr_db": "held-out PSNR", "ssim": "held-out SSIM", "identity": "identity distance",
    "unseen_identity": "identity distance by a network unseen", "relit_psnr_db": "relit PSNR",
    "overlap": "head's outline, intersection over union", "head_psnr_db": "held-out PSNR, whole head",
    "head_relit_psnr_db": "relit PSNR, whole head",
}  # fmt: skip


def truth() -> list[BenchmarkRow]:
    """Rows of all subjects of the scan-based population, in one process."""
    return rows_of(run_subjects(FULL, range(FULL.subjects), None, 1, GROWING_SUBJECTS))


def truth_quick() -> list[BenchmarkRow]:
    """Rows of two subjects of six frames of the scan-based population."""
    return rows_of(run_subjects(QUICK, range(QUICK.subjects), None, 1, 0))


def run_subjects(
    size: DatasetSize,
    numbers: Sequence[int],
    out: Path | None,
    workers: int,
    growing: int,
    population: Population = Population.SCANS,
) -> list[SubjectReport]:
    """Render missing frames, then score.

    :param out: folder that receives a sheet and a JSON file per subject; none if None.
    :param workers: processes.
    :param growing: number of subjects, the first ones, whose fit is also scored over keyframes.
    """
    folder = truth_folder(population)
    make_truth(folder, size, numbers, population=population)
    jobs = [(folder, number, size.frames, index < growing, out) for index, number in enumerate(numbers)]
    if workers == 1:
        return [_run(*job) for job in jobs]
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        return list(pool.map(_run, *zip(*jobs, strict=True)))


def _run(folder: Path, number: int, frames: int, growing: bool, out: Path | None) -> SubjectReport:
    """Score one subject, print a line, and write its sheet and JSON file to `out`."""
    report, fitter = bench_subject(folder, number, frames, growing)
    fit, mean = report.methods["fit"], report.methods["mean face"]
    print(
        f"subject {number:2d} ({report.tone}): scan {fit.scan_mm:.2f} mm (mean face {mean.scan_mm:.2f}), "
        f"albedo {fit.albedo:.3f}, PSNR {fit.psnr_db:.1f} dB, {report.fit_s:.0f} s",
        flush=True,
    )
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
        write_sheet(folder, number, frames, fitter, out / f"subject_{number:02d}.png")
        (out / f"subject_{number:02d}.json").write_text(json.dumps(_plain(asdict(report)), indent=1), "utf-8")
    return report


def rows_of(reports: Sequence[SubjectReport], population: Population = Population.SCANS) -> list[BenchmarkRow]:
    """Means over subjects of every method, then rows with the project's targets.

    :param population: of the subjects, whose targets apply.
    :raises InputError: without subjects.
    """
    if not reports:
        raise InputError("no subjects were scored: name at least one")
    rows = [
        BenchmarkRow(
            f"{TITLES[field]}: {method}",
            _mean(reports, method, field),
            UNITS[field],
            _target(reports, method, field, population),
        )
        for field in TITLES
        for method in METHODS
    ]
    rows += _over_mean_face_rows(reports, population)
    rows += _tone_rows(reports)
    rows += _recovery_rows(reports)
    seconds = median(report.fit_s for report in reports)
    rows.append(BenchmarkRow("time of refinement: fit, median", seconds, "s", f"<= {LONGEST_REFINEMENT_S:g}"))
    points = [point for report in reports for point in report.over_seconds]
    first = [point.seconds for point in points if point.stage.has_reached(Stage.SKIN)][:1]
    rows += [BenchmarkRow("time to own skin: fit, first subject", value, "s") for value in first]
    return rows + _growth_rows(reports)


def _over_mean_face_rows(reports: Sequence[SubjectReport], population: Population) -> list[BenchmarkRow]:
    """Rows of the fit's mean errors of shape over the mean face's."""
    return [
        BenchmarkRow(
            f"{TITLES[field]}, over the mean face's: fit",
            _mean(reports, "fit", field) / _mean(reports, "mean face", field),
            "",
            f"<= {largest:g}",
        )
        for field, largest in LARGEST_OVER_MEAN_FACE[population].items()
    ]


def _tone_rows(reports: Sequence[SubjectReport]) -> list[BenchmarkRow]:
    """Rows of the fit's albedo by class of skin tone: over its level, and as the error of the typology angle."""
    relative, angle = (_by_tone(reports, field) for field in ("albedo_relative", "albedo_ita_deg"))
    over_level, ita = TITLES["albedo_relative"], TITLES["albedo_ita_deg"]
    difference_deg = max(angle.values()) - min(angle.values())
    return [
        *(BenchmarkRow(f"{over_level}, {tone} skin: fit", error, "") for tone, error in relative.items()),
        BenchmarkRow(f"{over_level}, worst class over best: fit", max(relative.values()) / min(relative.values()), ""),
        *(BenchmarkRow(f"{ita}, {tone} skin: fit", error, "deg") for tone, error in angle.items()),
        BenchmarkRow(
            f"{ita}, mean over classes: fit", fmean(angle.values()), "deg", f"<= {LARGEST_ITA_ERROR_DEG:g}"
        ),
        BenchmarkRow(
            f"{ita}, worst class less best: fit", difference_deg, "deg", f"<= {LARGEST_ITA_DIFFERENCE_DEG:g}"
        ),
    ]  # fmt: skip


def _recovery_rows(reports: Sequence[SubjectReport]) -> list[BenchmarkRow]:
    """Rows of the deviation from the mean face that the fit recovers: means over subjects by region, and over all."""
    rows, correlations = [], []
    for region in FaceRegion:
        found = [report.recovery[region] for report in reports if region in report.recovery]
        if found:
            correlations.append(fmean(recovery.correlation for recovery in found))
            rows.append(BenchmarkRow(f"deviation from the mean, {region}: correlation, fit", correlations[-1], ""))
            slope = fmean(recovery.slope for recovery in found)
            rows.append(BenchmarkRow(f"deviation from the mean, {region}: slope, fit", slope, ""))
    if correlations:
        name = "deviation from the mean, all regions: correlation, fit"
        rows.append(BenchmarkRow(name, fmean(correlations), "", f">= {SMALLEST_CORRELATION:g}"))
    return rows


def _by_tone(reports: Sequence[SubjectReport], field: str) -> dict[str, float]:
    """Mean of one of the fit's errors by class of skin tone."""
    return {
        tone: fmean(getattr(report.methods["fit"], field) for report in reports if report.tone == tone)
        for tone in sorted({report.tone for report in reports})
    }


def _growth_rows(reports: Sequence[SubjectReport]) -> list[BenchmarkRow]:
    """Rows of the largest rise of an error by further keyframes, as factors."""
    rises: dict[str, list[float]] = {"identity distance": [], "held-out error": []}
    for report in reports:
        for before, after in pairwise(report.over_keyframes):
            rises["identity distance"].append(after.metrics["identity"] / before.metrics["identity"])
            fall_db = before.metrics["psnr_db"] - after.metrics["psnr_db"]
            rises["held-out error"].append(10.0 ** (fall_db / 20.0))
    return [
        BenchmarkRow(
            f"{name}, worst over the one before as keyframes come: fit", max(values), "", f"<= {LARGEST_RISE:g}"
        )
        for name, values in rises.items()
        if values
    ]


def _mean(reports: Sequence[SubjectReport], method: str, field: str) -> float:
    values = [getattr(report.methods[method], field) for report in reports]
    finite = [value for value in values if np.isfinite(value)]
    return fmean(finite) if finite else float("nan")


def _target(reports: Sequence[SubjectReport], method: str, field: str, population: Population) -> str | None:
    """Target of the fit's mean error, from other methods or a constant; None for other methods, and for errors of
    shape over other people than scans, whose targets are `LARGEST_OVER_MEAN_FACE` alone."""
    if method != "fit" or (population is not Population.SCANS and field in LARGEST_OVER_MEAN_FACE[population]):
        return None
    if field == "scan_mm":
        by_mean = MEAN_FACE_SHARE * _mean(reports, "mean face", field)
        by_landmarks = LANDMARKS_SHARE * _mean(reports, "landmarks only", field)
        return f"<= {min(by_mean, by_landmarks):.2f}"
    if field == "normal_deg":
        return f"<= {NORMAL_SHARE * _mean(reports, 'mean face', field):.2f}"
    if field == "identity":
        return f"<= {IDENTITY_SHARE * _mean(reports, 'unlit texture', field):.2f}"
    return {"albedo": f"<= {LARGEST_ALBEDO_ERROR:g}", "relit_psnr_db": f">= {SMALLEST_RELIT_DB:g}"}.get(field)


def _plain(value: object) -> object:
    """Value for JSON: numpy floats as Python floats, non-finite numbers as None."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, float | np.floating):
        return float(value) if np.isfinite(value) else None
    return value


def main() -> None:
    """Entry point of ``python -m fitme.bench.truth.report``."""
    from rich.console import Console

    parser = argparse.ArgumentParser(prog="python -m fitme.bench.truth.report", description=__doc__)
    add_set_arguments(parser)
    parser.add_argument("--workers", type=int, default=1, help="subjects at a time")
    parser.add_argument("--growing", type=int, default=0, help="subjects that are also scored over keyframes")
    parser.add_argument("--out", type=Path, help="folder for sheets and reports")
    arguments = parser.parse_args()
    size, population = size_of(arguments), arguments.population
    numbers = arguments.subjects or range(size.subjects)
    reports: list[SubjectReport] = []

    def benchmark() -> list[BenchmarkRow]:
        reports.extend(run_subjects(size, numbers, arguments.out, arguments.workers, arguments.growing, population))
        return rows_of(reports, population)

    rows = run_benchmark(benchmark)
    Console().print(table_of("truth", rows))
    line = json_line("truth", rows)
    print(line)
    if arguments.out is not None:
        content = json.loads(line) | {"subjects": [_plain(asdict(report)) for report in reports]}
        with atomic_file(arguments.out / REPORT_FILE) as partial:
            partial.write_text(json.dumps(content, indent=1), "utf-8")


if __name__ == "__main__":
    main()
