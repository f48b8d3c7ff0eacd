"""What a session's pages are shown: the avatar in its expression, with the skin that goes with it."""

from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pytest
import torch

from fitme.fit.texture.expression_distance import expression_gram
from fitme.hair.hair import THICKNESS_SHAPE
from fitme.shape.expressions import EXPRESSION_COUNT, expression_index
from fitme.shape.model_file import load_default_model
from fitme.shape.morphable_model import MorphableModel
from fitme.stage import Stage
from stream.engine.avatar_view import AvatarView
from stream.engine.messages import CorrectiveArrays, Fitted, FittedCorrectives, FittedGlasses, FittedHair, FittedMaps
from stream.protocol.protocol import LightPreset, Mode
from stream.protocol.scene import Scene
from stream.settings import RenderSettings
from tests.glasses.made import made_glasses

SIDE = 32


@pytest.fixture(scope="module")
def model() -> MorphableModel:
    return load_default_model()


@pytest.fixture
def view(model: MorphableModel) -> AvatarView:
    return AvatarView(model, RenderSettings(size_px=64))


def fitted(model: MorphableModel, side: int = SIDE) -> Fitted:
    flat = np.zeros((side, side, 3), np.float16)
    flat[..., 2] = 1.0
    maps = FittedMaps(np.full((side, side, 3), 0.3, np.float16), np.zeros((side, side, 1), np.float16), flat)
    return Fitted("a", Stage.SKIN, 1, 1.1, np.zeros(model.identity_count, np.float32), maps, None)


def correctives(model: MorphableModel, change: float) -> FittedCorrectives:
    """Of the neutral face, nothing; of the open jaw, all over."""
    expressions = np.zeros((2, EXPRESSION_COUNT), np.float32)
    expressions[1, expression_index("jawOpen")] = 1.0
    deltas = np.zeros((2, SIDE, SIDE, 3), np.float16)
    deltas[1] = change
    return FittedCorrectives(
        "a", CorrectiveArrays(expressions, expression_gram(model).numpy(), np.eye(2, dtype=np.float32), deltas)
    )


def face(view: AvatarView, jaw: float) -> npt.NDArray[np.float64]:
    expression = np.zeros(EXPRESSION_COUNT, np.float32)
    expression[expression_index("jawOpen")] = jaw
    return view.draw(Scene(mode=Mode.MIRROR), None, expression, 0.0)[20:40, 24:40].astype(np.float64)


def test_skin_changes_with_the_expression_and_back(view: AvatarView, model: MorphableModel) -> None:
    view.adopt(fitted(model))
    still, opened = face(view, 0.0), face(view, 1.0)
    view.set_correctives(correctives(model, 0.3))
    assert face(view, 1.0).mean() > opened.mean() + 10.0
    assert np.array_equal(face(view, 0.0), still)
    view.set_correctives(FittedCorrectives("a", None))
    assert np.array_equal(face(view, 1.0), opened)


def test_a_new_skin_is_changed_alike(view: AvatarView, model: MorphableModel) -> None:
    view.adopt(fitted(model))
    view.set_correctives(correctives(model, 0.3))
    changed = face(view, 1.0)
    view.adopt(fitted(model))
    assert np.array_equal(face(view, 1.0), changed)


def test_a_head_with_its_teeth_in_place_is_drawn_after_a_plain_one(view: AvatarView, model: MorphableModel) -> None:
    smile = np.zeros(EXPRESSION_COUNT, np.float32)
    for name in ("jawOpen", "mouthUpperUpLeft", "mouthUpperUpRight"):
        smile[expression_index(name)] = 0.6

    def drawn() -> npt.NDArray[np.uint8]:
        return view.draw(Scene(mode=Mode.MIRROR), None, smile, 0.0)

    view.adopt(fitted(model))
    plain = drawn()
    identity = np.append(fitted(model).identity, np.float32(-3.0))
    view.adopt(replace(fitted(model), identity=identity))
    assert not np.array_equal(drawn(), plain)
    view.adopt(fitted(model))
    assert np.array_equal(drawn(), plain)


def test_a_skin_of_another_size_stays_as_it_is(view: AvatarView, model: MorphableModel) -> None:
    view.set_correctives(correctives(model, 0.3))  # before there is any skin
    assert face(view, 1.0).mean() < 250.0
    view.adopt(fitted(model, 16))
    plain = face(view, 1.0)
    view.set_correctives(FittedCorrectives("a", None))
    assert np.array_equal(face(view, 1.0), plain)


def test_turntable_heads_are_neutral(view: AvatarView, model: MorphableModel) -> None:
    view.adopt(fitted(model))
    view.set_correctives(correctives(model, 0.3))
    expression = torch.zeros(EXPRESSION_COUNT).numpy()
    expression[expression_index("jawOpen")] = 1.0
    turning = Scene(mode=Mode.TURNTABLE)
    assert np.array_equal(view.draw(turning, None, expression, 0.0), view.draw(turning, None, None, 0.0))


def test_hair_is_drawn_over_the_head_until_there_is_none(view: AvatarView, model: MorphableModel) -> None:
    rows, columns = THICKNESS_SHAPE
    dome = np.zeros((4 * rows, 2 * columns, 1), np.float16)
    dome[: 2 * rows] = 1.0
    arrays = {
        "thickness_m": np.full(THICKNESS_SHAPE, 0.03, np.float32),
        "albedo": np.full((4 * rows, 2 * columns, 3), (0.6, 0.1, 0.1), np.float16),
        "coverage": dome,
    }
    view.adopt(fitted(model))
    bald = view.draw(Scene(), None, None, 0.0).astype(float)
    view.set_hair(FittedHair("a", arrays))
    red = view.draw(Scene(), None, None, 0.0).astype(float)
    crown = red[4:16, 24:40]
    assert (crown[..., 0] - crown[..., 1]).mean() > (bald[4:16, 24:40, 0] - bald[4:16, 24:40, 1]).mean() + 30.0
    view.set_hair(FittedHair("a", None))
    np.testing.assert_array_equal(view.draw(Scene(), None, None, 0.0), bald)


def test_glasses_are_drawn_until_they_are_taken_off(view: AvatarView, model: MorphableModel) -> None:
    view.adopt(fitted(model))
    bare = view.draw(Scene(), None, None, 0.0)
    view.set_glasses(FittedGlasses("a", made_glasses(lens_opacity=0.9)))
    assert (view.draw(Scene(), None, None, 0.0).astype(int) - bare).min() < -60
    view.set_glasses(FittedGlasses("a", None))
    np.testing.assert_array_equal(view.draw(Scene(), None, None, 0.0), bare)


def test_surroundings_light_the_avatar_and_turn(view: AvatarView, model: MorphableModel) -> None:
    view.adopt(fitted(model))

    def sides(**controls: object) -> npt.NDArray[np.float64]:
        image = view.draw(replace(Scene(), **controls), None, None, 0.0)[24:40].astype(np.float64)  # type: ignore[arg-type]
        return np.array([image[:, 22:30].mean(), image[:, 34:42].mean()])

    left, right = sides(preset=LightPreset.PANORAMA_SUNSET)
    assert left > right + 5.0, "the sun stands on the left"
    turned = sides(preset=LightPreset.PANORAMA_SUNSET, turn=2.0)
    assert turned[1] > turned[0] + 5.0, "and on the right when the surroundings have turned"
    dimmed = sides(preset=LightPreset.PANORAMA_SUNSET, ambient=0.3)
    assert dimmed.sum() < 0.8 * (left + right)
    assert sides(preset=LightPreset.STUDIO).sum() == pytest.approx(sides().sum())
