"""Benchmark `people`: the generators beside people's own skin, and whether somebody is in them.

Needs portraits: `FITME_PEOPLE` names the folders of the sets that `fitme.training.people.split` divides, and
`FITME_PEOPLE_SETS` a folder where their maps are kept, which takes ten seconds a person. Both are for this machine
only: they show real people.
"""

import os
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import get_args

import numpy as np
import torch

from fitme.arrays import Float32Array, Float64Array
from fitme.bench.people.heads import (
    RESOLUTION,
    HeadSet,
    head_set,
    painted_heads,
    people_heads,
    sampled_heads,
)
from fitme.bench.people.held_out import score_encoder
from fitme.bench.people.kernel_distance import kernel_distance
from fitme.bench.reflectance.patches import BANDS_PER_MM, MAPS, nyquist_per_mm
from fitme.bench.rows import BenchmarkRow
from fitme.bench.run import SEED
from fitme.errors import InputError
from fitme.reflectance.model_names import ReflectanceModel
from fitme.reflectance.packaged_models import packaged_encoder, packaged_generator
from fitme.training.data.dataset import HELD_OUT_SEED
from fitme.training.people.mixing import PeopleBank
from fitme.training.people.people_set import ABOUT_FILE, build_people_set, load_people_set
from fitme.training.people.scores import invert_people
from fitme.training.people.split import is_held_out

PEOPLE_VARIABLE, SETS_VARIABLE = "FITME_PEOPLE", "FITME_PEOPLE_SETS"
SAMPLES = 512
"""Samples of each generator, by default."""
PAINTED_HEADS = 128
ALIKE = 5
"""Heads, nearest in tone, with which a person's skin is compared."""
SMILES = "_smiling"
"""End of the names of portraits that show no neutral face."""
INVERSION_TARGET, GAIN_TARGET, SEEN_TARGET, HIDDEN_TARGET = ">= 32", ">= 3", ">= 25", ">= 22"
KERNEL_TARGET, POWER_TARGET = "<= 0.5", "1/1.7 to 1.7"
MODELS: tuple[ReflectanceModel, ...] = get_args(ReflectanceModel)


@dataclass(frozen=True)
class People:
    """Photographed people."""

    trained: PeopleBank
    """Those whom the generator of people's skin was trained on."""
    held_out: PeopleBank


def people(count: int = SAMPLES) -> list[BenchmarkRow]:
    """Rows of `count` samples of each generator, and of the people held out."""
    photographed = load_people()
    return _held_out_rows(photographed.held_out) + _sample_rows(photographed, count)


def load_people() -> People:
    """People of the folders that the environment names; their maps are made first where they are missing.

    :raises InputError: if the environment names no folders.
    """
    folders = [Path(name) for name in os.environ.get(PEOPLE_VARIABLE, "").split(os.pathsep) if name]
    if not folders or SETS_VARIABLE not in os.environ:
        raise InputError(f"name folders of portraits in {PEOPLE_VARIABLE} and one for their maps in {SETS_VARIABLE}")
    sets = Path(os.environ[SETS_VARIABLE])
    banks = []
    for name, held_out in (("trained", False), ("held_out", True)):
        if not (sets / name / ABOUT_FILE).is_file():
            chosen = [folder for folder in folders if any(is_held_out(path) is held_out for path in folder.iterdir())]
            build_people_set(chosen, sets / name, RESOLUTION, leave_out=partial(_is_left_out, held_out))
        banks.append(PeopleBank(load_people_set(sets / name)))
    return People(*banks)


def _is_left_out(held_out: bool, path: Path) -> bool:
    return is_held_out(path) is not held_out or path.stem.endswith(SMILES)


def _held_out_rows(bank: PeopleBank) -> list[BenchmarkRow]:
    """Rows of inversion and encoder on people held out."""
    rows, inverted_db = [], []
    for model in MODELS:
        generator = packaged_generator(model)
        encoder = packaged_encoder(generator)
        assert encoder is not None
        resolution = generator.config.resolution
        score = invert_people(generator, bank, resolution)
        inverted_db.append(score.mean_db)
        rows.append(
            BenchmarkRow(f"{model}: W+ inversion of {bank.count} people", score.mean_db, "dB", INVERSION_TARGET)
        )
        rows.append(BenchmarkRow(f"{model}: the same, worst person", min(score.psnr_db), "dB"))
        encoded = score_encoder(generator, encoder, bank, resolution)
        rows.append(BenchmarkRow(f"{model}: encoder, what the photo shows", encoded.seen_db, "dB", SEEN_TARGET))
        rows.append(BenchmarkRow(f"{model}: encoder, hidden half", encoded.hidden_db, "dB", HIDDEN_TARGET))
    gain = inverted_db[MODELS.index("people")] - inverted_db[MODELS.index("painted")]
    return [*rows, BenchmarkRow("W+ inversion, people over painted", gain, "dB", GAIN_TARGET)]


def _sample_rows(photographed: People, count: int) -> list[BenchmarkRow]:
    """Rows of samples beside people: kernel distance, power of detail, nearest person."""
    trained, held_out = (head_set(people_heads(bank)) for bank in (photographed.trained, photographed.held_out))
    painted = head_set(painted_heads(PAINTED_HEADS, HELD_OUT_SEED))
    sampled = {
        (model, detail): head_set(sampled_heads(packaged_generator(model), count, SEED, detail=detail))
        for model in MODELS
        for detail in (False, True)
    }
    named = {"the painter": painted} | {
        f"samples, {model}{', with detail' if detail else ''}": heads for (model, detail), heads in sampled.items()
    }
    between = distances_between(trained.embeddings, trained.embeddings)
    np.fill_diagonal(between, np.inf)
    nearest, pairs = between.min(1), len(between) * (len(between) - 1) // 2
    rows = [
        *_kernel_rows(trained, held_out, named),
        BenchmarkRow("identity, nearest pair of people", float(nearest.min()), "L2"),
        BenchmarkRow("identity, nearest other person, median", float(np.median(nearest)), "L2"),
    ]
    # People who were never trained on show how near strangers come.
    named["people held out"] = held_out
    for name, heads in named.items():
        distances = distances_between(heads.embeddings, trained.embeddings)
        # Samples and people make more pairs than people do: as rare a pair as people's nearest is the fair comparison.
        rare = float(np.quantile(distances, 1.0 / pairs, method="lower"))
        rows += [
            BenchmarkRow(f"identity, nearest person to {name}", float(distances.min()), "L2"),
            BenchmarkRow(
                f"identity, nearest person to {name}, of {pairs} pairs", rare, "L2", f">= {nearest.min():.3f}"
            ),
            BenchmarkRow(f"identity, nearest person to {name}, median", float(np.median(distances.min(1))), "L2"),
        ]
        if heads is not held_out:
            rows += _power_rows(name, heads, held_out)
    return rows


def _kernel_rows(trained: HeadSet, held_out: HeadSet, named: dict[str, HeadSet]) -> list[BenchmarkRow]:
    """Rows of the distance of each set from all people, and of its ratio to the painter's: of whole heads, whose hair
    and eyes are painted in all sets but people's, and of faces' skin alone."""
    rows = []
    for what, features in (("kernel distance", "features"), ("kernel distance of skin alone", "skin_features")):
        everybody = torch.cat([getattr(trained, features), getattr(held_out, features)])
        found = {name: kernel_distance(getattr(heads, features), everybody) for name, heads in named.items()}
        for name, distance in found.items():
            rows.append(BenchmarkRow(f"{what} from people, {name}", distance.value, ""))
            rows.append(BenchmarkRow(f"{what} from people, {name}: standard error", distance.standard_error, ""))
        for name, distance in list(found.items())[1:]:
            ratio = distance.value / found["the painter"].value
            rows.append(BenchmarkRow(f"{what}, {name} over the painter", ratio, "", KERNEL_TARGET))
    return rows


def _power_rows(name: str, heads: HeadSet, held_out: HeadSet) -> list[BenchmarkRow]:
    """Rows of the power of the diffuse albedo's logarithm over that of people held out, by part and octave.

    The darker skin is, the stronger its contrast: each person is compared with the heads nearest in tone.
    """
    rows = []
    distance = np.abs(heads.ita_deg[None] - held_out.ita_deg[:, None])  # (people, N)
    alike = distance.argsort(1)[:, :ALIKE].ravel()
    for part, windows in heads.patches.items():
        patches = [patch for index in alike for patch in windows[index]]
        known = [patch for own in held_out.patches[part] for patch in own]
        limits = nyquist_per_mm([*patches, *known])
        ours, theirs = (
            np.median([patch.powers(limits)[MAPS.index("diffuse")] for patch in group], axis=0)
            for group in (patches, known)
        )
        rows += [
            BenchmarkRow(f"power, {name}, {part}, {low:g} to {high:g} cycles/mm", float(own / other), "", POWER_TARGET)
            for own, other, (low, high) in zip(ours, theirs, BANDS_PER_MM, strict=True)
            if np.sqrt(low * high) < min(limits)
        ]
    return rows


def distances_between(
    a: Float32Array,  # (N, D)
    b: Float32Array,  # (M, D)
) -> Float64Array:
    """(N, M) L2 distances of embeddings."""
    return np.asarray(np.linalg.norm(a.astype(np.float64)[:, None] - b.astype(np.float64)[None], axis=-1))
