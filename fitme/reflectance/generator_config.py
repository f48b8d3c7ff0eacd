"""Sizes of the generator, checked, and read from the files of earlier formats."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from fitme.errors import ConfigError
from fitme.reflectance.modality import CORE_NAMES, MODALITIES, Modality

_OLD_BRANCHES = {"diffuse_channels": "diffuse", "specular_channels": "specular", "normal_channels": "normals"}
"""Modality by the name of its branch's setting in earlier formats, which had one setting for each branch."""


def _default_branches() -> dict[str, tuple[int, ...]]:
    return {modality.name: modality.branch for modality in MODALITIES if modality.branch is not None}


@dataclass(frozen=True)
class GeneratorConfig:
    """Sizes of the generator."""

    resolution: int = 256
    """Texels a side of the maps."""
    noise_size: int = 96
    """Z: components of z ~ N(0, I)."""
    feature_count: int = 100
    """P: products of generative factors, further inputs of the mapping network."""
    latent_size: int = 256
    """D: components of w."""
    mapping_layers: int = 4
    start_resolution: int = 4
    """Texels a side of the learned constant at the start of synthesis."""
    trunk_channels: tuple[int, ...] = (192, 192, 192, 128, 80)
    """Channels of the shared trunk per resolution, from the start resolution on, doubling."""
    branches: Mapping[str, tuple[int, ...]] = field(default_factory=_default_branches)
    """Channels of each modality's branch per resolution, by the modality's name: from twice the trunk's last resolution
    on, doubling up to `resolution`."""
    trunk_positions: int = 6
    """Positional maps of each resolution of the trunk."""
    branch_positions: int | tuple[int, ...] = 16
    """Positional maps of each branch: of each resolution, or one number for all resolutions."""
    detail_maps: tuple[int, ...] = (64, 40, 20)
    """Detail maps of each branch, at the trunk's resolution and at each of its own."""
    contrast_maps: int = 16
    """Maps of each `LocalContrast`, one at each of a branch's own resolutions."""
    linear_components: int = 32
    """K: maps of the linear model besides the mean."""
    linear_resolution: int = 128
    """Texels a side of the linear model's maps; the mean has the full resolution."""

    def __post_init__(self) -> None:
        if missing := [name for name in CORE_NAMES if name not in self.branches]:
            raise ConfigError(f"branches lacks {', '.join(missing)}")
        if unknown := [name for name in self.branches if name not in MODALITIES.names]:
            raise ConfigError(f"branches has {', '.join(unknown)}; modalities are {', '.join(MODALITIES.names)}")
        for name, channels in self.branches.items():
            if self.trunk_resolution << len(channels) != self.resolution:
                raise ConfigError(
                    f"branches: {name} has {len(channels)} resolutions above the trunk's {self.trunk_resolution}, which"
                    f" does not reach resolution {self.resolution}"
                )
        if len(self.positions_by_level) != self.branch_levels:
            raise ConfigError(
                f"branch_positions has {len(self.positions_by_level)} resolutions; branches have {self.branch_levels}"
            )
        if len(self.detail_maps) != self.branch_levels + 1:
            raise ConfigError(
                f"detail_maps has {len(self.detail_maps)} resolutions; branches have {self.branch_levels + 1}"
            )

    @property
    def trunk_resolution(self) -> int:
        """Texels a side where the branches part."""
        return self.start_resolution << (len(self.trunk_channels) - 1)

    @property
    def positions_by_level(self) -> tuple[int, ...]:
        """Positional maps of each resolution of a branch."""
        counts = self.branch_positions
        return (counts,) * self.branch_levels if isinstance(counts, int) else counts

    @property
    def branch_levels(self) -> int:
        """Resolutions of a branch."""
        return len(self.branches[CORE_NAMES[0]])

    @property
    def modalities(self) -> tuple[Modality, ...]:
        """Modalities with a branch, in the order of `MODALITIES`."""
        return tuple(modality for modality in MODALITIES if modality.name in self.branches)

    @staticmethod
    def from_stored(values: Mapping[str, Any]) -> "GeneratorConfig":
        """Configuration from a mapping read from JSON, of this or an earlier format.

        :raises TypeError: for unknown fields.
        :raises ConfigError: for sizes that do not fit each other.
        """
        return GeneratorConfig(**GeneratorConfig.current_format(values))

    @staticmethod
    def current_format(values: Mapping[str, Any]) -> dict[str, Any]:
        """Fields of a mapping read from JSON or YAML, of this or an earlier format; TypeError if it is malformed."""
        fields: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value for name, value in values.items()
        }
        branches = {modality: fields.pop(old) for old, modality in _OLD_BRANCHES.items() if old in fields}
        branches |= {name: tuple(channels) for name, channels in fields.pop("branches", {}).items()}
        if branches:  # Exactly these: a file may be older than a modality.
            default = _default_branches()
            fields["branches"] = {name: branches.get(name, default[name]) for name in CORE_NAMES} | branches
        return fields
