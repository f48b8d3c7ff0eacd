"""An avatar put together from its pieces, as a page does it; for measurements and tests."""

import io
from collections.abc import Mapping

import numpy as np
from PIL import Image

from fitme.arrays import Float32Array, UInt8Array
from stream.protocol.avatar import Piece, PieceKind, Slot


def followed_maps(pieces: Mapping[Slot, Piece]) -> dict[str, UInt8Array]:
    """Reflectance maps (H, W, 3) or (H, W) uint8 by name, of the newest piece of each slot; texels that no tile covers
    are 0. The parts' maps lie below the head's. Empty before the first state."""
    state = pieces.get(Slot(PieceKind.STATE))
    if state is None:
        return {}
    maps: dict[str, UInt8Array] = {}
    sizes = {name: int(described["size"]) for name, described in state.header["maps"].items()}
    for slot, piece in pieces.items():
        if slot.kind is not PieceKind.TILE or piece.header["size"] != sizes[piece.header["map"]]:
            continue  # a tile of another size is one of an earlier layout
        codes = np.asarray(Image.open(io.BytesIO(piece.payload)))
        name, width, height, x, y = (piece.header[key] for key in ("map", "size", "height", "x", "y"))
        whole = maps.setdefault(name, np.zeros((height, width, *codes.shape[2:]), np.uint8))
        whole[y : y + codes.shape[0], x : x + codes.shape[1]] = codes
    return maps


def followed_vertices(pieces: Mapping[Slot, Piece]) -> Float32Array:
    """Neutral vertices (V + N, 3) of the person's head and its parts, metres. KeyError before the first."""
    vertices: Float32Array = pieces[Slot(PieceKind.NEUTRAL)].arrays()["vertices"]
    return vertices
