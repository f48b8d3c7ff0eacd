"""Pieces that are the same for every avatar: the morphable head, and the pattern of strands. Pages load them over HTTP
by their digest, and keep them.
"""

import hashlib
from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np

from fitme.arrays import UInt8Array
from fitme.hair.strands import strand_pattern
from fitme.render.materials import head_shininess
from fitme.render.occlusion import head_occlusion, mouth_occlusion
from fitme.shape.expressions import EXPRESSION_NAMES
from fitme.shape.morphable_model import MorphableModel
from stream.protocol.avatar import Piece, PieceKind, Scaled, Slot

MORPH_STEP_M = 5e-6
"""Step of the displacements of expressions."""
UNIT_STEPS = 65_535
"""Steps of values in [0, 1]: texture coordinates, occlusion."""
DIGEST_DIGITS = 32
STRAND_STEPS, STRAND_LIMIT = 127.0, 4.0
"""A code is 128 + `STRAND_STEPS` times the pattern over `STRAND_LIMIT` standard deviations."""
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
    """The morphable head without identities: topology, layout, expressions, eyes, occlusion."""
    basis = model.expression_basis.numpy()  # (52, V, 3)
    codes = np.rint(basis / MORPH_STEP_M).astype(np.int16)
    moved = codes.any(-1)  # (52, V)
    mouth = mouth_occlusion(model)
    left, right = model.eyeball_vertices
    return Piece.of_arrays(
        Slot(PieceKind.MODEL),
        {
            "triangles": model.triangles.numpy().astype(np.uint16),
            "uv": _unit_codes(model.uv.numpy()),
            "uvTriangles": model.uv_triangles.numpy().astype(np.uint16),
            "regions": model.triangle_region.numpy().astype(np.uint8),
            "shininess": head_shininess(model).numpy().astype(np.uint16),
            "morphStarts": np.concatenate([[0], np.cumsum(moved.sum(1))]).astype(np.uint32),
            "morphVertices": np.nonzero(moved)[1].astype(np.uint16),
            "morphOffsets": codes[moved],
            "leftEye": left.numpy().astype(np.uint16),
            "rightEye": right.numpy().astype(np.uint16),
            "occlusion": _unit_codes(head_occlusion(model).numpy()),
            "lips": mouth.lips.numpy().astype(np.uint16),
            "lipWeights": mouth.weights.numpy().astype(np.float32),
            "mouthInside": mouth.inside.numpy().astype(np.uint8),
            "mouthLining": mouth.lining.astype(np.uint16),
        },
        vertices=model.vertex_count,
        expressions=list(EXPRESSION_NAMES),
        morphStep=MORPH_STEP_M,
    )


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
