"""What is left to do of a fit, in the order of what shows soonest."""

from dataclasses import dataclass
from enum import Enum, auto

from fitme.fit.inversion.settings import DenseSettings


class Task(Enum):
    """One kind of work."""

    RECALL = auto()
    """Sample the pictures of a resumed fit, whose texture its state does not hold."""
    LANDMARKS = auto()
    """Solve poses, expressions, identity and focal length over landmarks."""
    TEXTURE = auto()
    """Sample the pictures and fuse what they show."""
    TRACKING = auto()
    """Solve for shape over tracked points."""
    ALIGNMENT = auto()
    """Bring renders and pictures into register by flow."""
    COARSE_INVERSION = auto()
    """Fit the generator's latent to the texture."""
    INVERSION = auto()
    """Fit latent and geometry to texture and pictures."""
    TUNING = auto()
    """Fit the generator's weights."""


@dataclass
class WorkQueue:
    """What is left: whether, rounds, or steps."""

    recall: bool = False
    """Before anything else, but not while there is nothing else."""
    landmarks: bool = False
    texture: bool = False
    tracking: int = 0
    alignments: int = 0
    coarse: int = 0
    inversion: int = 0
    tuning: int = 0

    @property
    def next(self) -> Task | None:
        """What to do now; None when nothing is left."""
        left = (
            (Task.LANDMARKS, self.landmarks),
            (Task.TEXTURE, self.texture),
            (Task.TRACKING, self.tracking),
            (Task.ALIGNMENT, self.alignments),
            (Task.COARSE_INVERSION, self.coarse),
            (Task.INVERSION, self.inversion),
            (Task.TUNING, self.tuning),
        )
        work = next((work for work, waits in left if waits), None)
        return Task.RECALL if work is not None and self.recall else work

    @property
    def moves(self) -> bool:
        """Whether pictures are going to be brought into better register before they teach the generator."""
        return self.tracking + self.alignments > 0

    def share_done(self, settings: DenseSettings) -> float:
        """Share of inversion and tuning that is done, [0, 1]."""
        total = settings.inversion_steps + settings.tuning_steps
        return 1.0 - min(total, self.inversion + self.tuning) / total

    def take(self, settings: DenseSettings, *, begun: bool) -> None:
        """A keyframe has come; `begun` tells whether the generator's latent is known already."""
        self.landmarks = True
        self.coarse = 0 if begun else settings.coarse_steps
        self.inversion = max(self.inversion, settings.refresh_steps if begun else settings.inversion_steps)
        self.tuning = max(self.tuning, settings.refresh_steps if begun else settings.tuning_steps)

    def forget_generator(self) -> None:
        """Leave latent and weights as they are."""
        self.inversion = self.tuning = 0
