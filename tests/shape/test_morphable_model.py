"""The default model: sizes, expressions, eyeballs, the prior, landmarks."""

import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fitme.shape.expressions import (
    EXPRESSION_COUNT,
    EXPRESSION_NAMES,
    MAX_EYE_PITCH_DEG,
    MAX_EYE_YAW_DEG,
    MIRRORED_EXPRESSION,
    expression_index,
)
from fitme.shape.landmark_groups import FACE_OVAL, IBUG_FROM_MEDIAPIPE, LEFT_IRIS, OUTER_LIPS, RIGHT_IRIS
from fitme.shape.model_file import load_default_model
from fitme.shape.morphable_model import MorphableModel
from fitme.shape.regions import Region

MM = 1e-3


@pytest.fixture(scope="module")
def model() -> MorphableModel:
    return load_default_model()


def posed(model: MorphableModel, **activations: float) -> torch.Tensor:
    expression = torch.zeros(1, EXPRESSION_COUNT)
    for name, value in activations.items():
        expression[0, expression_index(name)] = value
    return model.vertices(torch.zeros(1, model.identity_count), expression)[0]


def random_people(model: MorphableModel, count: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(7)
    return model.neutral(torch.randn(count, model.identity_count, generator=generator))


def test_shapes_agree(model):
    v, f = model.vertex_count, len(model.triangles)
    assert model.identity_count >= 100
    assert model.identity_basis.shape == (model.identity_count, v, 3)
    assert model.expression_basis.shape == (52, v, 3)
    assert model.uv_triangles.shape == model.triangles.shape == (f, 3)
    assert f <= 20_000
    assert model.mediapipe_valid.shape == (478,)
    assert model.mediapipe_valid.all()


def test_frame_is_gltf_between_the_eyes(model):
    left, right = (model.mean[index].mean(0) for index in model.eyeball_vertices)
    assert torch.allclose((left + right) / 2, torch.zeros(3), atol=1e-4)
    assert 0.055 < float(left[0] - right[0]) < 0.072  # human interpupillary distance
    nose_tip = model.landmarks(model.mean[None])[0, 4]
    assert nose_tip[2] > 0.02
    chin = model.landmarks(model.mean[None])[0, 152]
    assert chin[1] < -0.08


def test_every_region_of_the_default_model_is_there(model):
    present = set(model.triangle_region.tolist())
    assert present == set(Region) - {Region.LASHES}


def test_mean_and_uv_are_mirror_symmetric(model):
    flip = torch.tensor([-1.0, 1.0, 1.0])
    assert torch.allclose(model.mean[model.mirror] * flip, model.mean, atol=1e-5)
    assert torch.equal(model.mirror[model.mirror], torch.arange(model.vertex_count))


def test_components_are_ordered_and_of_human_size(model):
    size = model.identity_basis[:, model.face_vertices].pow(2).sum((1, 2))
    assert size[:10].mean() > 5 * size[60:70].mean()
    people = random_people(model, 64)
    spread = (people - people.mean(0)).norm(dim=-1).mean(0)[model.face_vertices]
    assert 1 * MM < float(spread.mean()) < 8 * MM
    apart = (people[:, model.eyeball_vertices[0]].mean(1) - people[:, model.eyeball_vertices[1]].mean(1)).norm(dim=-1)
    assert 0.059 < float(apart.mean()) < 0.066
    assert 0.002 < float(apart.std()) < 0.005
    points = model.landmarks(people)
    height = (points[:, 10] - points[:, 152]).norm(dim=-1)
    assert float(height.min()) > 0.12
    assert float(height.max()) < 0.24


@settings(max_examples=20, deadline=None)
@given(
    look=st.lists(st.floats(0.0, 1.0), min_size=8, max_size=8),
    seed=st.integers(0, 2**16),
)
def test_eyeballs_turn_rigidly(look, seed):
    model = load_default_model()
    names = [n for n in EXPRESSION_NAMES if n.startswith("eyeLook")]
    expression = torch.zeros(1, EXPRESSION_COUNT)
    for name, value in zip(names, look, strict=True):
        expression[0, expression_index(name)] = value
    identity = torch.randn(1, model.identity_count, generator=torch.Generator().manual_seed(seed))
    still, turned = model.neutral(identity)[0], model.vertices(identity, expression)[0]
    for index in model.eyeball_vertices:
        assert torch.allclose(still[index].mean(0), turned[index].mean(0), atol=1e-6)
        before, after = (torch.cdist(v[index].double(), v[index].double()) for v in (still, turned))
        assert torch.allclose(before, after, atol=1e-6)


@pytest.mark.parametrize(
    ("name", "axis", "sign", "limit_deg"),
    [
        ("eyeLookOutLeft", 0, 1, MAX_EYE_YAW_DEG),
        ("eyeLookInLeft", 0, -1, MAX_EYE_YAW_DEG),
        ("eyeLookUpLeft", 1, 1, MAX_EYE_PITCH_DEG),
        ("eyeLookDownLeft", 1, -1, MAX_EYE_PITCH_DEG),
        ("eyeLookOutRight", 0, -1, MAX_EYE_YAW_DEG),
        ("eyeLookInRight", 0, 1, MAX_EYE_YAW_DEG),
    ],
)
def test_irises_go_where_the_person_looks(model, name, axis, sign, limit_deg):
    centre = RIGHT_IRIS[0] if name.endswith("Right") else LEFT_IRIS[0]
    index = model.eyeball_vertices[1 if name.endswith("Right") else 0]
    ball = model.mean[index].mean(0)
    before = model.landmarks(model.mean[None])[0, centre] - ball
    after = model.landmarks(posed(model, **{name: 1.0})[None])[0, centre] - ball
    assert sign * float(after[axis] - before[axis]) > 3 * MM
    angle = torch.rad2deg(torch.acos(torch.cosine_similarity(before, after, dim=0)))
    assert float(angle) == pytest.approx(limit_deg, abs=0.5)


def gap(model: MorphableModel, vertices: torch.Tensor, upper: int, lower: int) -> float:
    points = model.landmarks(vertices[None])[0]
    return float(points[upper, 1] - points[lower, 1])


def test_jaw_opens_the_mouth_and_takes_the_lower_teeth_along(model):
    closed, opened = posed(model), posed(model, jawOpen=1.0)
    assert gap(model, opened, 13, 14) > gap(model, closed, 13, 14) + 15 * MM
    teeth = model.vertex_mask(Region.TEETH)
    moved = (opened - closed).norm(dim=-1)[teeth]
    assert float(moved.max()) > 10 * MM
    assert float((moved < 1e-6).float().mean()) == pytest.approx(0.5, abs=0.05)


def test_blink_closes_one_eye_only(model):
    blink = posed(model, eyeBlinkLeft=1.0)
    assert gap(model, posed(model), 386, 374) > 5 * MM
    assert abs(gap(model, blink, 386, 374)) < 2.5 * MM
    assert gap(model, blink, 159, 145) == pytest.approx(gap(model, posed(model), 159, 145), abs=0.2 * MM)


def test_smile_lifts_and_widens_the_mouth_corners(model):
    rest = model.landmarks(posed(model)[None])[0]
    smile = model.landmarks(posed(model, mouthSmileLeft=1.0, mouthSmileRight=1.0)[None])[0]
    assert (smile[[61, 291], 1] > rest[[61, 291], 1] + 2 * MM).all()
    assert float(smile[291, 0] - smile[61, 0]) > float(rest[291, 0] - rest[61, 0]) + 3 * MM


def test_expressions_mirror_each_other(model):
    flip = torch.tensor([-1.0, 1.0, 1.0])
    for index, other in enumerate(MIRRORED_EXPRESSION):
        mirrored = model.expression_basis[other][model.mirror] * flip
        difference = (model.expression_basis[index] - mirrored).norm(dim=-1).max()
        assert float(difference) < 1e-2 * MM, EXPRESSION_NAMES[index]


def test_landmarks_lie_inside_their_triangles(model):
    for weights in (model.mediapipe_barycentric, model.ibug_barycentric):
        assert torch.allclose(weights.sum(1), torch.ones(len(weights)), atol=1e-5)
        assert weights.min() > -1e-6
    irises = torch.isin(torch.arange(478), torch.tensor(RIGHT_IRIS + LEFT_IRIS))
    region = model.triangle_region[model.mediapipe_triangles]
    assert (region[irises] == Region.EYES).all()
    assert not torch.isin(region[~irises], torch.tensor([Region.EYES, Region.TEETH])).any()


def test_landmarks_are_left_right_consistent(model):
    points = model.landmarks(model.mean[None])[0]
    for right, left in ((33, 263), (133, 362), (61, 291), (234, 454), (468, 473)):
        assert torch.allclose(points[right] * torch.tensor([-1.0, 1, 1]), points[left], atol=1.5 * MM)
    assert points[RIGHT_IRIS[0], 0] < 0 < points[LEFT_IRIS[0], 0]
    assert torch.equal(model.ibug_landmarks(model.mean[None])[0], points[list(IBUG_FROM_MEDIAPIPE)])
    lips, oval = points[list(OUTER_LIPS)], points[list(FACE_OVAL)]
    assert lips[:, 1].max() < points[2, 1]  # below the nose
    assert oval[:, 1].min() == pytest.approx(float(points[152, 1]), abs=2 * MM)


def test_landmark_model_agrees_with_full_evaluation(model):
    mean, identity, expression = model.landmark_model()
    generator = torch.Generator().manual_seed(3)
    a = torch.randn(1, model.identity_count, generator=generator)
    e = torch.rand(1, EXPRESSION_COUNT, generator=generator)
    full = model.landmarks(model.vertices(a, e))[0]
    linear = mean + torch.tensordot(a[0], identity, 1) + torch.tensordot(e[0], expression, 1)
    assert torch.allclose(full[:468], linear[:468], atol=1e-5)


def test_vertices_are_differentiable_and_batched(model):
    identity = torch.zeros(3, model.identity_count, requires_grad=True)
    expression = torch.full((3, EXPRESSION_COUNT), 0.1, requires_grad=True)
    vertices = model.vertices(identity, expression)
    assert vertices.shape == (3, model.vertex_count, 3)
    (vertices**2).sum().backward()
    assert identity.grad is not None
    assert identity.grad.abs().sum() > 0
    assert expression.grad is not None
    assert (expression.grad.abs().sum(0) > 0).all()


def test_skin_is_one_closed_surface_but_for_the_neck(model):
    soft = ~torch.isin(model.triangle_region, torch.tensor([Region.EYES, Region.TEETH]))
    edges: dict[tuple[int, int], int] = {}
    for triangle in model.triangles[soft].tolist():
        for k in range(3):
            key = (triangle[k], triangle[(k + 1) % 3])
            edges[key] = edges.get(key, 0) + 1
    assert max(edges.values()) == 1  # no directed edge twice: consistently oriented
    rim = {vertex for edge in edges if edge[::-1] not in edges for vertex in itertools.chain(edge)}
    assert float(model.mean[list(rim), 1].max()) < -0.05


def test_face_triangles_are_frontal_skin(model):
    region = model.triangle_region[model.face_triangles]
    assert torch.isin(region, torch.tensor([Region.SKIN, Region.LIPS, Region.EARS, Region.SCALP, Region.NECK])).all()
    assert float(torch.isin(region, torch.tensor([Region.SKIN, Region.LIPS])).float().mean()) > 0.95
    assert 0.2 < float(model.face_triangles.float().mean()) < 0.7
