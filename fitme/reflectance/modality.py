"""Table of modalities: the kinds of reflectance maps of a head, with all properties that other modules depend on.

Generator, maps, session store, pipe between processes, avatar file, renderers, training data and export iterate over
`MODALITIES`. A new modality is a row of the table, and then at most these files:

1. `fitme/reflectance/modality.py`: its row.
2. `fitme/skin/painter.py`: its map of a synthetic head; without it every synthetic head has the row's default.
3. `fitme/training/objectives/reconstruction.py`: its weight in training, if that is not 1.
4. `configs/train_gpu.yaml`: the widths of its branch in a large generator, if they are not the row's.
5. `fitme/render/renderer.py` (`shade_covered`), 6. `fitme/render/cpu/shading.py`, 7. `fitme/render/forward/shading.py`:
   its term of the reflected light, if it has one.
8. `fitme/fit/texture/baking.py`: its observed texels, if keyframes show any.

Free of torch, so that the store and the web process can import it.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum


class Encoding(StrEnum):
    """Colour space of a modality inside the program, and its encoding in files and displays."""

    COLOR = "color"
    """Linear sRGB primaries, [0, 1]. Files and losses: sRGB-encoded. Generator: logit of the linear value."""
    LINEAR = "linear"
    """[0, 1], linear. Files: linear. Generator: logit."""
    TANGENT_NORMAL = "tangent normal"
    """Unit vectors: x along growing u, y along decreasing v, z out of the surface. Files: (n + 1) / 2. Training data
    and generator: the two slopes x / z and y / z of the surface."""


@dataclass(frozen=True)
class Modality:
    """One kind of reflectance map."""

    name: str
    """Field of maps, array of a session, tensor of an avatar file, branch of the generator."""
    channels: int
    """C of a map (..., H, W, C)."""
    encoding: Encoding
    default: tuple[float, ...]
    """(C,) value of an unknown map, in the colour space inside the program."""
    branch: tuple[int, ...] | None
    """Widths of the branch in the default generator, from twice the trunk's resolution on, doubling; None: the
    generator has no such branch."""
    shaded: bool
    """Whether the renderers sample the map: its channels then follow those of the shaded modalities before it."""
    file: str
    """Name of the 8-bit image that an output folder has of the map; its stem names the image in a GLB."""
    gltf_slot: str | None = None
    """Texture of glTF's skin material; None: the GLB has the texture in the skin material's extras, by `name`."""

    def __post_init__(self) -> None:
        if len(self.default) != self.channels:
            raise ValueError(f"{self.name}: {len(self.default)} default values for {self.channels} channels")

    @property
    def raw_channels(self) -> int:
        """Channels of the generator's output and of training data: a normal has two slopes."""
        return 2 if self.encoding is Encoding.TANGENT_NORMAL else self.channels


@dataclass
class ModalityTable:
    """All modalities, in the order in which channels, textures and branches follow each other."""

    rows: tuple[Modality, ...]

    def __iter__(self) -> Iterator[Modality]:
        return iter(self.rows)

    def __getitem__(self, name: str) -> Modality:
        """The modality of a name; KeyError if there is none."""
        return {row.name: row for row in self.rows}[name]

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the modalities, in order."""
        return tuple(row.name for row in self.rows)

    @property
    def generated(self) -> tuple[Modality, ...]:
        """Modalities with a branch in the default generator, and channels in training data."""
        return tuple(row for row in self.rows if row.branch is not None)

    @property
    def shaded(self) -> tuple[Modality, ...]:
        """Modalities that the renderers sample."""
        return tuple(row for row in self.rows if row.shaded)


MODALITIES = ModalityTable(
    (
        Modality(
            "diffuse", 3, Encoding.COLOR, (0.45, 0.45, 0.45),
            branch=(32, 16), shaded=True, file="diffuse.png", gltf_slot="baseColorTexture",
        ),
        Modality(
            "specular", 1, Encoding.LINEAR, (0.3,),
            branch=(12, 8), shaded=True, file="specular.png", gltf_slot="specularTexture",
        ),
        Modality(
            "normals", 3, Encoding.TANGENT_NORMAL, (0.0, 0.0, 1.0),
            branch=(20, 12), shaded=True, file="normal.png", gltf_slot="normalTexture",
        ),
    )
)  # fmt: skip
"""Diffuse albedo, specular albedo (1 reflects 4 % at normal incidence) and normals of the skin's relief."""

CORE_NAMES = ("diffuse", "specular", "normals")
"""Modalities of every file, generator and head."""
