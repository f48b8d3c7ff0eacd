"""Avatar: shape and reflectance of one person as a fit yields them, with the file format.

File format, version 2: a safetensors file, conventionally `avatar.safetensors`. Tensors: `identity` (K,) or (K + 1,)
float32 and, of each modality in `fitme.reflectance.modality.MODALITIES`, its map (H, W, C) float16 by its name
(`diffuse`, `specular`, `normals`; others where the program that wrote the file knew them); optionally the correctives,
`correctives.expressions` (M, 52), `correctives.gram` (52, 52) and `correctives.mixing` (M or M + 2, K) float32,
`correctives.deltas` (K, H, W, 3) float16; optionally `observed` (H, W) uint8, 255 where images alone decide on the
texel; optionally `shape_sigma` (V,) float32; and optionally hair and glasses, the arrays of `fitme.hair.hair` as
`hair.NAME` and of `fitme.glasses.glasses` as `glasses.NAME`. String metadata: `format`, `version`, `focal`, `stage`,
`name` and `created`; where there is any, `resting_lids`.
"""

from dataclasses import dataclass, field, fields, replace
from datetime import UTC, datetime
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from fitme.atomic_file import atomic_file
from fitme.errors import ModelFileError
from fitme.glasses.glasses import ARRAY_NAMES as GLASSES_ARRAYS
from fitme.glasses.glasses import Glasses, glasses_arrays, glasses_of_arrays
from fitme.hair.hair import ARRAY_NAMES, Hair, hair_arrays, hair_of_arrays
from fitme.reflectance.expression_correctives import AlbedoCorrectives, with_expression
from fitme.reflectance.maps import ReflectanceMaps, unit_length
from fitme.reflectance.modality import CORE_NAMES, MODALITIES
from fitme.stage import Stage

FORMAT = "fitme-avatar"
VERSION = 2
FILE_NAME = "avatar.safetensors"
"""Name of the file inside a folder that `fitme fit` wrote."""

_CORRECTIVES, _HAIR, _GLASSES, _OBSERVED = "correctives", "hair", "glasses", "observed"
_SHAPE_SIGMA = "shape_sigma"


def _now() -> datetime:
    return datetime.now(UTC).replace(microsecond=0)


@dataclass(frozen=True)
class Avatar:
    """A relightable head: all data to render the person with any expression, from any side, in any light."""

    identity: Tensor
    """(K,) or (K + 1,) float32 coefficients in standard deviations, see `MorphableModel.neutral`."""
    maps: ReflectanceMaps
    """Reflectance in the model's UV layout, a batch of one on the CPU."""
    focal: float
    """Focal length of the keyframes over the longer side of their images."""
    stage: Stage
    """The furthest stage of the fit."""
    name: str = "avatar"
    """Name given by the user."""
    created: datetime = field(default_factory=_now)
    """Time of creation; timezone-aware."""
    correctives: AlbedoCorrectives | None = None
    """Changes of the diffuse map with the expression; None before they are extracted."""
    hair: Hair | None = None
    """Hair; None before it is fitted."""
    glasses: Glasses | None = None
    """Glasses; None where the person wears none."""
    observed: Tensor | None = field(default=None, repr=False)
    """(R, R) share in [0, 1] with which images decide on each texel, 0 where all was guessed; None: unknown."""
    resting_lids: float = 0.0
    """Activation of both eyes' blinks on the person's neutral face."""
    shape_sigma: Tensor | None = field(default=None, repr=False)
    """(V,) metres: standard deviation of each vertex of the neutral head, given the images; None: unknown."""

    def __post_init__(self) -> None:
        if self.identity.ndim != 1:
            raise ValueError(f"identity must be (K,), not {tuple(self.identity.shape)}")
        if self.maps.diffuse.shape[0] != 1:
            raise ValueError(f"maps must be a batch of one, not {self.maps.diffuse.shape[0]}")
        if self.observed is not None and self.observed.shape != self.maps.diffuse.shape[1:3]:
            raise ValueError(f"observed must be as large as the maps, not {tuple(self.observed.shape)}")
        if self.correctives is not None and self.correctives.deltas.shape[1:] != self.maps.diffuse.shape[1:]:
            raise ValueError(
                f"correctives of {tuple(self.correctives.deltas.shape[1:])} do not go with a diffuse map of "
                f"{tuple(self.maps.diffuse.shape[1:])}"
            )

    def maps_with(self, expression: Tensor) -> ReflectanceMaps:
        """The maps with the correctives of an expression (52,)."""
        return with_expression(self.maps, self.correctives, expression)

    def named(self, name: str) -> "Avatar":
        """A copy of the avatar under another name."""
        return replace(self, name=name)

    def save(self, path: str | Path) -> None:
        """Write the avatar to the file `path`, replacing what was there only once all is written."""
        path = Path(path)
        tensors = {key: value[0].detach().cpu().half().contiguous() for key, value in self.maps.by_name().items()}
        if self.correctives is not None:
            tensors |= {
                f"{_CORRECTIVES}.{key}": value.detach().cpu().contiguous()
                for key, value in vars(self.correctives).items()
            }
        if self.hair is not None:
            tensors |= {f"{_HAIR}.{key}": torch.from_numpy(value) for key, value in hair_arrays(self.hair).items()}
        if self.glasses is not None:
            tensors |= {f"{_GLASSES}.{key}": torch.from_numpy(v) for key, v in glasses_arrays(self.glasses).items()}
        if self.observed is not None:
            tensors[_OBSERVED] = (255.0 * self.observed.detach().cpu().clamp(0.0, 1.0)).round().to(torch.uint8)
        if self.shape_sigma is not None:
            tensors[_SHAPE_SIGMA] = self.shape_sigma.detach().cpu().float().contiguous()
        tensors["identity"] = self.identity.detach().cpu().float().contiguous()
        metadata = {
            "format": FORMAT,
            "version": str(VERSION),
            "focal": repr(float(self.focal)),
            "stage": self.stage.value,
            "name": self.name,
            "created": self.created.isoformat(),
        }
        if self.resting_lids:
            metadata["resting_lids"] = repr(float(self.resting_lids))
        try:
            with atomic_file(path) as partial:
                save_file(tensors, partial, metadata)
        except SafetensorError as error:
            raise ModelFileError(f"{path}: the avatar cannot be written ({error})") from error

    @staticmethod
    def load(path: str | Path) -> "Avatar":
        """Read the file `path`, or `FILE_NAME` in the folder `path`.

        Raises ModelFileError if there is none, or if it is truncated, of another format or of a newer version.
        """
        path = Path(path)
        file = path / FILE_NAME if path.is_dir() else path
        if not file.is_file():
            raise ModelFileError(f"{file}: there is no such avatar; make one with `fitme fit`")
        try:
            with safe_open(file, framework="pt") as opened:
                metadata = opened.metadata() or {}
                _check_header(file, metadata)
                tensors = {key: opened.get_tensor(key) for key in opened.keys()}  # noqa: SIM118
        except SafetensorError as error:
            raise ModelFileError(f"{file}: not an avatar file, or a truncated one ({error})") from error
        _check_tensors(file, tensors)
        try:
            focal, created = float(metadata["focal"]), datetime.fromisoformat(metadata["created"])
            stage, name = Stage(metadata["stage"]), metadata["name"]
            lids = float(metadata.get("resting_lids", "0"))
        except (KeyError, ValueError) as error:
            raise ModelFileError(f"{file}: its metadata is damaged ({error}); make the avatar again") from error
        stored = {key: tensors[key].float()[None] for key in MODALITIES.names if key in tensors}
        maps = ReflectanceMaps.from_names(stored).mapped(unit_length)
        correctives, hair, glasses = _correctives(file, tensors), _hair(file, tensors), _glasses(file, tensors)
        observed = _observed(file, tensors)
        return Avatar(
            tensors["identity"], maps, focal, stage, name, created, correctives, hair, glasses, observed, lids,
            tensors.get(_SHAPE_SIGMA),
        )  # fmt: skip


def _observed(file: Path, tensors: dict[str, Tensor]) -> Tensor | None:
    found = tensors.get(_OBSERVED)
    if found is None:
        return None
    if found.dtype != torch.uint8 or found.shape != tensors["diffuse"].shape[:2]:
        raise ModelFileError(f"{file}: its map of what was observed is damaged; make the avatar again")
    return found.float() / 255.0


def _correctives(file: Path, tensors: dict[str, Tensor]) -> AlbedoCorrectives | None:
    names = [field.name for field in fields(AlbedoCorrectives)]
    found = [tensors.get(f"{_CORRECTIVES}.{name}") for name in names]
    if all(tensor is None for tensor in found):
        return None
    given = [tensor for tensor in found if tensor is not None]
    if len(given) < len(names):
        raise ModelFileError(f"{file}: lacks a part of its correctives; make the avatar again")
    expressions, gram, mixing, deltas = given
    ranks = (expressions.ndim, gram.ndim, mixing.ndim, deltas.ndim)
    if ranks != (2, 2, 2, 4) or deltas.shape[1:] != tensors["diffuse"].shape:
        raise ModelFileError(f"{file}: its correctives are damaged; make the avatar again")
    try:
        return AlbedoCorrectives(expressions, gram, mixing, deltas)
    except ValueError as error:
        raise ModelFileError(f"{file}: {error}; make the avatar again") from error


def _hair(file: Path, tensors: dict[str, Tensor]) -> Hair | None:
    arrays = {key: tensors[f"{_HAIR}.{key}"].numpy() for key in ARRAY_NAMES if f"{_HAIR}.{key}" in tensors}
    if not arrays:
        return None
    try:
        return hair_of_arrays(arrays)
    except ValueError as error:
        raise ModelFileError(f"{file}: {error}; make the avatar again") from error


def _glasses(file: Path, tensors: dict[str, Tensor]) -> Glasses | None:
    arrays = {key: tensors[f"{_GLASSES}.{key}"].numpy() for key in GLASSES_ARRAYS if f"{_GLASSES}.{key}" in tensors}
    if not arrays:
        return None
    try:
        return glasses_of_arrays(arrays)
    except ValueError as error:
        raise ModelFileError(f"{file}: {error}; make the avatar again") from error


def _check_header(file: Path, metadata: dict[str, str]) -> None:
    if metadata.get("format") != FORMAT:
        raise ModelFileError(f"{file}: not an avatar, but {metadata.get('format', 'another safetensors file')!r}")
    version = metadata.get("version", "")
    if version != str(VERSION):
        raise ModelFileError(f"{file}: avatar format version {version}, but this program reads version {VERSION}")


def _check_tensors(file: Path, tensors: dict[str, Tensor]) -> None:
    missing = {"identity", *CORE_NAMES} - tensors.keys()
    if missing:
        raise ModelFileError(f"{file}: lacks {', '.join(sorted(missing))}; make the avatar again")
    if tensors["identity"].ndim != 1 or tensors["identity"].dtype != torch.float32:
        raise ModelFileError(f"{file}: identity must be (K,) float32, not {tuple(tensors['identity'].shape)}")
    sigma = tensors.get(_SHAPE_SIGMA)
    if sigma is not None and (sigma.ndim != 1 or sigma.dtype != torch.float32):
        raise ModelFileError(f"{file}: {_SHAPE_SIGMA} must be (V,) float32, not {tuple(sigma.shape)}")
    size = tensors["diffuse"].shape[:2]
    for modality in MODALITIES:
        expected, found = (*size, modality.channels), tensors.get(modality.name)
        if found is not None and found.shape != expected:
            raise ModelFileError(f"{file}: {modality.name} must be {expected}, not {tuple(found.shape)}")
