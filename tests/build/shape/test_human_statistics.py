"""The shipped components against a person of the scan-based model that gave their statistics, where it is at hand."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from fitme.build.shape.human_statistics import fit_people, load_people
from fitme.build.shape.identity_pca import IdentitySpace
from fitme.build.shape.landmark_embedding import Embedding
from fitme.shape.model_file import load_default_model
from fitme.shape.regions import Region

PEOPLE = Path(__file__).parents[4] / "shared" / "data" / "ict_facekit.npz"
NARROW_FACE = 6706
MAX_MEDIAN_DISTANCE_M = 0.7e-3


@pytest.mark.skipif(not PEOPLE.exists(), reason="the scan-based model is not part of the project")
def test_components_reach_a_scanned_person_with_likely_coefficients():
    model = load_default_model()
    people = load_people(PEOPLE)
    someone = np.random.default_rng(5).standard_normal(len(people.modes))
    person = dataclasses.replace(
        people,
        mean=people.mean + np.tensordot(someone, people.modes, 1),
        landmarks=people.landmarks + np.tensordot(someone, people.landmark_modes, 1),
        eyes=people.eyes + np.tensordot(someone, people.eye_modes, 1),
    )
    inside = (Region.EYES, Region.MOUTH_INTERIOR, Region.TEETH)
    fit = fit_people(
        IdentitySpace(model.mean.double().numpy(), model.identity_basis.double().numpy()),
        model.triangles.numpy().astype(np.int64),
        np.flatnonzero(~np.isin(model.triangle_region.numpy(), inside)),
        (model.eyeball_vertices[0].numpy(), model.eyeball_vertices[1].numpy()),
        Embedding(model.ibug_triangles.numpy(), model.ibug_barycentric.double().numpy()),
        person,
        prior_scale=1.0,
        rounds=4,
    )
    assert np.nanmedian(np.abs(fit.mean_distance_m[:NARROW_FACE])) < MAX_MEDIAN_DISTANCE_M
    assert 0.5 < np.sqrt((fit.mean_coefficients**2).mean()) < 1.5
