"""Parts of a head beside the mesh of the morphable model: teeth, gums, eyes, lashes, bust. Geometry for everybody.

`head_parts.npz`, built by `python -m fitme.build.parts.build`, belongs to one mesh: that of the default model. Every
vertex of a part is bound to the model's vertices (`fitme.parts.binding`), so that identity, expression and the rotation
of the eyeballs move it. Each part replaces some triangles of the model's mesh, or none.

Layout of the file, version 1: `format` (), `head_vertices` (), `hidden` (F,) bool; `anchors.*`, a binding of A points
to the model's V vertices; and for each part NAME in the order of `names`: `NAME.triangles` (F, 3), `NAME.uv` (T, 2),
`NAME.uv_triangles` (F, 3), `NAME.occlusion` (N,), `NAME.material`, `NAME.texture`, `NAME.behind_lips`, and
`NAME.starts`, `NAME.vertices`, `NAME.weights`, `NAME.offset`, its binding to the V vertices and the A anchors after
them. Beside them `teeth.texture` (H, W, 4) and `lashes.texture` (H, W), uint8.
"""

import functools
import zipfile
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

import numpy as np
import numpy.typing as npt

from fitme.arrays import BoolArray, Float32Array, Int32Array, UInt8Array
from fitme.errors import ModelFileError
from fitme.parts.binding import Binding, composed
from fitme.shape.morphable_model import MorphableModel

FORMAT_VERSION = 1
REFINED_HEAD = "refinedHead"
"""Name of the part that replaces the head's coarse triangles by finer ones."""
HEAD_PARTS_PATH = Path(__file__).with_name("head_parts.npz")


class Material(StrEnum):
    """How a part reflects light."""

    SKIN = "skin"
    TEETH = "teeth"
    MOUTH = "mouth"
    EYE = "eye"
    LASHES = "lashes"


class Texture(StrEnum):
    """Map from which a part takes its diffuse albedo."""

    HEAD = "head"
    """The head's own maps, in the model's layout."""
    TEETH = "teeth"
    LEFT_EYE = "leftEye"
    RIGHT_EYE = "rightEye"
    LASHES = "lashes"
    BUST = "bust"


@dataclass(frozen=True, eq=False)
class HeadPart:
    """One part: a mesh bound to the head."""

    name: str
    """As a node of an exported file."""
    material: Material
    """Its material."""
    texture: Texture
    """The map that `uv` refers to."""
    behind_lips: bool
    """Whether it lies in the mouth, where closed lips keep the light out."""
    triangles: Int32Array
    """(F, 3) counter-clockwise seen from outside."""
    uv: Float32Array
    """(T, 2) texture coordinates, (0, 0) top-left; seams make T larger than N."""
    uv_triangles: Int32Array
    """(F, 3) indices into `uv`."""
    occlusion: Float32Array
    """(N,) share of the surroundings' light that arrives; behind the lips, of what they let in."""
    binding: Binding
    """Of its N vertices to the model's V."""


@dataclass(frozen=True, eq=False)
class HeadParts:
    """All parts, and what they replace."""

    head_vertices: int
    """V of the model that they belong to."""
    hidden: BoolArray
    """(F,) triangles of the model's mesh that are not drawn where parts are."""
    parts: tuple[HeadPart, ...]
    """In the order of the file."""
    teeth_texture: UInt8Array
    """(H, W, 4): albedo over that of enamel or gums, 128 standing for 1; share of enamel."""
    lash_texture: UInt8Array
    """(H, W) coverage."""

    @property
    def opaque(self) -> tuple[HeadPart, ...]:
        """Parts that are drawn with the head."""
        return tuple(part for part in self.parts if part.material is not Material.LASHES)

    @property
    def layers(self) -> tuple[HeadPart, ...]:
        """Parts with coverage, which are drawn over the others."""
        return tuple(part for part in self.parts if part.material is Material.LASHES)


def load_head_parts(model: MorphableModel) -> HeadParts | None:
    """Parts of the default model; None for a model with another mesh."""
    parts = read_head_parts(HEAD_PARTS_PATH)
    same = len(parts.hidden) == len(model.triangles) and parts.head_vertices == model.vertex_count
    return parts if same else None


@functools.cache
def read_head_parts(path: Path) -> HeadParts:
    """Content of a file in the layout above. ModelFileError if it is missing, damaged or of another version."""
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays: dict[str, npt.NDArray[np.generic]] = {name: file[name] for name in file.files}
        if int(arrays["format"]) != FORMAT_VERSION:
            raise ModelFileError(f"{path} has format {arrays['format']}, not {FORMAT_VERSION}; build it anew")
        anchors = _binding(arrays, "anchors")
        count = int(arrays["head_vertices"])
        parts = tuple(_part(arrays, str(name), anchors, count) for name in arrays["names"])
        hidden = np.asarray(arrays["hidden"], np.bool_)
        textures = (np.asarray(arrays[name], np.uint8) for name in ("teeth.texture", "lashes.texture"))
        return HeadParts(count, hidden, parts, *textures)
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise ModelFileError(
            f"{path} is not a readable file of parts ({error}); build it with `python -m fitme.build.parts.build`"
        ) from error


def _part(arrays: dict[str, npt.NDArray[np.generic]], name: str, anchors: Binding, head_vertices: int) -> HeadPart:
    return HeadPart(
        name,
        Material(str(arrays[f"{name}.material"])),
        Texture(str(arrays[f"{name}.texture"])),
        bool(arrays[f"{name}.behind_lips"]),
        np.asarray(arrays[f"{name}.triangles"], np.int32),
        np.asarray(arrays[f"{name}.uv"], np.float32),
        np.asarray(arrays[f"{name}.uv_triangles"], np.int32),
        np.asarray(arrays[f"{name}.occlusion"], np.float32),
        composed(_binding(arrays, name), anchors, head_vertices),
    )


def _binding(arrays: dict[str, npt.NDArray[np.generic]], name: str) -> Binding:
    return Binding(
        np.asarray(arrays[f"{name}.starts"], np.int32),
        np.asarray(arrays[f"{name}.vertices"], np.int32),
        np.asarray(arrays[f"{name}.weights"], np.float32),
        np.asarray(arrays[f"{name}.offset"], np.float32),
    )
