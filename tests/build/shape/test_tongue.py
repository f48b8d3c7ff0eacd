"""The tongue of the shipped model, in and out of the mouth."""

import numpy as np
import pytest
import torch

from fitme.build.shape.tongue import with_new_tongue
from fitme.render.occlusion import head_occlusion, mouth_occlusion, tongue_vertices
from fitme.shape.expressions import EXPRESSION_COUNT, expression_index
from fitme.shape.model_file import load_default_model

LOWER_LIP, LIP_EDGE, CHIN = 14, 17, 152


@pytest.fixture(scope="module")
def model():
    return load_default_model()


def head(model, **weights):
    """(V, 3) vertices of the mean head with an expression by names."""
    expression = torch.zeros(1, EXPRESSION_COUNT)
    for name, weight in weights.items():
        expression[0, expression_index(name)] = weight
    return model.vertices(torch.zeros(1, model.identity_count), expression)[0]


def test_the_shipped_model_has_this_tongue(model):
    built = with_new_tongue(model).expression_basis
    assert (built - model.expression_basis).abs().max() < 2e-5, "run python -m fitme.build.shape.tongue"
    assert torch.equal(with_new_tongue(with_new_tongue(model)).expression_basis, built)


def test_the_tongue_hangs_over_the_lower_lip(model):
    tongue = tongue_vertices(model)
    posed = head(model, tongueOut=1.0, jawOpen=0.25)
    places = model.landmarks(posed[None])[0]
    tip = posed[tongue][posed[tongue, 2].argmax()]
    assert tip[2] > places[LIP_EDGE, 2] + 0.01
    assert places[CHIN, 1] < posed[tongue, 1][posed[tongue, 2] > places[LOWER_LIP, 2]].min() < places[LIP_EDGE, 1]
    # It crosses the lip's inner rim above it, and it is narrower than the mouth.
    crossing = tongue & ((posed[:, 2] - places[LOWER_LIP, 2]).abs() < 0.003)
    assert posed[crossing, 1].mean() > places[LOWER_LIP, 1]
    assert posed[crossing, 0].abs().max() < places[[78, 308], 0].abs().min()
    assert head(model)[tongue, 2].max() < model.landmarks(head(model)[None])[0, LOWER_LIP, 2] - 0.01


def test_nothing_but_the_tongue_moves_and_both_sides_alike(model):
    moved = model.expression_basis[expression_index("tongueOut")].numpy()
    assert np.abs(moved[~tongue_vertices(model).numpy()]).max() < 1e-4
    mirrored = moved[model.mirror.numpy()] * (-1.0, 1.0, 1.0)
    np.testing.assert_allclose(moved, mirrored, atol=2e-4)


def test_a_tongue_out_of_the_mouth_is_lit_and_one_in_it_is_not(model):
    tongue, occlusion, mouth = tongue_vertices(model), head_occlusion(model), mouth_occlusion(model)
    inside, out = (mouth.apply(occlusion, head(model, jawOpen=0.25, tongueOut=weight)) for weight in (0.0, 1.0))
    assert inside[tongue].max() < 0.5
    assert out[tongue].max() == 1.0
    assert torch.equal(inside[~tongue], out[~tongue])
