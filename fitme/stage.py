"""Stages of a fit and of the avatar that it yields."""

from enum import StrEnum


class Stage(StrEnum):
    """Stages in the order in which a fit reaches them. The values are stored in files and sent on the wire."""

    WAITING = "waiting"
    """Nothing is solved for yet: the mean head in grey."""
    LANDMARKS = "landmarks"
    """The person's shape, solved for over landmarks, in grey."""
    SKIN = "skin"
    """The person's skin, fused from the keyframes."""
    INVERSION = "inversion"
    """The generator's latent explains the skin."""
    TUNING = "tuning"
    """The generator's weights are tuned to the person."""

    @property
    def position(self) -> int:
        """Place in the order, 0 for `WAITING`."""
        return list(Stage).index(self)

    def has_reached(self, stage: "Stage") -> bool:
        """Whether this stage is `stage` or a later one."""
        return self.position >= stage.position
