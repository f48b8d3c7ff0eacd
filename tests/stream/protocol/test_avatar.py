"""Pieces survive the wire, and what is none is refused."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays_of

from stream.protocol.avatar import ARRAY_TYPES, PIECE_HEADER, Piece, PieceKind, Scaled, Slot, stamped
from stream.protocol.protocol import ProtocolError

SLOT = Slot(PieceKind.TILE, 2, 11)
kinds = st.sampled_from(ARRAY_TYPES).flatmap(
    lambda name: arrays_of.arrays(name, arrays_of.array_shapes(min_dims=1, max_dims=3, max_side=4))
)


@given(arrays=st.lists(kinds, max_size=4))
def test_arrays_come_back(arrays: list[np.ndarray]) -> None:
    named = {f"array{index}": array for index, array in enumerate(arrays)}
    piece = Piece.of_arrays(SLOT, named, note="x")
    back = Piece.unpack(piece.pack())
    assert (back.slot, back.header["note"]) == (SLOT, "x")
    values = back.arrays()
    assert list(values) == list(named)
    for name, array in named.items():
        assert values[name].dtype == array.dtype
        np.testing.assert_array_equal(values[name], array)


def test_codes_are_multiplied_by_their_scale() -> None:
    piece = Piece.of_arrays(SLOT, {"vertices": Scaled(np.array([[-4, 8]], np.int16), 0.25)})
    values = Piece.unpack(piece.pack()).arrays()["vertices"]
    assert values.dtype == np.float32
    assert values.tolist() == [[-1.0, 2.0]]


def test_a_stamp_changes_version_and_flag_alone() -> None:
    message = Piece.of_image(SLOT, "image/jpeg", b"\xff\xd8", x=3).pack()
    for complete in (True, False):
        piece = Piece.unpack(stamped(message, 77, complete=complete))
        assert piece == Piece(SLOT, {"x": 3, "media": "image/jpeg"}, b"\xff\xd8", 77, complete)


def test_what_is_no_piece_is_refused() -> None:
    message = Piece.of_arrays(SLOT, {"a": np.zeros(3, np.int16)}).pack()
    broken = {
        "another magic": b"FITM" + message[4:],
        "another protocol": message[:4] + b"\x02\0" + message[6:],
        "another kind": message[:6] + b"\x63" + message[7:],
        "truncated": message[:-1],
        "no whole header": message[: PIECE_HEADER.size - 1],
        "empty": b"",
        "no JSON": Piece(SLOT, {"a": 1}).pack().replace(b'{"a"', b"{{{{"),
    }
    for name, bad in broken.items():
        with pytest.raises(ProtocolError, match=r"."):
            Piece.unpack(bad)
            pytest.fail(name)
    lying = Piece(SLOT, {"arrays": [{"name": "a", "type": "int16", "shape": [9]}]}, Piece.unpack(message).payload)
    with pytest.raises(ProtocolError, match="cannot be read"):
        lying.arrays()
    with pytest.raises(ValueError, match="float64"):
        Piece.of_arrays(SLOT, {"a": np.zeros(3)})
