"""The synthetic population, of the default model's own components in place of anny's, which need an extra."""

import sys
from types import SimpleNamespace

import numpy as np
import pytest
from scipy.spatial import cKDTree

from fitme.bench.truth import synthetic_people
from fitme.bench.truth.metrics import similarity_of
from fitme.bench.truth.people import Material, smooth_normals
from fitme.bench.truth.subjects import IDENTITY_COMPONENTS
from fitme.bench.truth.synthetic_people import SPREAD, load_synthetic_people, population_of
from fitme.build.shape.identity_pca import IdentitySpace
from fitme.errors import BackendError, ModelFileError
from fitme.shape.model_file import load_default_model
from fitme.shape.regions import Region


@pytest.fixture(scope="module")
def model():
    return load_default_model()


@pytest.fixture(scope="module")
def people(model):
    basis = model.identity_basis.double().numpy()[:IDENTITY_COMPONENTS]
    return population_of(IdentitySpace(model.mean.double().numpy(), basis), model)


def test_without_anny_one_is_told_what_to_install(model, monkeypatch):
    monkeypatch.setitem(sys.modules, "anny", None)
    with pytest.raises(BackendError, match=r"fitme\[build\]"):
        load_synthetic_people(model)


def test_a_model_of_another_mesh_is_refused(model, monkeypatch):
    monkeypatch.setattr(synthetic_people, "load_source", lambda *_: SimpleNamespace(template=np.zeros((7, 3))))
    with pytest.raises(ModelFileError, match="7"):
        load_synthetic_people(model)


def test_subdivided_heads_have_the_model_s_shape_and_a_share_of_its_deviations(model, people):
    face = np.unique(people.face_triangles)
    surface = cKDTree(people.mean[np.unique(people.triangles[Material.SKIN])])
    apart = surface.query(model.mean[model.face_vertices].double().numpy())[0]
    assert np.median(apart) < 0.0005
    assert np.quantile(apart, 0.99) < 0.002
    identity = np.zeros(IDENTITY_COMPONENTS)
    identity[0] = 1.0
    moved = np.linalg.norm(people.neutral(identity) - people.mean, axis=1)
    ours = model.identity_basis[0].norm(dim=-1).numpy()
    assert np.sqrt((moved[face] ** 2).mean()) == pytest.approx(
        SPREAD * np.sqrt((ours[model.face_vertices.numpy()] ** 2).mean()), rel=0.1
    )


def test_landmarks_are_the_model_s(model, people):
    ours = model.ibug_landmarks(model.mean[None])[0].double().numpy()
    assert np.linalg.norm(people.mean[people.landmarks] - ours, axis=1).max() < 0.002


def test_texture_coordinates_are_the_model_s(model, people):
    corners = model.triangles.long()
    middles = model.mean[corners].mean(1).double().numpy()
    places = model.uv[model.uv_triangles.long()].mean(1).double().numpy()
    chosen = model.face_triangles.numpy()
    skin = people.triangles[Material.SKIN]
    centres = people.mean[skin].mean(1)
    nearest = cKDTree(centres).query(middles[chosen])[1]
    found = people.uv[people.uv_triangles[Material.SKIN][nearest]].mean(1)
    apart = np.linalg.norm(found - places[chosen], axis=1)
    assert np.quantile(apart, 0.98) < 0.003  # insides of lids and lips touch, and may be taken for each other
    assert {material: len(part) for material, part in people.triangles.items()} == {
        material: len(part) for material, part in people.uv_triangles.items()
    }


def test_eyeballs_are_round_and_look_where_an_expression_says(model, people):
    assert people.eyeball_radius(people.mean) == pytest.approx(
        np.mean([np.ptp(model.mean[ball, :2].numpy(), axis=0) / 2.0 for ball in model.eyeball_vertices]), rel=0.02
    )
    eyes = np.unique(people.triangles[Material.EYES])
    layout = people.uv[np.unique(people.uv_triangles[Material.EYES])]
    assert layout.min() >= 0.0
    assert layout.max() <= 1.0
    turned = people.offsets({"eyeLookOutLeft": 1.0})
    left = eyes[people.mean[eyes, 0] > 0.0]
    front = left[people.mean[left, 2].argmax()]
    assert turned[front, 0] > 0.003
    assert np.abs(turned[np.setdiff1d(eyes, left)]).max() < 1e-6


def test_teeth_are_as_long_as_the_model_s(model, people):
    teeth, ours = people.mean[np.unique(people.triangles[Material.TEETH])], model.mean[model.vertex_mask(Region.TEETH)]
    assert np.ptp(teeth, axis=0) == pytest.approx(np.ptp(ours.numpy(), axis=0), abs=1e-4)


def test_a_jaw_opens_and_clothes_do_not_move(people):
    opened = people.offsets({"jawOpen": 1.0})
    assert opened[people.landmarks[8], 1] < -0.01
    clothes = np.unique(people.triangles[Material.CLOTH])
    assert np.abs(opened[clothes]).max() == 0.0
    assert people.stiffness[clothes].max() == 0.0
    shoulders = clothes[people.mean[clothes, 1] < -0.21]
    assert np.abs(people.identity[:, shoulders]).max() == 0.0
    assert people.stiffness[people.face_triangles].min() > 0.8
    assert ((people.stiffness > 0.05) & (people.stiffness < 0.95)).any()


def test_a_collar_is_wider_than_any_neck(model, people):
    neck = np.unique(model.triangles[model.triangle_region == int(Region.NECK)].numpy())
    generator = np.random.default_rng(5)
    clothes = np.unique(people.triangles[Material.CLOTH])
    for _ in range(5):
        head = people.neutral(generator.standard_normal(IDENTITY_COMPONENTS))
        collar = head[clothes][np.abs(people.mean[clothes, 1] + 0.15) < 0.01]
        inside = head[neck][np.abs(people.mean[neck, 1] + 0.15) < 0.01]
        assert np.abs(collar[:, 0]).max() > np.abs(inside[:, 0]).max()


def test_shape_is_measured_on_the_visible_face(people):
    normals = smooth_normals(people.mean, people.triangles[Material.SKIN])
    used = np.unique(people.face_triangles)
    assert (normals[used, 2] > -0.3).mean() > 0.98
    assert people.mean[used, 2].min() > -0.08
    assert 5000 < len(people.face_triangles) < len(people.triangles[Material.SKIN])


def test_anny_s_people_deviate_about_as_much_as_scans(model):
    pytest.importorskip("anny", reason="anny is not installed: it comes with the extra 'build'")
    people = load_synthetic_people(model)
    used = np.unique(people.face_triangles)
    generator = np.random.default_rng(3)
    deviations = []
    for _ in range(20):
        head = people.neutral(generator.standard_normal(IDENTITY_COMPONENTS))[used]
        motion = similarity_of(head, people.mean[used], free_scale=False)
        deviations.append(np.linalg.norm(motion.apply(head) - people.mean[used], axis=1))
    assert np.sqrt(np.mean(np.square(deviations))) == pytest.approx(0.004, abs=0.0006)
