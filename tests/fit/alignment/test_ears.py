"""Ears are put where images show skin beside the head; all else stays."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from fitme.arrays import Float32Array
from fitme.export.portrait import portrait_pose
from fitme.fit.alignment.ears import USUAL_PLACE, EarFrame, EarPlace, EarPlacement
from fitme.geometry import Camera
from fitme.reflectance.maps import ReflectanceMaps
from fitme.render.forward.renderer import ForwardRenderer
from fitme.render.light import Light
from fitme.shape.morphable_model import MorphableModel
from fitme.shape.regions import Region

CAMERA = Camera.centered(600.0, 320, 320)
TRUE_PLACE = EarPlace(-0.006, 0.004, 0.010)
HALF_FACE_M = 0.05


@pytest.fixture(scope="module")
def placement(model: MorphableModel) -> EarPlacement:
    return EarPlacement(model)


def _neutral(model: MorphableModel, identity: Float32Array) -> Float32Array:
    return model.neutral(torch.from_numpy(identity)[None])[0].numpy()


def _frame(
    model: MorphableModel, shown: Float32Array, assumed: Float32Array, yaw_deg: float = 0.0, hidden: bool = False
) -> EarFrame:
    """Image of the head `shown` (K,), with the vertices of the head `assumed` (K,); `hidden`: ears as dark as hair."""
    renderer = ForwardRenderer(model, (CAMERA.height, CAMERA.width), threads=1)
    maps = ReflectanceMaps.constant((0.5, 0.3, 0.22), 0.0, 128)
    if hidden:
        maps.diffuse[:, :, :32] = maps.diffuse[:, :, -32:] = torch.tensor([0.02, 0.015, 0.01])
    renderer.set_maps(maps)
    pose = portrait_pose(np.radians(yaw_deg))
    light = Light.ambient(0.8)
    image, mask = renderer.render_with_mask(_neutral(model, shown), pose, CAMERA, light, (0.2, 0.35, 0.6))
    frame = EarFrame(
        image, mask.astype(np.float32) / 255.0, np.zeros((478, 2), np.float32), _neutral(model, assumed), pose, CAMERA
    )  # fmt: skip
    with torch.no_grad():
        points = model.landmarks(torch.from_numpy(_neutral(model, shown))[None])[0].numpy()
    return replace(frame, landmarks=frame.pixels(points))


def test_ears_are_found_where_they_are(model: MorphableModel, placement: EarPlacement) -> None:
    identity = np.zeros(model.identity_count, np.float32)
    standing_off = placement.moved(identity, (TRUE_PLACE, TRUE_PLACE))
    places = placement.measured([_frame(model, standing_off, identity), _frame(model, standing_off, identity, 6.0)])
    assert places is not None
    ear = model.vertex_mask(Region.EARS).numpy()
    target, before = _neutral(model, standing_off), _neutral(model, identity)
    after = _neutral(model, placement.moved(identity, places))

    def error(head: Float32Array) -> float:
        return float(np.linalg.norm(head - target, axis=1)[ear].mean())

    assert error(after) < 0.55 * error(before)


def test_only_ears_move(model: MorphableModel, placement: EarPlacement) -> None:
    identity = np.linspace(-1.0, 1.0, model.identity_count, dtype=np.float32)
    before, after = (_neutral(model, one) for one in (identity, placement.moved(identity, (TRUE_PLACE, TRUE_PLACE))))
    moved = np.linalg.norm(after - before, axis=1)
    front = model.face_vertices.numpy()[np.abs(before[model.face_vertices.numpy(), 0]) < HALF_FACE_M]
    assert np.sqrt(np.square(moved[front]).mean()) < 0.0003
    for sign in (1.0, -1.0):
        side = model.vertex_mask(Region.EARS).numpy() & (sign * before[:, 0] > 0.0)
        rim = side & (before[:, 2] < np.quantile(before[side, 2], 0.2))
        assert sign * (after - before)[rim, 0].mean() > 0.004


def test_hidden_ears_are_not_measured(model: MorphableModel, placement: EarPlacement) -> None:
    identity = np.zeros(model.identity_count, np.float32)
    standing_off = placement.moved(identity, (TRUE_PLACE, TRUE_PLACE))
    assert placement.measured([]) is None
    assert placement.measured([_frame(model, standing_off, identity, hidden=True)]) is None
    assert placement.measured([_frame(model, standing_off, identity, 30.0)]) is None, "seen too much from the side"


def test_hidden_ears_do_not_stand_out_of_the_outline(model: MorphableModel, placement: EarPlacement) -> None:
    identity = np.zeros(model.identity_count, np.float32)
    close = placement.moved(identity, (replace(USUAL_PLACE, rim_m=-0.008),) * 2)
    frames = [_frame(model, close, identity, hidden=True)]
    assert placement.measured(frames) is None

    def rim(head: Float32Array) -> float:
        ear = _neutral(model, head)[model.vertex_mask(Region.EARS).numpy()]
        return float(np.quantile(np.abs(ear[:, 0]), 0.97))

    usual, hidden = (
        rim(placement.moved(identity, places)) for places in ((USUAL_PLACE,) * 2, placement.hidden(frames))
    )
    assert usual > rim(close) + 0.008
    # The outline of the head hides what is left.
    assert rim(close) <= hidden < rim(close) + 0.005


def test_without_an_outline_hidden_ears_are_at_their_usual_place(
    model: MorphableModel, placement: EarPlacement
) -> None:
    identity = np.zeros(model.identity_count, np.float32)
    frame = _frame(model, identity, identity, hidden=True)
    long_hair = replace(frame, person=np.ones_like(frame.person))
    for frames in ([], [long_hair], [_frame(model, identity, identity, 30.0)]):
        assert placement.hidden(frames) == (USUAL_PLACE, USUAL_PLACE)


def test_a_mask_that_ends_within_the_head_hides_no_ear(model: MorphableModel, placement: EarPlacement) -> None:
    identity = np.zeros(model.identity_count, np.float32)
    frame = _frame(model, identity, identity, hidden=True)
    torn = frame.person.copy()
    middle = int(frame.landmarks[:, 0].mean())
    torn[:, : middle - 12] = torn[:, middle + 12 :] = 0.0
    assert placement.hidden([replace(frame, person=torn)]) == (USUAL_PLACE, USUAL_PLACE)
