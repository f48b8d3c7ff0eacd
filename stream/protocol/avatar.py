"""Pieces of an avatar as binary messages, for pages that draw it themselves.

An avatar is a set of *slots*: one for its neutral vertices, one for each tile of a map, and so on. A piece is the
content of one slot; a newer piece of the same slot replaces it. Pieces carry the version of the avatar that they
belong to, which grows with every piece of a session; a page that has the version V needs only the slots of later
versions. `PIECE_HEADER` (24 bytes, little-endian), then a header as JSON (UTF-8), then the payload:

====== ======= ====================================================================
offset type    field
====== ======= ====================================================================
0      4 bytes magic ``FITA``
4      uint16  version of the protocol, 3
6      uint8   kind: `PieceKind`
7      uint8   flags: 1 `COMPLETE`, the page now has the whole avatar of this version
8      uint32  version of the avatar; 0 in pieces that are everybody's
12     uint16  number of the slot among those of its kind: of a map or a corrective
14     uint16  tile of the slot, row by row
16     uint32  bytes of the JSON header
20     uint32  bytes of the payload
====== ======= ====================================================================

The JSON header has either ``arrays`` or ``media``. ``arrays``: the payload is one zlib stream (RFC 1950) of arrays one
after the other, little-endian, row by row, each described by ``{"name", "type", "shape", "scale"?}``; `type` is one of
`ARRAY_TYPES`, and values are codes times `scale`. ``media``: the payload is an image file of this type. An empty
payload without either: the header says it all. Further fields by kind are in `docs/wire.md`.
"""

import json
import struct
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from stream.protocol.protocol import PROTOCOL_VERSION, ProtocolError

PIECE_HEADER = struct.Struct("<4sHBBIHHII")
PIECE_MAGIC = b"FITA"
COMPLETE = 1
"""Flag of the piece after which a page has the whole avatar of the piece's version."""
ARRAY_TYPES = ("uint8", "int8", "uint16", "int16", "uint32", "float32")
DEFLATE_LEVEL = 6

Codes = npt.NDArray[Any]
"""Array of one of `ARRAY_TYPES`."""


class PieceKind(IntEnum):
    """What a piece holds."""

    MODEL = 0
    """The morphable head's topology, layout and expressions: everybody's, over HTTP."""
    STRANDS = 1
    """Pattern of strands for the hair: everybody's, over HTTP."""
    STATE = 2
    """Stage, light of the newest keyframe, sizes of the maps, and which optional slots belong to the avatar."""
    NEUTRAL = 3
    """Neutral vertices of the person."""
    TILE = 4
    """Tile of a reflectance map."""
    HAIR = 5
    """Mesh of the hair's envelope."""
    HAIR_TEXTURE = 6
    """Albedo and coverage of the hair."""
    CORRECTIVES = 7
    """Expressions of the albedo correctives, and how they mix the corrective maps."""
    CORRECTIVE_MAP = 8
    """One corrective map."""
    GLASSES = 9
    """Mesh of the glasses, with their colours."""


class Slot(NamedTuple):
    """Place of a piece in an avatar."""

    kind: PieceKind
    number: int = 0
    tile: int = 0


@dataclass(frozen=True)
class Scaled:
    """Array of codes whose values are ``codes * scale``."""

    codes: Codes
    scale: float


@dataclass(frozen=True)
class Piece:
    """Content of one slot; see the module's docstring."""

    slot: Slot
    header: Mapping[str, Any] = field(default_factory=dict)
    payload: bytes = b""
    version: int = 0
    complete: bool = False

    @staticmethod
    def of_arrays(slot: Slot, arrays: Mapping[str, Codes | Scaled], **fields: object) -> "Piece":
        """Piece of named arrays.

        :param fields: of the JSON header.
        :raises ValueError: for an array of a type that is not in `ARRAY_TYPES`.
        """
        described, parts = [], []
        for name, values in arrays.items():
            codes = values.codes if isinstance(values, Scaled) else values
            if codes.dtype.name not in ARRAY_TYPES:
                raise ValueError(
                    f"{name}: arrays of {codes.dtype} cannot be sent; allowed are {', '.join(ARRAY_TYPES)}"
                )
            entry: dict[str, Any] = {"name": name, "type": codes.dtype.name, "shape": list(codes.shape)}
            if isinstance(values, Scaled):
                entry["scale"] = values.scale
            described.append(entry)
            parts.append(np.ascontiguousarray(codes, codes.dtype.newbyteorder("<")).tobytes())
        return Piece(slot, {**fields, "arrays": described}, zlib.compress(b"".join(parts), DEFLATE_LEVEL))

    @staticmethod
    def of_image(slot: Slot, media: str, payload: bytes, **fields: object) -> "Piece":
        """Piece of an image file of a media type."""
        return Piece(slot, {**fields, "media": media}, payload)

    def arrays(self) -> dict[str, npt.NDArray[Any]]:
        """Values of the arrays by name: codes, or float32 where there is a scale.

        :raises ProtocolError: if the payload does not hold what the header describes.
        """
        try:
            data = zlib.decompress(self.payload)
            found, offset = {}, 0
            for entry in self.header.get("arrays", ()):
                kind = np.dtype(entry["type"]).newbyteorder("<")
                count = int(np.prod(entry["shape"], dtype=np.int64))
                codes = np.frombuffer(data, kind, count, offset).reshape(entry["shape"])
                offset += codes.nbytes
                scale = entry.get("scale")
                found[entry["name"]] = codes if scale is None else (codes * np.float32(scale)).astype(np.float32)
        except (zlib.error, ValueError, KeyError, TypeError) as error:
            raise ProtocolError("bad_piece", f"the arrays of a piece cannot be read: {error}") from error
        return found

    def pack(self) -> bytes:
        """Pack into the binary message."""
        text = json.dumps(self.header, separators=(",", ":")).encode()
        slot = self.slot
        header = PIECE_HEADER.pack(
            PIECE_MAGIC, PROTOCOL_VERSION, slot.kind, COMPLETE * self.complete, self.version, slot.number, slot.tile,
            len(text), len(self.payload),
        )  # fmt: skip
        return header + text + self.payload

    @staticmethod
    def unpack(message: bytes) -> "Piece":
        """Unpack a binary message.

        :raises ProtocolError: if it is not a piece of this version, or truncated.
        """
        if len(message) < PIECE_HEADER.size:
            raise ProtocolError("bad_piece", f"a header has {PIECE_HEADER.size} bytes, the message {len(message)}")
        magic, protocol, kind, flags, version, number, tile, text, size = PIECE_HEADER.unpack_from(message)
        if magic != PIECE_MAGIC or protocol != PROTOCOL_VERSION:
            raise ProtocolError("bad_piece", f"not a piece of protocol {PROTOCOL_VERSION}: {magic!r} {protocol}")
        if len(message) != PIECE_HEADER.size + text + size or kind not in tuple(PieceKind):
            raise ProtocolError("bad_piece", f"inconsistent header: kind {kind}, {text} + {size} bytes")
        begin = PIECE_HEADER.size + text
        try:
            header = json.loads(message[PIECE_HEADER.size : begin])
        except ValueError as error:
            raise ProtocolError("bad_piece", f"the header of a piece is not JSON: {error}") from error
        slot = Slot(PieceKind(kind), number, tile)
        return Piece(slot, header, message[begin:], version, bool(flags & COMPLETE))


def stamped(message: bytes, version: int, *, complete: bool) -> bytes:
    """A packed piece with another version of the avatar and another flag `COMPLETE`."""
    changed = bytearray(message)
    struct.pack_into("<BI", changed, 7, COMPLETE * complete, version & 0xFFFFFFFF)
    return bytes(changed)
