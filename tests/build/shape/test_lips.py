"""Lips of the shipped head: closed from corner to corner, with the landmarks of each rim on its own lip."""

import numpy as np
import pytest
import torch

from fitme.build.shape.lips import OVERLAP_M, lip_contact, with_closed_lips
from fitme.render.occlusion import teeth_and_adjacent
from fitme.shape.expressions import expression_index
from fitme.shape.landmark_groups import LIP_RIMS
from fitme.shape.model_file import load_default_model
from fitme.shape.regions import Region

OPENING = 0.04
"""Activation of `jawOpen` by which lips are parted."""
FAR_M = 0.015
"""Distance from the rims from which nothing moves."""


@pytest.fixture(scope="module")
def model():
    return load_default_model()


def contact_of(model, vertices):
    lips = model.triangle_region.numpy() == Region.LIPS
    jaw = model.expression_basis[expression_index("jawOpen")].double().numpy()
    return lip_contact(vertices, model.triangles.long().numpy(), lips, jaw)


def test_no_slit_is_left_between_the_lips(model):
    contact = contact_of(model, model.mean.double().numpy())
    assert (contact.upper - contact.lower)[:, 0].max() < OVERLAP_M
    assert np.abs(contact.gap_at(np.array([0.05]))).max() == 0.0


def test_a_slit_is_closed_from_both_sides_and_nothing_else_moves(model):
    jaw = model.expression_basis[expression_index("jawOpen")].double().numpy()
    parted = model.mean.double().numpy() + OPENING * jaw
    slit = contact_of(model, parted)
    teeth = teeth_and_adjacent(model).numpy()
    closed = with_closed_lips(parted, slit, teeth)
    after, width = contact_of(model, closed), (slit.upper - slit.lower)[:, 0]
    assert width.max() > 0.0005
    assert (after.upper - after.lower)[:, 0].max() < 0.2 * width.max()
    moved = np.abs(closed - parted)
    assert not moved[teeth].any()
    assert 0.4 * width.max() < moved.max() < 0.5 * (width.max() + OVERLAP_M) + 1e-6
    assert moved[np.linalg.norm(slit.offset(parted), axis=1) > FAR_M].max() < 1e-5


def test_the_jaw_parts_every_pair_of_rims(model):
    expression = torch.zeros(1, len(model.expression_basis))
    expression[0, expression_index("jawOpen")] = 0.3
    places = model.landmarks(model.vertices(torch.zeros(1, model.identity_count), expression))[0].numpy()
    for upper, lower in LIP_RIMS:
        assert places[upper, 1] - places[lower, 1] > 0.003
