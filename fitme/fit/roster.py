"""Which keyframes a round works on: all new ones and a few old ones; the others rest in what they have said.

A resting keyframe counts by two summaries: its part of the fused texture's sums, and what its landmarks say of identity
and focal length. Neither costs anything while it rests, so a round's cost does not grow with the keyframes held.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from fitme.fit.delit import BandSums, DelitView
from fitme.fit.fusion import FusionSettings, Resting
from fitme.fit.gauss_newton import SharedEvidence, together
from fitme.fit.unprojection import TexelTable


def companions(
    directions: Mapping[str, npt.NDArray[np.float64]],
    losses: Mapping[str, float],
    new: Sequence[str],
    count: int,
) -> list[str]:
    """At most `count` old keyframes to go with `new` ones, as different from these and from each other as can be; of
    equally different ones those that are explained worst.

    `directions` holds yaw and pitch (2,) of every head in radians, `losses` the error of the old keyframes.
    """
    chosen = list(new)
    old = [key for key in directions if key not in chosen]
    typical = float(np.median([losses[key] for key in old])) if old else 1.0

    def worth(key: str) -> float:
        nearest = min((float(np.abs(directions[key] - directions[other]).sum()) for other in chosen), default=1.0)
        return nearest * losses[key] / max(typical, 1e-6)

    for _ in range(min(count, len(old))):
        chosen.append(max((key for key in old if key not in chosen), key=worth))
    return chosen[len(new) :]


class Rest:
    """The summaries of resting keyframes, kept up to date by difference."""

    def __init__(self, table: TexelTable, settings: FusionSettings) -> None:
        """`table` and `settings` are those of the fused texture."""
        self._table = table
        self._settings = settings
        self._delit: dict[str, DelitView] = {}
        self._sharpness: dict[str, float] = {}
        self._shared: dict[str, SharedEvidence] = {}
        self._sums = BandSums.empty(len(table.rows))

    def __contains__(self, key: str) -> bool:
        return key in self._delit

    def lay(self, key: str, view: DelitView, sharpness: float, shared: SharedEvidence) -> None:
        """Let a keyframe rest."""
        self.wake(key)
        self._delit[key], self._sharpness[key], self._shared[key] = view, sharpness, shared
        self._sums.add(self._table, view, self._settings.detail_power, self._settings.band_sigma)

    def wake(self, key: str) -> None:
        """Take a keyframe out, if it rests."""
        view = self._delit.pop(key, None)
        if view is not None:
            del self._sharpness[key], self._shared[key]
            self._sums.add(self._table, view, self._settings.detail_power, self._settings.band_sigma, sign=-1.0)

    def texture(self) -> Resting | None:
        """What resting keyframes say of the albedo; None if there are none."""
        return Resting(self._sums, max(self._sharpness.values())) if self._delit else None

    def shared(self) -> SharedEvidence | None:
        """What they say of identity and focal length."""
        return together(list(self._shared.values()))
