"""Pieces that are the same for every avatar: the morphable head, and the pattern of strands. Pages load them over HTTP
by their digest, and keep them.
"""

import hashlib
from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np

from fitme.arrays import UInt8Array
from fitme.color import linear_to_bytes
from fitme.hair.strands import strand_pattern
from fitme.parts.drawn_head import STRIP_SHARE, drawn_head
from fitme.parts.head_parts import HeadPart
from fitme.parts.textures import LASH_ALBEDO
from fitme.shape.expressions import EXPRESSION_NAMES
from fitme.shape.morphable_model import MorphableModel
from stream.protocol.avatar import Codes, Piece, PieceKind, Scaled, Slot

MORPH_STEP_M = 5e-6
"""Step of the displacements of expressions."""
UNIT_STEPS = 65_535
"""Steps of values in [0, 1]: texture coordinates, occlusion."""
DIGEST_DIGITS = 32
STRAND_STEPS, STRAND_LIMIT = 127.0, 4.0
"""A code is 128 + `STRAND_STEPS` times the pattern over `STRAND_LIMIT` standard deviations."""
SIDES = ("left", "right")
"""The person's eyes, in the order of the drawn head's."""
STRAND_QUALITY = 80
"""JPEG quality of the pattern: noise, of which only the grain is seen."""


@dataclass(frozen=True)
class PackedShared:
    """Packed piece with its digest."""

    digest: str
    """The first hexadecimal digits of its SHA-256."""
    message: bytes


def packed_shared(piece: Piece) -> PackedShared:
    """Pack a piece that is everybody's."""
    message = piece.pack()
    return PackedShared(hashlib.sha256(message).hexdigest()[:DIGEST_DIGITS], message)


def model_piece(model: MorphableModel) -> Piece:
    """The morphable head with its parts, without identities: topology, layout, expressions, eyes, lashes, occlusion."""
    drawn = drawn_head(model)
    basis = np.stack([drawn.displacements(offsets) for offsets in model.expression_basis.numpy()])  # (52, V, 3)
    codes = np.rint(basis / MORPH_STEP_M).astype(np.int16)
    moved = codes.any(-1)  # (52, V)
    left, right = model.eyeball_vertices
    arrays: dict[str, Codes | Scaled] = {
        "triangles": drawn.triangles.numpy().astype(np.uint16),
        "uv": _unit_codes(drawn.uv.numpy()),
        "uvTriangles": drawn.uv_triangles.numpy().astype(np.uint16),
        "shininess": drawn.shininess.numpy().astype(np.uint16),
        "casting": drawn.casting.astype(np.uint8),
        "morphStarts": np.concatenate([[0], np.cumsum(moved.sum(1))]).astype(np.uint32),
        "morphVertices": np.nonzero(moved)[1].astype(np.uint16),
        "morphOffsets": codes[moved],
        "leftEye": left.numpy().astype(np.uint16),
        "rightEye": right.numpy().astype(np.uint16),
        "occlusion": _unit_codes(drawn.occlusion.numpy()),
        "lips": drawn.mouth.lips.numpy().astype(np.uint16),
        "lipWeights": drawn.mouth.weights.numpy().astype(np.float32),
        "mouthInside": drawn.mouth.inside.numpy().astype(np.uint8),
        "mouthOpenShare": _unit_codes(drawn.mouth.open_share.numpy()),
        "mouthLining": drawn.mouth.lining.astype(np.uint16),
    }
    eyes = [(found, drawn.eyes[found.eye]) for found in drawn.opaque if found.eye is not None]
    for (found, lids), side in zip(eyes, SIDES, strict=False):
        arrays |= {
            f"{side}EyePart": np.arange(found.place.start, found.place.stop, dtype=np.uint16),
            f"{side}UpperLid": lids.upper.numpy().astype(np.uint16),
            f"{side}UpperLidWeights": lids.upper_weights.numpy().astype(np.float32),
            f"{side}LowerLid": lids.lower.numpy().astype(np.uint16),
            f"{side}LowerLidWeights": lids.lower_weights.numpy().astype(np.float32),
        }
    layers = () if drawn.parts is None else drawn.parts.layers
    for part in layers:
        arrays |= _lash_arrays(part)
    if drawn.parts is not None:
        arrays["lashCoverage"] = drawn.parts.lash_texture
    return Piece.of_arrays(
        Slot(PieceKind.MODEL),
        arrays,
        vertices=len(drawn.occlusion),
        expressions=list(EXPRESSION_NAMES),
        morphStep=MORPH_STEP_M,
        strip=STRIP_SHARE,
        eyes=list(SIDES[: len(eyes)]),
        lashes=[part.name for part in layers],
        lashColor=linear_to_bytes(np.array(LASH_ALBEDO, np.float32)).tolist(),
    )


def _lash_arrays(part: HeadPart) -> dict[str, Codes | Scaled]:
    """Arrays of one layer of lashes, by its name: its mesh, bound to the head's vertices."""
    return {
        f"{part.name}.triangles": part.triangles.astype(np.uint16),
        f"{part.name}.uv": _unit_codes(part.uv),
        f"{part.name}.uvTriangles": part.uv_triangles.astype(np.uint16),
        f"{part.name}.starts": part.binding.starts.astype(np.uint32),
        f"{part.name}.vertices": part.binding.vertices.astype(np.uint16),
        f"{part.name}.weights": part.binding.weights.astype(np.float32),
        f"{part.name}.offsets": part.binding.offset.astype(np.float32),
    }


@lru_cache(maxsize=1)
def strands_piece() -> PackedShared:
    """Pattern of strands, as a grey image: code 128 is the mean."""
    codes = np.rint(128.0 + np.clip(strand_pattern() / STRAND_LIMIT, -1.0, 1.0) * STRAND_STEPS).astype(np.uint8)
    image = jpeg(codes, STRAND_QUALITY)
    height, width = codes.shape
    return packed_shared(
        Piece.of_image(Slot(PieceKind.STRANDS), "image/jpeg", image, width=width, height=height, limit=STRAND_LIMIT)
    )


def jpeg(codes: UInt8Array, quality: int) -> bytes:
    """JPEG file of an image (H, W) or (H, W, 3) RGB, with chroma at full resolution."""
    pixels = codes if codes.ndim == 2 else cv2.cvtColor(codes, cv2.COLOR_RGB2BGR)
    options = [
        cv2.IMWRITE_JPEG_QUALITY, quality,
        cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444,
    ]  # fmt: skip
    encoded, data = cv2.imencode(".jpg", pixels, options)
    assert encoded
    return data.tobytes()


def _unit_codes(values: np.ndarray[tuple[int, ...], np.dtype[np.float32]]) -> Scaled:
    """Values in [0, 1] in steps of 1 / `UNIT_STEPS`."""
    return Scaled(np.rint(np.clip(values, 0.0, 1.0) * UNIT_STEPS).astype(np.uint16), 1.0 / UNIT_STEPS)
