"""Size and place of the truth benchmark's sets."""

import argparse

import pytest

from fitme.bench.truth import dataset
from fitme.bench.truth.dataset import FOLDER_VARIABLE, FULL, QUICK, add_set_arguments, size_of, truth_folder
from fitme.bench.truth.people import Population


def _arguments(*words):
    parser = argparse.ArgumentParser()
    add_set_arguments(parser)
    return parser.parse_args(words)


def test_a_set_is_whole_and_of_scans_by_default():
    assert size_of(_arguments()) == FULL
    assert size_of(_arguments("--quick")) == QUICK
    assert _arguments().population is Population.SCANS


def test_a_smaller_set_takes_less_time():
    size = size_of(_arguments("--frames", "6", "--paths", "16"))
    assert (size.subjects, size.frames, size.samples) == (FULL.subjects, 6, 16)
    assert size_of(_arguments("--quick", "--paths", "4")).samples == 4


@pytest.mark.parametrize("word", ["0", "-3", "many"])
def test_an_empty_set_is_refused(word, capsys):
    with pytest.raises(SystemExit):
        _arguments("--frames", word)
    assert "--frames" in capsys.readouterr().err


def test_populations_lie_apart(monkeypatch, tmp_path):
    monkeypatch.setenv(FOLDER_VARIABLE, str(tmp_path))
    assert truth_folder() == tmp_path
    assert truth_folder(_arguments("--population", "synthetic").population) == tmp_path / "synthetic"


def test_a_population_is_loaded_by_its_name(monkeypatch):
    monkeypatch.setattr(dataset, "load_synthetic_people", lambda model: ("synthetic", model))
    monkeypatch.setattr(dataset, "load_scans", lambda path, model: (path.name, model))
    assert dataset.load_population(Population.SYNTHETIC, None) == ("synthetic", None)
    assert dataset.load_population(Population.SCANS, None) == ("ict_facekit.npz", None)
