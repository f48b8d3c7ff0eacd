"""Majority vote: the largest group of embeddings wins in any order; draws are detected."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fitme.ingest.majority import majority

RADIUS = 0.6


def people(labels: list[int]) -> list[np.ndarray]:
    """(8,) embeddings: those of one label lie within 0.3 of each other, those of others at least 1 apart."""
    rng = np.random.default_rng(0)
    noise = rng.uniform(-0.05, 0.05, (len(labels), 8))
    return [(np.eye(8)[label] + jitter).astype(np.float32) for label, jitter in zip(labels, noise, strict=True)]


@given(labels=st.lists(st.integers(0, 4), min_size=1, max_size=30))
def test_the_most_frequent_person_wins(labels: list[int]):
    embeddings = people(labels)
    chosen = majority(embeddings, RADIUS)
    counts = sorted((labels.count(label) for label in set(labels)), reverse=True)
    person = labels[min(chosen.members)]
    assert chosen.members == {index for index, label in enumerate(labels) if label == person}
    assert len(chosen.members) == counts[0]
    assert chosen.runner_up == (counts[1] if len(counts) > 1 else 0)
    assert chosen.draw == (len(counts) > 1 and counts[0] == counts[1])
    assert any(np.array_equal(chosen.reference, embeddings[index]) for index in chosen.members)
    # Of equally frequent people the one who comes first.
    equals = [label for label in labels if labels.count(label) == counts[0]]
    assert person == equals[0]


def test_one_embedding_of_another_person_has_no_effect_at_any_position():
    for position in range(11):
        labels = [0] * 10
        labels.insert(position, 1)
        chosen = majority(people(labels), RADIUS)
        assert position not in chosen.members
        assert len(chosen.members) == 10
        assert not chosen.draw


def test_the_reference_is_central():
    line = [np.array([x, 0.0], np.float32) for x in (0.0, 0.25, 0.5, 0.75, 1.0)]
    assert majority(line, RADIUS).reference[0] == pytest.approx(0.5)
