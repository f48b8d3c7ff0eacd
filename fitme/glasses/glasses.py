"""Glasses of one person: curves with a width and a colour, and the opacity of the lenses.

As named arrays, for files, stores and pipes: `points` (P, 3), `half_width_m` (P,), `albedo` (P, 3) and `lens_opacity`
(1,), float32. The P points are those of `CURVES` one after the other.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import numpy.typing as npt

from fitme.arrays import Float32Array

RIM_POINTS, BRIDGE_POINTS, TEMPLE_POINTS = 60, 12, 16


@dataclass(frozen=True)
class Curve:
    """Part of a frame along a curve."""

    place: slice
    """Its points among those of the glasses."""
    closed: bool
    """Whether the last point is joined with the first."""
    upright: bool
    """Whether its broad side looks sideways, as that of temples, and not forwards."""


CURVES = (
    Curve(slice(0, 60), True, False),
    Curve(slice(60, 120), True, False),
    Curve(slice(120, 132), False, False),
    Curve(slice(132, 148), False, True),
    Curve(slice(148, 164), False, True),
)
"""Left rim, right rim, bridge, left temple, right temple: the person's left is +x."""
POINTS = 2 * RIM_POINTS + BRIDGE_POINTS + 2 * TEMPLE_POINTS


@dataclass(frozen=True)
class Glasses:
    """Glasses as they are stored, sent and drawn; rigid with the head."""

    points: Float32Array
    """(P, 3) middle lines of the curves, model frame, metres."""
    half_width_m: Float32Array
    """(P,) half of the width across the curve."""
    albedo: Float32Array
    """(P, 3) linear."""
    lens_opacity: Float32Array
    """(1,) share of the light that lenses stop, [0, 1]; 0 of clear ones, which are not drawn."""

    def __post_init__(self) -> None:
        shapes = ((POINTS, 3), (POINTS,), (POINTS, 3), (1,))
        for field, shape in zip(fields(self), shapes, strict=True):
            if (found := getattr(self, field.name).shape) != shape:
                raise ValueError(f"{field.name} of glasses must be {shape}, not {found}")


ARRAY_NAMES = tuple(field.name for field in fields(Glasses))


def glasses_arrays(glasses: Glasses) -> dict[str, Float32Array]:
    """Arrays of glasses by their names."""
    return {name: np.asarray(getattr(glasses, name), np.float32) for name in ARRAY_NAMES}


def glasses_of_arrays(arrays: Mapping[str, npt.NDArray[Any]]) -> Glasses:
    """The glasses of `glasses_arrays`.

    :raises ValueError: if one is missing or of another shape.
    """
    if missing := [name for name in ARRAY_NAMES if name not in arrays]:
        raise ValueError(f"the glasses lack {', '.join(missing)}")
    return Glasses(*(np.asarray(arrays[name], np.float32) for name in ARRAY_NAMES))
