"""An avatar put together from its pieces, as a page does it; for measurements and tests."""

import io
from collections.abc import Mapping

import numpy as np
from PIL import Image

from fitme.arrays import Float32Array, UInt8Array
from stream.protocol.avatar import Piece, PieceKind, Slot


def followed_maps(pieces: Mapping[Slot, Piece]) -> dict[str, UInt8Array]:
    """Reflectance maps (H, W, 3) or (H, W) uint8 by name, of the newest piece of each slot; texels that no tile covers
    are 0. Empty before the first state."""
    state = pieces.get(Slot(PieceKind.STATE))
    if state is None:
        return {}
    maps: dict[str, UInt8Array] = {}
    sizes = {name: int(described["size"]) for name, described in state.header["maps"].items()}
    for slot, piece in pieces.items():
        if slot.kind is not PieceKind.TILE or piece.header["size"] != sizes[piece.header["map"]]:
            continue  # a tile of another size is one of an earlier layout
        codes = np.asarray(Image.open(io.BytesIO(piece.payload)))
        name, size, x, y = (piece.header[key] for key in ("map", "size", "x", "y"))
        whole = maps.setdefault(name, np.zeros((size, size, *codes.shape[2:]), np.uint8))
        whole[y : y + codes.shape[0], x : x + codes.shape[1]] = codes
    return maps


def followed_vertices(pieces: Mapping[Slot, Piece]) -> Float32Array:
    """Neutral vertices (V, 3) of the person, metres. KeyError before the first."""
    vertices: Float32Array = pieces[Slot(PieceKind.NEUTRAL)].arrays()["vertices"]
    return vertices
