"""Running sums of marginalised keyframes: constant cost a round.

A marginalised keyframe is represented by its terms in the sums of the fused texture and by the marginal information of
its landmarks on identity and focal length, so a round's cost does not grow with the number of keyframes held.
"""

from fitme.fit.solver.marginal_information import MarginalInformation, sum_information
from fitme.fit.texture.delighting import BandSums, ViewAlbedo
from fitme.fit.texture.fusion import MarginalizedTexture
from fitme.fit.texture.settings import FusionSettings
from fitme.fit.texture.unprojection import TexelTable


class MarginalizedKeyframes:
    """Sums over the marginalised keyframes, updated by adding and subtracting single ones."""

    def __init__(self, table: TexelTable, settings: FusionSettings) -> None:
        """`table` and `settings` are those of the fused texture."""
        self._table = table
        self._settings = settings
        self._view_albedos: dict[str, ViewAlbedo] = {}
        self._sharpness: dict[str, float] = {}
        self._information: dict[str, MarginalInformation] = {}
        self._sums = BandSums.empty(len(table.rows))

    def __contains__(self, key: str) -> bool:
        return key in self._view_albedos

    def marginalize(self, key: str, view: ViewAlbedo, sharpness: float, information: MarginalInformation) -> None:
        """Add a keyframe's de-lit albedo and the marginal information of its landmarks to the sums."""
        self.reactivate(key)
        self._view_albedos[key], self._sharpness[key], self._information[key] = view, sharpness, information
        self._sums.add(self._table, view, self._settings.detail_power, self._settings.band_sigma)

    def reactivate(self, key: str) -> None:
        """Subtract a keyframe from the sums, if it is marginalised."""
        view = self._view_albedos.pop(key, None)
        if view is not None:
            del self._sharpness[key], self._information[key]
            self._sums.add(self._table, view, self._settings.detail_power, self._settings.band_sigma, sign=-1.0)

    def texture(self) -> MarginalizedTexture | None:
        """Sums of the albedo of marginalised keyframes; None without any."""
        return MarginalizedTexture(self._sums, max(self._sharpness.values())) if self._view_albedos else None

    def information(self) -> MarginalInformation | None:
        """Marginal information of their landmarks on identity and focal length; None without any."""
        return sum_information(list(self._information.values()))
