"""Parts of the benchmark of people, on few heads."""

from contextlib import closing
from dataclasses import replace

import numpy as np
import pytest
import torch

from fitme.bench.people.benchmark import PEOPLE_VARIABLE, _power_rows, distances_between, load_people
from fitme.bench.people.heads import HeadSet, head_set, sampled_heads
from fitme.bench.people.held_out import score_encoder
from fitme.bench.reflectance.patches import SkinPatch
from fitme.errors import InputError
from fitme.reflectance.packaged_models import packaged_encoder, packaged_generator
from fitme.shape.model_file import load_default_model
from fitme.track.factory import landmark_backend
from fitme.training.contact_sheets import HeadRenderer, front_light, sample_maps
from fitme.training.data.encoding import encoded_maps
from fitme.training.people.mixing import Draw


class SampledPeople:
    """Samples of the painted generator in the place of photographed people, of whose layout some columns are seen."""

    count, resolution = 2, 128

    def __init__(self, columns: slice) -> None:
        maps = sample_maps(packaged_generator(), self.count, seed=5, resolution=self.resolution)
        self._maps, self._columns = encoded_maps(maps), columns

    def people(self, indices: torch.Tensor) -> Draw:
        share = torch.zeros(len(indices), 1, self.resolution, self.resolution)
        share[..., self._columns] = 1.0
        return Draw(self._maps[indices], share)


def test_distances_are_those_of_all_pairs():
    known = np.random.default_rng(0).standard_normal((5, 8)).astype(np.float32)
    found = known[[3, 1]] + np.float32(0.01)
    distances = distances_between(found, known)
    assert distances.argmin(1).tolist() == [3, 1]
    assert distances.min(1) == pytest.approx(0.01 * 8**0.5, rel=1e-3)


def test_skin_is_compared_with_skin_of_its_tone():
    generator = packaged_generator()
    heads = head_set(sampled_heads(generator, 12, 3))
    itself = {row.name: row.value for row in _power_rows("samples", heads, heads)}
    assert itself
    assert all(0.5 < ratio < 2.0 for ratio in itself.values())
    # Ten times the contrast, in the head of the lightest skin alone, is seen only where light skin is compared.
    lightest = int(heads.ita_deg.argmax())
    darkest = replace(heads, ita_deg=np.array([heads.ita_deg.min()]), patches=_of(heads, int(heads.ita_deg.argmin())))
    with_edges = {part: [*windows] for part, windows in heads.patches.items()}
    for windows in with_edges.values():
        windows[lightest] = [replace(patch, log_diffuse=10.0 * patch.log_diffuse) for patch in windows[lightest]]
    changed = replace(heads, patches=with_edges)
    assert _power_rows("samples", changed, darkest) == _power_rows("samples", heads, darkest)


def _of(heads: HeadSet, index: int) -> dict[str, list[list[SkinPatch]]]:
    return {part: [windows[index]] for part, windows in heads.patches.items()}


def test_samples_with_detail_are_rougher_and_the_same_person():
    generator = packaged_generator()
    plain, detailed = (head_set(sampled_heads(generator, 2, 3, detail=detail)) for detail in (False, True))
    assert plain.features.shape == (2, 1280)
    for part in ("cheek", "forehead", "nose"):
        limits = (1.0, 1.0)
        before, after = (np.median([p.powers(limits)[0] for (p,) in s.patches[part]], 0) for s in (plain, detailed))
        assert after[1] > 1.5 * before[1]
    same = np.linalg.norm(plain.embeddings - detailed.embeddings, axis=1)
    assert same.max() < np.linalg.norm(plain.embeddings[0] - plain.embeddings[1])


def test_landmarks_of_renders_are_where_the_network_finds_them():
    renderer = HeadRenderer(load_default_model(), (224, 224))
    render = renderer.render(sample_maps(packaged_generator(), 1, seed=2), front_light(), 0.0)
    with closing(landmark_backend()) as network:
        (found,) = network.mesh(render)
    distance = np.linalg.norm(found.landmarks[:, :2] - renderer.landmarks(0.0), axis=1)
    assert np.median(distance) < 4.0


def test_only_what_was_hidden_and_is_known_counts_for_the_hidden_half():
    generator = packaged_generator()
    encoder = packaged_encoder(generator)
    assert encoder is not None
    whole, left = (
        score_encoder(generator, encoder, SampledPeople(columns), 128)  # type: ignore[arg-type]
        for columns in (slice(None), slice(0, 64))
    )
    assert 15.0 < whole.hidden_db < 40.0
    # With the left half hidden nothing is shown at all: the guess is worse than from the other half.
    assert left.hidden_db < whole.hidden_db - 1.0
    assert left.seen_db > left.hidden_db + 1.0


def test_without_folders_there_is_one_clear_line(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv(PEOPLE_VARIABLE, raising=False)
    with pytest.raises(InputError, match=PEOPLE_VARIABLE):
        load_people()
