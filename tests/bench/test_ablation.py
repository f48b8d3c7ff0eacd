"""What each part of a fit brings: settings, record and rows."""

import msgspec
import pytest

from fitme.bench.ablation import (
    ADDED,
    ALL,
    EXPRESSION_FRAMES,
    PARTS,
    Fitted,
    changed,
    rows_of,
    settings_of,
)
from fitme.bench.record import add_to_record, read_record
from fitme.fit.settings import FitSettings


def test_each_part_changes_the_settings() -> None:
    default = FitSettings()
    for part in {**PARTS, **ADDED}:
        assert (settings_of(part) == default) is (part in (ALL, EXPRESSION_FRAMES))
        msgspec.convert(msgspec.to_builtins(settings_of(part)), FitSettings)
    assert settings_of("tracks").alignment.tracks.rounds == 0
    assert settings_of("tracks").alignment.tracks.count == default.alignment.tracks.count


def test_unknown_settings_are_refused() -> None:
    with pytest.raises(TypeError, match="magic"):
        changed(FitSettings(), {"magic": True})


def test_rows_are_mean_differences_over_the_sources_of_both(tmp_path) -> None:
    fits = [
        Fitted(ALL, "a", {"psnr_db": 30.0, "seconds": 40.0}),
        Fitted(ALL, "b", {"psnr_db": 34.0, "seconds": 60.0}),
        Fitted("tuning", "a", {"psnr_db": 29.0, "seconds": 35.0}),
        Fitted("tuning", "b", {"psnr_db": 32.5, "seconds": 50.0}),
        Fitted("hair", "c", {"psnr_db": 1.0, "seconds": 1.0}),
        Fitted("key light", "b", {"psnr_db": 33.0, "seconds": 70.0}),
    ]
    record = tmp_path / "record.jsonl"
    for fitted in fits:
        add_to_record(record, fitted)
    assert read_record(record, Fitted) == fits
    assert {row.name: row.value for row in rows_of(fits)} == {
        "complete fit: held-out PSNR": 32.0,
        "complete fit: time of refinement": 50.0,
        "without tuning: held-out PSNR, added": -1.25,
        "without tuning: time of refinement, added": -7.5,
        "with key light: held-out PSNR, added": -1.0,
        "with key light: time of refinement, added": 10.0,
    }
    assert read_record(tmp_path / "missing.jsonl", Fitted) == []
