"""What keyframes that rest have said, in sums that cost nothing to keep.

A resting keyframe counts by two summaries: its part of the fused texture's sums, and what its landmarks say of identity
and focal length. So a round's cost does not grow with the keyframes held.
"""

from fitme.fit.solver.marginal_information import MarginalInformation, sum_information
from fitme.fit.texture.delighting import BandSums, ViewAlbedo
from fitme.fit.texture.fusion import FusionSettings, Resting
from fitme.fit.texture.unprojection import TexelTable


class MarginalizedKeyframes:
    """The summaries of resting keyframes, kept up to date by difference."""

    def __init__(self, table: TexelTable, settings: FusionSettings) -> None:
        """`table` and `settings` are those of the fused texture."""
        self._table = table
        self._settings = settings
        self._view_albedos: dict[str, ViewAlbedo] = {}
        self._sharpness: dict[str, float] = {}
        self._shared: dict[str, MarginalInformation] = {}
        self._sums = BandSums.empty(len(table.rows))

    def __contains__(self, key: str) -> bool:
        return key in self._view_albedos

    def marginalize(self, key: str, view: ViewAlbedo, sharpness: float, shared: MarginalInformation) -> None:
        """Let a keyframe rest."""
        self.reactivate(key)
        self._view_albedos[key], self._sharpness[key], self._shared[key] = view, sharpness, shared
        self._sums.add(self._table, view, self._settings.detail_power, self._settings.band_sigma)

    def reactivate(self, key: str) -> None:
        """Take a keyframe out, if it rests."""
        view = self._view_albedos.pop(key, None)
        if view is not None:
            del self._sharpness[key], self._shared[key]
            self._sums.add(self._table, view, self._settings.detail_power, self._settings.band_sigma, sign=-1.0)

    def texture(self) -> Resting | None:
        """What resting keyframes say of the albedo; None if there are none."""
        return Resting(self._sums, max(self._sharpness.values())) if self._view_albedos else None

    def shared(self) -> MarginalInformation | None:
        """What they say of identity and focal length."""
        return sum_information(list(self._shared.values()))
