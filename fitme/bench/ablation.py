"""`fitme bench ablation`: what each part of a fit brings, by fits without it, one part at a time.

`--count` says of how many clips of people, and of how many subjects of the truth benchmark; these are left out where
the environment names no `FITME_SCANS`. With a file named in the environment variable `FITME_ABLATION_RECORD`, each
fit's figures are appended to it and fits that it holds are not run again: runs add up, also one that was stopped.
"""

import os
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import torch

from fitme.api.keyframes import add_choice, begun_fitter, settings_with_focal
from fitme.bench.clips.fitting import choose_frames, clips
from fitme.bench.record import add_to_record, read_record, record_file
from fitme.bench.rows import BenchmarkRow
from fitme.bench.run import SEED
from fitme.bench.truth.dataset import FULL, SCANS_VARIABLE, make_truth, truth_folder
from fitme.bench.truth.heads import FittedHead, fitter_of, load_resources
from fitme.bench.truth.report import TITLES, UNITS
from fitme.bench.truth.scores import SubjectBench
from fitme.fit.fitter import IncrementalFitter
from fitme.fit.settings import FitSettings
from fitme.metrics.frame_scores import median_score, score_frame
from fitme.reflectance.packaged_models import packaged_generator
from fitme.shape.model_file import load_default_model
from fitme.track.factory import DEFAULT_NETWORKS, dlib_embedder

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

RECORD_VARIABLE = "FITME_ABLATION_RECORD"
SOURCES = 1
"""Clips, and subjects, by default."""
TIME_LIMIT_S = 600.0
"""Of one fit."""
ALL = "nothing"
"""What the complete fit is without."""
EXPRESSION_FRAMES = "expression frames"
S = TypeVar("S", bound="DataclassInstance")
Changes = Mapping[str, Any]
PARTS: Mapping[str, Changes] = {
    ALL: {},
    "tracks": {"alignment": {"tracks": {"rounds": 0}}},
    "flow before inversion": {"alignment_rounds": 0},
    "size by irises": {"alignment": {"irises": False}},
    "tone by scleras": {"fusion": {"scleras": False}},
    "encoder": {"inversion": {"encoder": False}},
    "inversion with images": {"inversion": {"inversion_steps": 0}},
    "tuning": {"inversion": {"tuning_steps": 0}},
    "identity term": {"inversion": {"identity_weight": 0.0}},
    "perceptual term": {"inversion": {"feature_weight": 0.0}},
    EXPRESSION_FRAMES: {},
    "smile's folds": {"expression_prior": False},
    "skin detail": {"skin_detail": False},
    "ears": {"ears": False},
    "hair": {"hair": {"enabled": False}},
}
"""Changes of `FitSettings` that leave a part out, by its name."""
ADDED: Mapping[str, Changes] = {"key light": {"light": {"key": {"enabled": True}}}}
"""Parts that are left out by default: what they would bring."""
FIGURES = ("psnr_db", "identity", "unseen_identity", "scan_mm", "normal_deg", "albedo", "relit_psnr_db")
"""Fields of scores that are told, beside the time."""
TITLED = {name: (TITLES[name], UNITS[name]) for name in FIGURES} | {"seconds": ("time of refinement", "s")}
"""Title and unit of each figure."""


@dataclass(frozen=True)
class Fitted:
    """Figures of one fit."""

    part: str
    """What was left out or added."""
    source: str
    """Clip or subject."""
    figures: dict[str, float]
    """By the names of `TITLED`; those that the source has."""


def ablation(count: int = SOURCES) -> list[BenchmarkRow]:
    """Rows of fits of `count` clips, and of `count` subjects where their scans are at hand."""
    sources: dict[str, Callable[[], _Source]] = {clip.stem: partial(_Clip, clip) for clip in clips()[:count]}
    if SCANS_VARIABLE in os.environ:
        sources |= {f"subject {number}": partial(_Subject, number) for number in range(count)}
    with record_file(RECORD_VARIABLE) as record:
        known = {(fitted.part, fitted.source) for fitted in read_record(record, Fitted)}
        for source, load in sources.items():
            missing = [part for part in [*PARTS, *ADDED] if (part, source) not in known]
            if not missing:
                continue
            loaded = load()
            for part in missing:
                torch.manual_seed(SEED)
                figures = loaded.figures(settings_of(part), expression_frames=part != EXPRESSION_FRAMES)
                print(f"{source}, {part}: {figures}", flush=True)
                add_to_record(record, Fitted(part, source, figures))
        return rows_of([fitted for fitted in read_record(record, Fitted) if fitted.source in sources])


def settings_of(part: str) -> FitSettings:
    """Settings of fits without a part of `PARTS`, or with one of `ADDED`."""
    return changed(FitSettings(), {**PARTS, **ADDED}[part])


def changed(settings: S, changes: Changes) -> S:
    """Settings with changes, by their names; those within settings in mappings of their own."""
    values = {
        name: changed(getattr(settings, name), value) if isinstance(value, Mapping) else value
        for name, value in changes.items()
    }
    return replace(settings, **values)


def rows_of(fits: Sequence[Fitted]) -> list[BenchmarkRow]:
    """Mean figures of the complete fits, then what each change adds to them: means over the sources of both."""
    found = {(fitted.part, fitted.source): fitted.figures for fitted in fits}
    rows = []
    for field, (title, unit) in TITLED.items():
        complete = {
            source: figures[field] for (part, source), figures in found.items() if part == ALL and field in figures
        }
        if complete:
            rows.append(BenchmarkRow(f"complete fit: {title}", fmean(complete.values()), unit))
    for part in [*PARTS, *ADDED]:
        sources = [source for name, source in found if name == part and (ALL, source) in found]
        word = "with" if part in ADDED else "without"
        for field, (title, unit) in TITLED.items() if part != ALL else ():
            differences = [
                found[part, source][field] - found[ALL, source][field]
                for source in sources
                if field in found[part, source]
            ]
            if differences:
                rows.append(BenchmarkRow(f"{word} {part}: {title}, added", fmean(differences), unit))
    return rows


class _Source(Protocol):
    """Pictures of one person that are fitted again and again."""

    def figures(self, settings: FitSettings, *, expression_frames: bool) -> dict[str, float]:
        """Figures of a fit, by the names of `TITLED`."""
        ...


class _Clip:
    """A clip, of which frames are held out."""

    def __init__(self, clip: Path) -> None:
        self._model, self._embedder = load_default_model(), dlib_embedder()
        self._choice, self._held_out = choose_frames(clip, self._model)

    def figures(self, settings: FitSettings, *, expression_frames: bool) -> dict[str, float]:
        """See `_Source.figures`."""
        choice = self._choice if expression_frames else replace(self._choice, expression_frames=())
        settings = settings_with_focal(settings, choice.keyframes)
        generator = packaged_generator(settings.reflectance_model)
        with closing(begun_fitter(None, self._model, generator, settings, self._embedder, "cpu")) as fitter:
            start_s = time.perf_counter()
            add_choice(fitter, choice, DEFAULT_NETWORKS, self._embedder, self._model)
            _refine(fitter)
            seconds = time.perf_counter() - start_s
            scores = []
            for frame in self._held_out:
                estimate = fitter.fit_frame(frame.observation, frame.frame.image)
                render, mask = fitter.render_estimate(estimate, frame.observation.camera)
                scores.append(score_frame(frame.observation, frame.frame.image, render, mask, self._embedder))
        return _known(asdict(median_score(scores)) | {"seconds": seconds})


class _Subject:
    """A subject of the truth benchmark, whose missing frames are rendered."""

    def __init__(self, number: int) -> None:
        make_truth(truth_folder(), FULL, [number])
        self._resources = load_resources(load_default_model(), dlib_embedder())
        self._bench = SubjectBench(truth_folder(), number, FULL.frames, self._resources)

    def figures(self, settings: FitSettings, *, expression_frames: bool) -> dict[str, float]:
        """See `_Source.figures`; a subject has no expression frames."""
        resources = replace(self._resources, settings=settings)
        with closing(fitter_of(self._bench.fitted.values(), resources)) as fitter:
            start_s = time.perf_counter()
            _refine(fitter)
            seconds = time.perf_counter() - start_s
            return _known(asdict(self._bench.score(FittedHead(fitter))) | {"seconds": seconds})


def _refine(fitter: IncrementalFitter) -> None:
    fitter.refine(TIME_LIMIT_S)
    fitter.finish_correctives()


def _known(figures: Mapping[str, float]) -> dict[str, float]:
    return {name: float(figures[name]) for name in TITLED if name in figures}
