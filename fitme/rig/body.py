"""Body under the default model's head: neck, hands and clothes, in T-pose.

`body.npz`, built by `python -m fitme.build.rig.build`. The skin begins with the vertices of the head's neck edge, so
that no gap is between them; below it the body fades into its own shape.

Layout of the file, version 1: `format` (), `names` (P,), `edge` (L,); and for each piece NAME: `NAME.vertices`
(1 + D, N, 3), `NAME.triangles` (F, 3), `NAME.joints` (N, 4), `NAME.weights` (N, 4), `NAME.occlusion` (N,),
`NAME.followers` (M,) and `NAME.following` (M, L).
"""

import functools
import zipfile
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

import numpy as np

from fitme.arrays import Float32Array, Int64Array, UInt8Array
from fitme.errors import ModelFileError
from fitme.rig.rig import Rig

FORMAT_VERSION = 1
BODY_PATH = Path(__file__).with_name("body.npz")


class Piece(StrEnum):
    """Pieces of the body, by their names in the file."""

    SKIN = "bodySkin"
    TOP = "top"
    TROUSERS = "trousers"
    SHOES = "shoes"


@dataclass(frozen=True, eq=False)
class BodyPiece:
    """One piece of the body."""

    name: Piece
    """Its name, as of a node in a file."""
    vertices: Float32Array
    """(1 + D, N, 3) metres from the middle of the neck's edge: the average body, and what each build adds."""
    triangles: Int64Array
    """(F, 3) counter-clockwise seen from outside."""
    joints: UInt8Array
    """(N, 4) of the rig."""
    weights: Float32Array
    """(N, 4) rows sum to one."""
    occlusion: Float32Array
    """(N,) share of the surroundings' light that arrives."""
    followers: Int64Array
    """(M,) vertices that the shape of the person's neck moves."""
    following: Float32Array
    """(M, L) by how much of each vertex of the neck's edge."""

    def placed(self, rig: Rig, head: Float32Array, build: Float32Array) -> Float32Array:
        """(N, 3) metres, model frame, below a neutral head (V, 3), of a build (D,)."""
        edge = head[rig.loop]
        middle = edge.mean(0)
        vertices = middle + self.vertices[0] + np.tensordot(build, self.vertices[1:], 1)
        rest = rig.loop_rest[0] + np.tensordot(build, rig.loop_rest[1:], 1)
        vertices[self.followers] += self.following @ (edge - middle - rest)
        return np.asarray(vertices, np.float32)


@dataclass(frozen=True, eq=False)
class Body:
    """All pieces."""

    pieces: tuple[BodyPiece, ...]
    edge: Int64Array
    """(L,) vertices of the first piece, the skin, that lie on the rig's `loop`."""


@functools.cache
def load_body() -> Body:
    """Body of the default model. ModelFileError if its file is missing or damaged."""
    try:
        with np.load(BODY_PATH, allow_pickle=False) as file:
            if int(file["format"]) != FORMAT_VERSION:
                raise ModelFileError(f"{BODY_PATH} has format {file['format']}, not {FORMAT_VERSION}; build it anew")
            return Body(
                tuple(_piece(file, str(name)) for name in file["names"]),
                file["edge"].astype(np.int64),
            )
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise ModelFileError(
            f"{BODY_PATH} is not a readable body ({error}); build it with `python -m fitme.build.rig.build`"
        ) from error


def _piece(file: np.lib.npyio.NpzFile, name: str) -> BodyPiece:
    weights = file[f"{name}.weights"].astype(np.float32)
    return BodyPiece(
        name=Piece(name),
        vertices=file[f"{name}.vertices"].astype(np.float32),
        triangles=file[f"{name}.triangles"].astype(np.int64),
        joints=file[f"{name}.joints"].astype(np.uint8),
        weights=weights / weights.sum(1, keepdims=True),
        occlusion=file[f"{name}.occlusion"].astype(np.float32),
        followers=file[f"{name}.followers"].astype(np.int64),
        following=file[f"{name}.following"].astype(np.float32),
    )
