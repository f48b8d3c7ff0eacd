"""Rows of the truth benchmark from its subjects' scores."""

import dataclasses
import json

import pytest

from fitme.bench.truth.heads import METHODS
from fitme.bench.truth.people import Population
from fitme.bench.truth.recovery import Recovery
from fitme.bench.truth.report import TITLES, UNITS, rows_of
from fitme.bench.truth.scores import CurvePoint, HeadScore, SubjectReport
from fitme.errors import InputError
from fitme.shape.face_regions import FaceRegion
from fitme.stage import Stage

FIELDS = [field.name for field in dataclasses.fields(HeadScore)]


def _score(value, **others):
    return dataclasses.replace(HeadScore(*[value] * (len(FIELDS) - 1), held_out=8), **others)


def _report(number, tone, fit, mean_face, grown=()):
    methods = dict.fromkeys(METHODS, _score(mean_face)) | {"fit": fit}
    return SubjectReport(
        number,
        tone,
        methods,
        30.0,
        [CurvePoint(1.5, 8, Stage.SKIN, {})],
        list(grown),
        0,
        {FaceRegion.NOSE: Recovery(0.5 + 0.1 * number, 0.6)},
    )


def test_every_measure_has_a_title_and_a_unit():
    assert set(TITLES) == set(UNITS) == set(FIELDS) - {"held_out"}


def test_rows_are_means_with_targets_relative_to_other_methods():
    reports = [
        _report(0, "dark", _score(1.0, albedo_ita_deg=5.0), 2.0),
        _report(1, "light", _score(2.0, albedo_ita_deg=8.0, albedo_relative=4.0), 4.0),
    ]
    rows = {row.name: row for row in rows_of(reports)}
    assert rows["scan to mesh, known scale: fit"].value == pytest.approx(1.5)
    assert rows["scan to mesh, known scale: mean face"].value == pytest.approx(3.0)
    assert rows["scan to mesh, known scale: fit"].target == "<= 1.80"
    assert rows["normal angle: fit"].target == "<= 2.25"
    assert rows["typology angle of the skin, dark skin: fit"].value == pytest.approx(5.0)
    assert rows["typology angle of the skin, mean over classes: fit"].value == pytest.approx(6.5)
    assert rows["typology angle of the skin, worst class less best: fit"].value == pytest.approx(3.0)
    assert rows["diffuse albedo, over its level, worst class over best: fit"].value == pytest.approx(4.0)
    assert rows["deviation from the mean, nose: correlation, fit"].value == pytest.approx(0.55)
    assert rows["deviation from the mean, nose: slope, fit"].value == pytest.approx(0.6)
    assert rows["deviation from the mean, all regions: correlation, fit"].target == ">= 0.8"
    assert rows["time to own skin: fit, first subject"].value == pytest.approx(1.5)
    assert all(row.target is None for name, row in rows.items() if name.endswith(METHODS[:3]))


@pytest.mark.parametrize(
    ("population", "targets"), [(Population.SCANS, (0.5, 0.55, 0.68)), (Population.SYNTHETIC, (0.7, 0.7, 0.8))]
)
def test_shape_is_compared_with_the_mean_face_by_the_population_s_targets(population, targets):
    reports = [_report(0, "dark", _score(1.0, normal_deg=3.0), 2.0), _report(1, "light", _score(2.0), 4.0)]
    rows = {row.name: row for row in rows_of(reports, population)}
    names = [f"{TITLES[field]}, over the mean face's: fit" for field in ("scan_mm", "scan_free_mm", "normal_deg")]
    assert [rows[name].value for name in names] == pytest.approx([0.5, 0.5, 5.0 / 6.0])
    assert [rows[name].target for name in names] == [f"<= {target:g}" for target in targets]
    assert (rows["scan to mesh, known scale: fit"].target is None) == (population is Population.SYNTHETIC)


def test_missing_values_do_not_count():
    known, unknown = _score(1.0), _score(1.0, relit_psnr_db=float("nan"))
    rows = {row.name: row for row in rows_of([_report(0, "tan", known, 1.0), _report(1, "tan", unknown, 1.0)])}
    assert rows["relit PSNR: fit"].value == pytest.approx(1.0)


def test_a_rise_of_the_error_by_a_keyframe_is_reported():
    grown = [
        CurvePoint(10.0, 1, Stage.TUNING, {"identity": 0.3, "psnr_db": 25.0}),
        CurvePoint(5.0, 2, Stage.TUNING, {"identity": 0.2, "psnr_db": 26.0}),
        CurvePoint(5.0, 4, Stage.TUNING, {"identity": 0.22, "psnr_db": 20.0}),
    ]
    rows = {row.name: row for row in rows_of([_report(0, "tan", _score(1.0), 1.0, grown)])}
    named = "{}, worst over the one before as keyframes come: fit"
    assert rows[named.format("identity distance")].value == pytest.approx(1.1)
    assert rows[named.format("held-out error")].value == pytest.approx(10.0**0.3)


def test_an_empty_report_is_refused():
    with pytest.raises(InputError, match="no subjects"):
        rows_of([])


def test_a_report_can_be_written(tmp_path):
    from fitme.bench.truth.report import _plain

    report = _report(0, "tan", _score(float("nan")), 1.0)
    assert "NaN" not in json.dumps(_plain(dataclasses.asdict(report)), allow_nan=False)
