"""Reflectance maps of a head by modality, without torch."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, Self, TypeVar

import numpy as np

from fitme.arrays import Float32Array
from fitme.reflectance.modality import CORE_NAMES, MODALITIES, Modality

T = TypeVar("T")


@dataclass(frozen=True, eq=False)
class ModalityMaps(Generic[T]):
    """One map of every modality of the table `MODALITIES`, (..., H, W, C), of one side and one array type T."""

    diffuse: T
    """(..., H, W, 3) diffuse albedo, linear sRGB primaries, [0, 1]."""
    specular: T
    """(..., H, W, 1) specular albedo, linear, [0, 1]; 1 reflects 4 % at normal incidence."""
    normals: T
    """(..., H, W, 3) unit tangent-space normals: x along growing u, y along *decreasing* v (up in the layout, as glTF
    has it), z out of the surface."""
    others: Mapping[str, T] = field(default_factory=dict)
    """(..., H, W, C) maps of all further modalities by name; a missing one is its default.

    :raises ValueError: for a name that is not in the table.
    """

    def __post_init__(self) -> None:
        further = {modality.name: modality for modality in MODALITIES if modality.name not in CORE_NAMES}
        if unknown := sorted(self.others.keys() - further.keys()):
            raise ValueError(f"no modality is called {', '.join(unknown)}; known are {', '.join(MODALITIES.names)}")
        complete = {
            name: self.others[name] if name in self.others else self._default(modality)
            for name, modality in further.items()
        }
        object.__setattr__(self, "others", complete)

    @classmethod
    def from_names(cls, maps: Mapping[str, T]) -> Self:
        """Maps by the names of their modalities; KeyError if one of `CORE_NAMES` is missing."""
        others = {name: values for name, values in maps.items() if name not in CORE_NAMES}
        return cls(maps["diffuse"], maps["specular"], maps["normals"], others)

    def by_name(self) -> dict[str, T]:
        """Every map by the name of its modality, in the order of the table."""
        maps = {"diffuse": self.diffuse, "specular": self.specular, "normals": self.normals, **self.others}
        return {name: maps[name] for name in MODALITIES.names}

    def mapped(self, function: Callable[..., T], *others: "ModalityMaps[T]") -> Self:
        """Maps `function(modality, map, map of others[0], ...)`, for each modality."""
        maps = [self.by_name(), *(other.by_name() for other in others)]
        return self.from_names({m.name: function(m, *(each[m.name] for each in maps)) for m in MODALITIES})

    def _default(self, modality: Modality) -> T:
        """Default (..., H, W, C) of a modality, with the diffuse map's type and sizes."""
        like: Any = self.diffuse
        values: Any = np.broadcast_to(np.array(modality.default, like.dtype), (*like.shape[:-1], modality.channels))
        default: T = values
        return default


@dataclass(frozen=True, eq=False)
class MapArrays(ModalityMaps[Float32Array]):
    """Maps (H, W, C) float32 of one head."""
