"""What changes of an avatar is encoded, and nothing else; put together again, it is the avatar."""

from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch

from fitme.avatar import Avatar
from fitme.color import linear_to_bytes
from fitme.export.textures import texture_codes
from fitme.glasses.mesh import frame_mesh
from fitme.hair.envelope import COLUMNS
from fitme.hair.hair import THICKNESS_SHAPE, Hair, hair_surface
from fitme.hair.texture import HairTexture
from fitme.parts.drawn_head import drawn_head
from fitme.parts.textures import with_strip
from fitme.reflectance.expression_correctives import AlbedoCorrectives
from fitme.reflectance.maps import ReflectanceMaps
from fitme.reflectance.modality import MODALITIES
from fitme.shape.model_file import load_default_model
from fitme.shape.morphable_model import MorphableModel
from fitme.stage import Stage
from stream.bench.followed_avatar import followed_maps, followed_vertices
from stream.engine.avatar_pieces import TILE_TEXELS, AvatarEncoder, AvatarUpdate, grey_avatar
from stream.engine.shared_pieces import MORPH_STEP_M, model_piece, packed_shared
from stream.protocol.avatar import Piece, PieceKind, Slot
from tests.glasses.made import made_glasses

SIZE = 2 * TILE_TEXELS
LIGHT = np.linspace(-1.0, 1.0, 27, dtype=np.float32).reshape(9, 3)


@pytest.fixture(scope="module")
def model() -> MorphableModel:
    return load_default_model()


@pytest.fixture(scope="module")
def avatar(model: MorphableModel) -> Avatar:
    """A head with smooth maps of two by two tiles."""
    generator = np.random.default_rng(1)
    coarse = generator.uniform(0.1, 0.7, (8, 8, 3)).astype(np.float32)
    diffuse = torch.from_numpy(cv2.resize(coarse, (SIZE, SIZE), interpolation=cv2.INTER_CUBIC)).clamp(0, 1)[None]
    normals = torch.nn.functional.normalize(torch.tensor([0.1, -0.2, 1.0]), dim=0).expand(1, SIZE, SIZE, 3)
    maps = ReflectanceMaps(diffuse, diffuse[..., :1] * 0.5, normals)
    return Avatar(torch.linspace(-1, 1, model.identity_count), maps, 1.1, Stage.SKIN)


def take_in(pieces: dict[Slot, Piece], update: AvatarUpdate) -> list[Slot]:
    """Apply an update as it comes over the wire; returns its slots."""
    for slot in update.dropped:
        del pieces[slot]
    for piece in update.pieces:
        pieces[piece.slot] = Piece.unpack(piece.pack())
    return [piece.slot for piece in update.pieces]


def test_grey_first_then_the_person(model: MorphableModel, avatar: Avatar) -> None:
    encoder, pieces = AvatarEncoder(model), {}
    take_in(pieces, encoder.update(grey_avatar(model), None))
    assert pieces[Slot(PieceKind.STATE)].header["stage"] == "waiting"
    assert followed_maps(pieces)["diffuse"].shape == (24, 16, 3)
    np.testing.assert_allclose(followed_vertices(pieces), drawn_head(model).bound(model.mean.numpy()), atol=2e-5)

    slots = take_in(pieces, encoder.update(avatar, LIGHT))
    assert len(slots) == 1 + 1 + 6 * len(MODALITIES.names)
    state = pieces[Slot(PieceKind.STATE)].header
    np.testing.assert_allclose(state["light"], LIGHT.ravel(), atol=1e-5)
    assert state["maps"]["normals"] == {"index": 2, "size": SIZE, "tile": TILE_TEXELS}
    for name, codes in followed_maps(pieces).items():
        expected = texture_codes(MODALITIES[name], with_strip(avatar.maps, drawn_head(model)))
        assert codes.shape == expected.shape
        assert np.abs(codes.astype(int) - expected).mean() < 1.5, name
    vertices = model.neutral(avatar.identity[None])[0].numpy()
    np.testing.assert_allclose(followed_vertices(pieces), drawn_head(model).bound(vertices), atol=2e-5)
    assert not encoder.update(replace(avatar, maps=avatar.maps.mapped(lambda _, m: m.clone())), LIGHT).pieces


def test_only_tiles_that_have_changed_are_sent_and_small_steps_add_up(model: MorphableModel, avatar: Avatar) -> None:
    encoder, pieces = AvatarEncoder(model), {}
    take_in(pieces, encoder.update(avatar, LIGHT))
    diffuse, steps = avatar.maps.diffuse.clone(), 0
    sent: list[Slot] = []
    while not sent and steps < 20:
        diffuse = diffuse.clone()
        diffuse[0, :100, TILE_TEXELS:] *= 0.997  # below what one would see
        steps += 1
        changed = replace(avatar, maps=replace(avatar.maps, diffuse=diffuse))
        sent = take_in(pieces, encoder.update(changed, LIGHT))
    assert sent == [Slot(PieceKind.TILE, 0, 1)]
    assert steps > 1
    diffuse = diffuse.clone()
    diffuse[0, 200:208, 8:16] *= 0.7  # a mole
    changed = replace(avatar, maps=replace(avatar.maps, diffuse=diffuse))
    assert take_in(pieces, encoder.update(changed, LIGHT)) == [Slot(PieceKind.TILE, 0, 2)]
    # What was put together piece by piece is what a fresh encoder sends as a whole.
    whole: dict[Slot, Piece] = {}
    take_in(whole, AvatarEncoder(model).update(changed, LIGHT))
    for name, codes in followed_maps(pieces).items():
        assert np.abs(codes.astype(int) - followed_maps(whole)[name]).max() <= 8
        assert np.abs(codes.astype(int) - followed_maps(whole)[name]).mean() < 0.5


def test_hair_lies_on_the_head_and_can_go(model: MorphableModel, avatar: Avatar) -> None:
    coverage = np.zeros((48, COLUMNS, 1), np.float32)
    coverage[:20] = 1.0
    texture = HairTexture(np.full((48, COLUMNS, 3), 0.1, np.float32), coverage)
    hair = Hair(np.full(THICKNESS_SHAPE, 0.02, np.float32), texture)
    encoder, pieces = AvatarEncoder(model), {}
    update = encoder.update(replace(avatar, hair=hair), LIGHT)
    take_in(pieces, update)
    arrays = pieces[Slot(PieceKind.HAIR)].arrays()
    surface = hair_surface(hair, model, model.neutral(avatar.identity[None])[0].numpy())
    np.testing.assert_allclose(arrays["vertices"], surface.vertices, atol=2e-5)
    np.testing.assert_allclose(arrays["normals"], surface.normals, atol=5e-3)
    assert arrays["triangles"].max() < len(surface.vertices)
    assert [shared.digest for shared in update.shared] == [pieces[Slot(PieceKind.HAIR)].header["pattern"]]
    image = cv2.imdecode(np.frombuffer(pieces[Slot(PieceKind.HAIR_TEXTURE)].payload, np.uint8), cv2.IMREAD_UNCHANGED)
    np.testing.assert_array_equal(image[..., 3], np.rint(coverage[..., 0] * 255))
    bald = encoder.update(avatar, LIGHT)
    assert set(bald.dropped) == {Slot(PieceKind.HAIR), Slot(PieceKind.HAIR_TEXTURE)}
    assert [piece.header["hair"] for piece in bald.pieces] == [False]


def test_glasses_are_sent_once_and_can_be_taken_off(model: MorphableModel, avatar: Avatar) -> None:
    glasses = made_glasses(lens_opacity=0.8)
    encoder, pieces = AvatarEncoder(model), {}
    take_in(pieces, encoder.update(replace(avatar, glasses=glasses), LIGHT))
    piece = pieces[Slot(PieceKind.GLASSES)]
    assert piece.header["meshes"] == ["frame", "lenses"]
    assert piece.header["opacity"] == pytest.approx(0.8)
    arrays, mesh = piece.arrays(), frame_mesh(glasses)
    np.testing.assert_allclose(arrays["frame.vertices"], mesh.vertices, atol=1e-5)
    np.testing.assert_array_equal(arrays["frame.triangles"], mesh.triangles)
    np.testing.assert_array_equal(
        arrays["colors"][arrays["frame.columns"]], linear_to_bytes(glasses.albedo)[mesh.columns]
    )
    assert not encoder.update(replace(avatar, glasses=glasses), LIGHT).pieces
    without = encoder.update(avatar, LIGHT)
    assert set(without.dropped) == {Slot(PieceKind.GLASSES)}
    assert [piece.header["glasses"] for piece in without.pieces] == [False]


def test_correctives_blend_to_the_same_albedo(model: MorphableModel, avatar: Avatar) -> None:
    generator = torch.Generator().manual_seed(0)
    deltas = torch.zeros(2, SIZE, SIZE, 3)
    deltas[0, 40:120, 60:200] = torch.tensor([0.05, -0.02, -0.01])
    deltas[1, 130:200] = -0.04
    expressions = torch.rand(3, 52, generator=generator)
    correctives = AlbedoCorrectives(
        expressions, torch.eye(52) * 1e-6, torch.rand(3, 2, generator=generator), deltas.half()
    )
    encoder, pieces = AvatarEncoder(model), {}
    take_in(pieces, encoder.update(replace(avatar, correctives=correctives), LIGHT))
    assert pieces[Slot(PieceKind.STATE)].header["correctives"] == 2
    table = pieces[Slot(PieceKind.CORRECTIVES)].arrays()
    np.testing.assert_array_equal(table["mixing"], correctives.mixing.numpy())
    for index in range(2):
        piece = pieces[Slot(PieceKind.CORRECTIVE_MAP, index)]
        codes = cv2.imdecode(np.frombuffer(piece.payload, np.uint8), cv2.IMREAD_COLOR_RGB).astype(np.float32)
        delta = (codes - 128.0) / 127.0 * piece.header["scale"]
        size = piece.header["size"]
        expected = cv2.resize(deltas[index].numpy(), (size, size), interpolation=cv2.INTER_AREA)
        assert np.abs(delta - expected).mean() < 1e-3
    assert not encoder.update(replace(avatar, correctives=correctives), LIGHT).pieces
    gone = encoder.update(avatar, LIGHT)
    assert len(gone.dropped) == 3


def test_the_head_that_everybody_has_bends_like_the_model(model: MorphableModel) -> None:
    piece = Piece.unpack(packed_shared(model_piece(model)).message)
    arrays = piece.arrays()
    drawn = drawn_head(model)
    assert piece.header["vertices"] == len(drawn.occlusion)
    np.testing.assert_array_equal(arrays["triangles"], drawn.triangles.numpy())
    np.testing.assert_allclose(arrays["uv"], drawn.uv.numpy(), atol=1e-5)
    assert piece.header["eyes"] == ["left", "right"]
    assert len(piece.header["lashes"]) == 2
    basis = np.zeros((52, len(drawn.occlusion), 3), np.float32)
    starts = arrays["morphStarts"]
    for expression in range(len(basis)):
        entries = slice(starts[expression], starts[expression + 1])
        basis[expression, arrays["morphVertices"][entries]] = arrays["morphOffsets"][entries] * MORPH_STEP_M
    moved = np.stack([drawn.displacements(offsets) for offsets in model.expression_basis.numpy()])
    np.testing.assert_allclose(basis, moved, atol=0.51 * MORPH_STEP_M)
    assert packed_shared(model_piece(model)).digest == packed_shared(piece).digest
