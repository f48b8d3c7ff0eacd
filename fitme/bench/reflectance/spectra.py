"""Benchmark rows: power spectra of synthetic maps relative to a captured subject's."""

import os
from collections.abc import Callable, Sequence
from pathlib import Path

from fitme.bench.reflectance.patches import MAPS
from fitme.bench.reflectance.power_spectra import SpectrumRatio, power_ratios
from fitme.bench.rows import BenchmarkRow

REFERENCE_VARIABLE = "FITME_REFERENCE_SUBJECT"
"""Environment variable that names the folder of the captured subject's maps."""
DEFAULT_REFERENCE = Path("../shared/data/reference_subject")
FACTOR_TARGET, SHARE_TARGET = "<= 2", ">= 100"


def reference_rows(progress: Callable[[str], None]) -> list[BenchmarkRow]:
    """Rows of the synthetic heads compared with the captured subject; none, with a message, without its folder.

    :param progress: receives each ratio, or the reason why the rows are left out.
    """
    folder = Path(os.environ.get(REFERENCE_VARIABLE, DEFAULT_REFERENCE))
    if not folder.is_dir():
        progress(f"spectra: left out, no captured subject in {folder}; name its folder in {REFERENCE_VARIABLE}")
        return []
    ratios = power_ratios(folder)
    for one in ratios:
        low, high = one.band_per_mm
        progress(f"  {one.region}, {one.map_name}, {low:g} to {high:g} per mm: {one.ratio:.2f}")
    return summary_rows(ratios)


def summary_rows(ratios: Sequence[SpectrumRatio]) -> list[BenchmarkRow]:
    """Rows of each map: the largest factor between synthetic and captured power, in either direction, and the share of
    regions and bands within a factor of two."""
    rows = []
    for name in MAPS:
        of_map = [one for one in ratios if one.map_name == name]
        worst = max(max(one.ratio, 1.0 / one.ratio) for one in of_map)
        share = sum(one.within_factor_two for one in of_map) / len(of_map)
        what = f"synthetic beside captured {name}, {len(of_map)} regions and octaves"
        rows += [
            BenchmarkRow(f"{what}: largest factor between their powers", worst, "", FACTOR_TARGET),
            BenchmarkRow(f"{what}: within a factor of 2", 100.0 * share, "%", SHARE_TARGET),
        ]
    return rows
