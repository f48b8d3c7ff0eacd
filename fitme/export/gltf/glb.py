"""Builder and reader of binary glTF 2.0 files: buffer views, accessors, images and the container around them.

Specification: https://registry.khronos.org/glTF/specs/2.0/glTF-2.0.html
"""

import json
import struct
from collections.abc import Mapping
from typing import Any

import numpy as np

from fitme.arrays import BoolArray, Float32Array, Int64Array, UInt8Array

Json = dict[str, Any]

VERTICES, INDICES = 34962, 34963
"""Targets of buffer views: ARRAY_BUFFER and ELEMENT_ARRAY_BUFFER."""
FLOAT, UNSIGNED_SHORT, UNSIGNED_INT = 5126, 5123, 5125
"""Component types of accessors."""

UNSIGNED_BYTE = 5121
_ELEMENT_TYPE = {1: "SCALAR", 2: "VEC2", 3: "VEC3", 4: "VEC4", 16: "MAT4"}
_MAGIC, _VERSION, _JSON_CHUNK, _BINARY_CHUNK = 0x46546C67, 2, 0x4E4F534A, 0x004E4942
_ALIGNMENT_BYTES = 4


class GlbBuilder:
    """Builder of the binary chunk and of its JSON description; `to_bytes` joins them into one file."""

    def __init__(self, offset: tuple[float, float, float] = (0.0, 0.0, 0.0)) -> None:
        """
        :param offset: metres that are added to all positions: where the frame's origin is not the model's.
        """
        self._offset = np.array(offset, np.float32)
        self._binary = bytearray()
        self._views: list[Json] = []
        self._accessors: list[Json] = []
        self._images: list[Json] = []
        self._still: dict[tuple[int, int, bool], int] = {}

    def positions(self, values: Float32Array) -> int:
        """Accessor of positions (N, 3), metres, model frame."""
        return self.vertex_attribute((values + self._offset).astype(np.float32), bounds=True)

    def vertex_attribute(self, values: Float32Array, *, bounds: bool = False) -> int:
        """Accessor of float vectors (N, C); `bounds` adds min and max, which positions must have."""
        accessor = self._float_accessor(values, bounds)
        accessor["bufferView"] = self._view(values.astype("<f4").tobytes(), VERTICES)
        return self._append(accessor)

    def byte_attribute(self, values: UInt8Array, *, normalized: bool) -> int:
        """Accessor of vectors (N, 4) of bytes: numbers, or, `normalized`, shares of 255."""
        accessor: Json = {
            "bufferView": self._view(values.tobytes(), VERTICES),
            "componentType": UNSIGNED_BYTE,
            "count": len(values),
            "type": "VEC4",
        }
        return self._append(accessor | ({"normalized": True} if normalized else {}))

    def values(self, values: Float32Array, *, bounds: bool = False) -> int:
        """Accessor of floats that belong to no vertex: (N, C), or matrices (N, 16) by columns."""
        accessor = self._float_accessor(values, bounds)
        accessor["bufferView"] = self._view(values.astype("<f4").tobytes())
        return self._append(accessor)

    def morph_attribute(self, values: Float32Array, moved: BoolArray, *, bounds: bool = False) -> int:
        """Accessor of displacements (N, C), which are set to zero except at the vertices in the mask `moved` (N,).

        Stored sparsely where this is smaller. Where no vertex moves, one sparse element of zero: the specification
        allows accessors without any data, but assimp, Open3D and Unity's importer fail on them. One accessor serves
        all of these.
        """
        if not moved.any():
            key = (len(values), values.shape[1], bounds)
            if key not in self._still:
                first = np.arange(len(values)) == 0
                self._still[key] = self._sparse_attribute(np.zeros_like(values), first, bounds)
            return self._still[key]
        values = np.where(moved[:, None], values, np.float32(0))
        if moved.sum() * (values.itemsize * values.shape[1] + _index_type(len(values)).itemsize) >= values.nbytes:
            return self.vertex_attribute(values, bounds=bounds)
        return self._sparse_attribute(values, moved, bounds)

    def triangle_indices(self, triangles: Int64Array, vertex_count: int) -> int:
        """Accessor of the corners of triangles (F, 3)."""
        index_type = _index_type(vertex_count)
        accessor = {
            "bufferView": self._view(triangles.astype(index_type).tobytes(), INDICES),
            "componentType": _component_type(index_type),
            "count": int(triangles.size),
            "type": "SCALAR",
        }
        return self._append(accessor)

    def count(self, accessor: int) -> int:
        """Number of elements of an accessor."""
        return int(self._accessors[accessor]["count"])

    def png_image(self, name: str, content: bytes) -> int:
        """Image embedded as a PNG file."""
        self._images.append({"name": name, "mimeType": "image/png", "bufferView": self._view(content)})
        return len(self._images) - 1

    def to_bytes(self, scene: Json) -> bytes:
        """File content. `scene` holds all properties of the glTF except buffers, their views, accessors and images."""
        document = {
            **scene,
            "images": self._images,
            "accessors": self._accessors,
            "bufferViews": self._views,
            "buffers": [{"byteLength": len(self._binary)}],
        }
        return _file(document, bytes(self._binary))

    def _view(self, content: bytes, target: int | None = None) -> int:
        view = {"buffer": 0, "byteOffset": len(self._binary), "byteLength": len(content)}
        if target is not None:
            view["target"] = target
        self._binary += content + b"\0" * (-len(content) % _ALIGNMENT_BYTES)
        self._views.append(view)
        return len(self._views) - 1

    def _append(self, accessor: Json) -> int:
        self._accessors.append(accessor)
        return len(self._accessors) - 1

    def _sparse_attribute(self, values: Float32Array, stored: BoolArray, bounds: bool) -> int:
        """Accessor of float vectors (N, C) that are zero except where `stored` (N,)."""
        indices = np.flatnonzero(stored)
        index_type = _index_type(len(values))
        accessor = self._float_accessor(values, bounds)
        accessor["sparse"] = {
            "count": len(indices),
            "indices": {
                "bufferView": self._view(indices.astype(index_type).tobytes()),
                "componentType": _component_type(index_type),
            },
            "values": {"bufferView": self._view(values[indices].astype("<f4").tobytes())},
        }
        return self._append(accessor)

    @staticmethod
    def _float_accessor(values: Float32Array, bounds: bool) -> Json:
        count, components = values.shape
        accessor: Json = {"componentType": FLOAT, "count": count, "type": _ELEMENT_TYPE[components]}
        if bounds:
            accessor |= {"min": _shortest(values.min(0)), "max": _shortest(values.max(0))}
        return accessor


def write_document(document: Json, binary: bytes, replaced: Mapping[int, bytes]) -> bytes:
    """File of a document and its binary chunk with other content in some buffer views."""
    joined = bytearray()
    views = []
    for index, view in enumerate(document["bufferViews"]):
        start = view["byteOffset"]
        content = replaced.get(index, binary[start : start + view["byteLength"]])
        views.append(view | {"byteOffset": len(joined), "byteLength": len(content)})
        joined += content + b"\0" * (-len(content) % _ALIGNMENT_BYTES)
    buffers = [{"byteLength": len(joined)}]
    return _file({**document, "bufferViews": views, "buffers": buffers}, bytes(joined))


def _file(document: Json, binary: bytes) -> bytes:
    text = json.dumps(document, separators=(",", ":"), allow_nan=False).encode()
    text += b" " * (-len(text) % _ALIGNMENT_BYTES)
    chunks = struct.pack("<II", len(text), _JSON_CHUNK) + text
    chunks += struct.pack("<II", len(binary), _BINARY_CHUNK) + binary
    return struct.pack("<III", _MAGIC, _VERSION, 12 + len(chunks)) + chunks


def read_glb(content: bytes) -> tuple[Json, bytes]:
    """JSON and binary chunk of a binary glTF file. Raises ValueError for other content."""
    if len(content) < 20 or struct.unpack_from("<I", content)[0] != _MAGIC:
        raise ValueError("not a binary glTF file")
    length, kind = struct.unpack_from("<II", content, 12)
    if kind != _JSON_CHUNK:
        raise ValueError("the first chunk of a binary glTF file must be JSON")
    document: Json = json.loads(content[20 : 20 + length])
    return document, content[20 + length + 8 :]


def _index_type(vertex_count: int) -> np.dtype[Any]:
    # The largest index is reserved: it restarts primitives.
    return np.dtype("<u2") if vertex_count < 0xFFFF else np.dtype("<u4")


def _component_type(index_type: np.dtype[Any]) -> int:
    return UNSIGNED_SHORT if index_type.itemsize == 2 else UNSIGNED_INT


def _shortest(values: Float32Array) -> list[float]:
    """Numbers with the fewest digits that are the given ones in single precision."""
    return [float(str(value)) for value in values]
