"""Landmark errors: their file, and lower errors of shape on held-out heads under the measured noise model."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from fitme.bench.truth.metrics import similarity_of
from fitme.build.landmark_errors.synthetic_views import HEIGHT, WIDTH, LandmarkRenderer
from fitme.errors import ModelFileError
from fitme.fit.alignment.landmark_errors import (
    DEFAULT_ERRORS_PATH,
    LandmarkErrors,
    direction_terms,
    load_default_errors,
    load_errors,
    pixels_per_metre,
)
from fitme.fit.alignment.landmark_targets import LandmarkSettings, LandmarkTargets, initial_estimate, matrix_of
from fitme.fit.keyframe import Keyframe
from fitme.fit.solver.gauss_newton import solve_jointly
from fitme.fit.solver.joint_estimate import FreeParameters, SolverSettings
from fitme.fit.solver.point_targets import MeshBasis
from fitme.geometry import Camera
from fitme.reflectance.packaged_models import packaged_generator
from fitme.shape.morphable_model import MorphableModel
from fitme.track.observation import FaceObservation, FaceStatus, FrameQuality
from fitme.track.pose import PoseSolver

UNSEEN_PEOPLE = 7_000_000
"""Numbers of people from here on are not among those that the errors were measured on."""
FOCAL = 1.1


@pytest.fixture(scope="module")
def errors() -> LandmarkErrors:
    return load_default_errors()


def test_the_shipped_file_is_small_and_of_the_shipped_model(errors: LandmarkErrors, model: MorphableModel) -> None:
    assert DEFAULT_ERRORS_PATH.stat().st_size < 300_000
    assert errors.fits(model)
    assert len(np.unique(errors.landmarks)) == len(errors.landmarks)
    assert (errors.sigma > 0.9e-4).all()
    assert (errors.sigma < 2e-3).all()
    # Errors of all kinds add up to some millimetres: fewer would be no detections on images, more no faces.
    for columns in (errors.person, errors.frame):
        assert 0.5e-3 < np.sqrt((columns**2).sum(2).mean()) < 4e-3


def test_errors_of_a_frontal_head_are_symmetric(errors: LandmarkErrors) -> None:
    mirror = np.linalg.norm(errors.places[:, None] * (-1.0, 1.0, 1.0) - errors.places[None], axis=2)
    pairs = [(a, int(b)) for a, b in enumerate(mirror.argmin(1)) if mirror[a, b] < 1e-3]
    assert len(pairs) > 40
    left, right = np.array(pairs).T
    mean = errors.direction @ direction_terms(np.eye(3)[None])[0]
    assert np.abs(mean[left] * (-1.0, 1.0, 1.0) - mean[right]).max() < 1e-3


@given(st.floats(-1.0, 1.0), st.floats(-0.5, 0.5))
def test_spreads_grow_with_the_turn(yaw: float, pitch: float) -> None:
    errors = load_default_errors()
    less, more = (Rotation.from_euler("yx", [f * yaw, f * pitch]).as_matrix() for f in (0.5, 1.0))
    assert 1.0 <= errors.spread(less) <= errors.spread(more) + 1e-12


@given(st.floats(50.0, 5000.0), st.floats(-300.0, 300.0), st.floats(-1.0, 1.0))
def test_the_scale_of_a_face_seen_from_afar_is_found(scale: float, shift: float, yaw: float) -> None:
    places = load_default_errors().places
    rotation = Rotation.from_euler("y", yaw).as_matrix()
    pixels = scale * places @ rotation[:2].T * (1.0, -1.0) + shift
    assert pixels_per_metre(places, pixels, rotation) == pytest.approx(scale)


def test_what_is_saved_is_loaded_again(errors: LandmarkErrors, tmp_path: Path) -> None:
    errors.save(tmp_path / "errors.npz")
    again = load_errors(tmp_path / "errors.npz")
    np.testing.assert_array_equal(again.landmarks, errors.landmarks)
    np.testing.assert_allclose(again.person, errors.person, rtol=1e-6)
    assert not list(tmp_path.glob("*.partial"))


def test_missing_and_damaged_files_are_told(errors: LandmarkErrors, tmp_path: Path) -> None:
    file = tmp_path / "errors.npz"
    with pytest.raises(ModelFileError, match=r"landmark_errors\.measure"):
        load_errors(file)
    errors.save(file)
    file.write_bytes(file.read_bytes()[:1000])
    with pytest.raises(ModelFileError, match="readable"):
        load_errors(file)
    replace(errors, sigma=-errors.sigma).save(file)
    with pytest.raises(ModelFileError, match="positive"):
        load_errors(file)
    replace(errors, frame=errors.frame[:-1]).save(file)
    with pytest.raises(ModelFileError, match="frame has shape"):
        load_errors(file)
    replace(errors, person=np.full_like(errors.person, np.nan)).save(file)
    with pytest.raises(ModelFileError, match="finite"):
        load_errors(file)


def test_another_model_has_independent_errors(errors: LandmarkErrors, model: MorphableModel) -> None:
    other = replace(model, mean=model.mean * 1.1)
    assert not errors.fits(other)
    places = model.landmarks(model.mean[None])[0].numpy()[:, :2]
    frame = observed(300.0 + 900.0 * places * np.array([1.0, -1.0], np.float32), PoseSolver(model))
    target = LandmarkTargets(other, MeshBasis(other), LandmarkSettings()).of(frame, np.eye(3), correlated=True)
    assert target.errors is None
    assert len(target.pixels) > len(errors.landmarks)


def observed(landmarks: npt.NDArray[np.float32], solver: PoseSolver) -> Keyframe:
    """A keyframe with landmarks and an empty image."""
    camera = Camera.centered(FOCAL * WIDTH, WIDTH, HEIGHT)
    estimate = solver.solve(landmarks, np.zeros(478, np.float32), camera, iterations=20)
    observation = FaceObservation(
        landmarks, np.zeros(478, np.float32), estimate.pose, estimate.expression, camera,
        FrameQuality(1.0, 0.5, 0.0, 100.0, 0.0), FaceStatus.OK, None,
    )  # fmt: skip
    return Keyframe("", np.zeros((HEIGHT, WIDTH, 3), np.uint8), observation, 0.0)


def test_knowing_the_errors_finds_people_better(model: MorphableModel) -> None:
    """Six people outside of the calibration, four views each; faces are compared at a free scale."""
    views = LandmarkRenderer(model, packaged_generator()).render(UNSEEN_PEOPLE, 6)
    basis, solver = MeshBasis(model), PoseSolver(model)
    knowing = LandmarkTargets(model, basis, LandmarkSettings())
    unknowing = LandmarkTargets(model, basis, LandmarkSettings(), no_errors(load_default_errors()))
    face = model.face_vertices.numpy()
    mean, components = model.mean.double().numpy()[face], model.identity_basis.double().numpy()[:, face]
    distances = []
    for person in range(len(views.identity)):
        frames = [observed(views.pixels[row], solver) for row in np.flatnonzero(views.person == person)]
        start = initial_estimate(
            [frame.observation.pose for frame in frames],
            [frame.observation.expression for frame in frames],
            FOCAL,
            np.zeros(model.identity_count),
        )
        true = mean + np.tensordot(views.identity[person], components, 1)
        row = [_distance(mean, true)]
        for source in (unknowing, knowing):
            targets = [source.of(frame, matrix_of(frame.observation.pose), correlated=True) for frame in frames]
            found = solve_jointly(targets, start, SolverSettings(), FreeParameters())
            row.append(_distance(mean + np.tensordot(found.identity, components, 1), true))
        distances.append(row)
    mean_face, independent, measured = np.mean(distances, 0)
    assert measured < 0.9 * mean_face
    assert measured < independent


def no_errors(errors: LandmarkErrors) -> LandmarkErrors:
    """Errors of no model: every landmark counts, and for itself."""
    return replace(errors, places=errors.places + 1.0)


def _distance(found: npt.NDArray[np.float64], true: npt.NDArray[np.float64]) -> float:
    return float(np.linalg.norm(similarity_of(found, true, free_scale=True).apply(found) - true, axis=1).mean())
