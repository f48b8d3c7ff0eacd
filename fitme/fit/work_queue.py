"""State machine of a fit: the only place where what is left to do is decided.

The state counts what is left of each `Task`: 1 or 0 for tasks that are done at once, rounds of tracking and alignment,
steps of inversion and tuning. The next task is the first in the order of `Task` whose count is not 0, so what shows
soonest is done first. `RECALL` precedes all others, but is never done for its own sake: without other tasks the fit has
converged, whether or not `RECALL` is pending.

===================== ==================================================================================
event                 transition
===================== ==================================================================================
`enqueue_keyframe`    LANDMARKS = HAIR = 1; INVERSION and TUNING >= their steps, `refresh_steps` once the latent is
                      known; COARSE_INVERSION = its steps, 0 once the latent is known
`keyframe_removed`    TEXTURE = 1 if keyframes with estimates are left, 0 otherwise
`outlier_removed`     LANDMARKS = 1; INVERSION = TUNING = 0 unless the generator is to be refined
`enqueue_recall`      RECALL = 1
`plan_registration`   TRACKING = its rounds if the heads turn far enough, 0 otherwise; ALIGNMENT = 1 after tracking,
                      its rounds otherwise
complete LANDMARKS    LANDMARKS = 0; TEXTURE = 1
complete TRACKING     TRACKING -= 1; TEXTURE = 1
complete ALIGNMENT    ALIGNMENT -= 1; TEXTURE = 1
complete TEXTURE      TEXTURE = 0
complete HAIR         HAIR = 0
complete an inversion its steps -= those of a slice; ALIGNMENT = 1 once INVERSION reaches 0, for geometry has moved
complete TUNING       TUNING -= steps of a slice
complete RECALL       RECALL = 0
===================== ==================================================================================

A fresh fit of several keyframes thus goes LANDMARKS, TEXTURE, (TRACKING, TEXTURE)*, (ALIGNMENT, TEXTURE)*, HAIR,
COARSE_INVERSION*, INVERSION*, ALIGNMENT, TEXTURE, TUNING*, and a keyframe that comes in between starts again from
LANDMARKS with what is left of the rest.
"""

from collections.abc import Mapping
from enum import StrEnum

from fitme.fit.settings import FitSettings


class Task(StrEnum):
    """One kind of work, in order of precedence. The values are stored."""

    RECALL = "recall"
    """Sample the keyframes of a resumed fit, whose texture its state does not hold."""
    LANDMARKS = "landmarks"
    """Solve for poses, expressions, identity and focal length over landmarks."""
    TEXTURE = "texture"
    """Sample the keyframes and fuse their albedo."""
    TRACKING = "tracking"
    """Solve for shape over tracked points."""
    ALIGNMENT = "alignment"
    """Register renders and images by optical flow."""
    HAIR = "hair"
    """Fit the hair to outlines and colours of the keyframes."""
    COARSE_INVERSION = "coarse_inversion"
    """Fit the generator's latent to the texture."""
    INVERSION = "inversion"
    """Fit latent and geometry to texture and images."""
    TUNING = "tuning"
    """Fit the generator's weights."""


STEPS_PER_SLICE = {Task.COARSE_INVERSION: 10, Task.INVERSION: 3, Task.TUNING: 3}
"""Steps between two looks at the clock."""


class WorkQueue:
    """Counts of what is left to do, by task."""

    def __init__(self, settings: FitSettings, pending: Mapping[Task, int] | None = None) -> None:
        """`pending` continues another queue; empty by default."""
        self._settings = settings
        self._pending = dict.fromkeys(Task, 0) | dict(pending or {})

    @property
    def pending(self) -> dict[Task, int]:
        """Counts of all tasks, for a store."""
        return dict(self._pending)

    @property
    def next(self) -> Task | None:
        """The task to run now; None when the fit has converged."""
        task = next((task for task, count in self._pending.items() if count and task is not Task.RECALL), None)
        return Task.RECALL if task is not None and self.recall_pending else task

    @property
    def recall_pending(self) -> bool:
        """Whether a resumed fit's texture is still missing."""
        return self._pending[Task.RECALL] > 0

    @property
    def registration_pending(self) -> bool:
        """Whether tracking or alignment will improve registration before the generator is fitted."""
        return self._pending[Task.TRACKING] + self._pending[Task.ALIGNMENT] > 0

    @property
    def tracking_pending(self) -> bool:
        """Whether rounds of tracking are left."""
        return self._pending[Task.TRACKING] > 0

    @property
    def tuning_pending(self) -> bool:
        """Whether steps of tuning are left."""
        return self._pending[Task.TUNING] > 0

    @property
    def share_done(self) -> float:
        """Share of the steps of inversion and tuning that is done, [0, 1]."""
        total = self._settings.inversion.inversion_steps + self._settings.inversion.tuning_steps
        return 1.0 - min(total, self._pending[Task.INVERSION] + self._pending[Task.TUNING]) / total

    def slice_of(self, task: Task) -> int:
        """Steps of inversion or tuning in the next slice of a task; 1 for every other task."""
        return min(STEPS_PER_SLICE.get(task, 1), self._pending[task])

    def enqueue_keyframe(self, *, inverted: bool) -> None:
        """A keyframe was added; `inverted` if the generator's latent is known."""
        inversion, pending = self._settings.inversion, self._pending
        pending[Task.LANDMARKS] = pending[Task.HAIR] = 1
        pending[Task.COARSE_INVERSION] = 0 if inverted else inversion.coarse_steps
        for task, steps in ((Task.INVERSION, inversion.inversion_steps), (Task.TUNING, inversion.tuning_steps)):
            pending[task] = max(pending[task], inversion.refresh_steps if inverted else steps)

    def enqueue_recall(self) -> None:
        """The fit was resumed from a state."""
        self._pending[Task.RECALL] = 1

    def keyframe_removed(self, *, fuse: bool) -> None:
        """A keyframe was removed; `fuse` if the texture of others is to be fused without it."""
        self._pending[Task.TEXTURE] = int(fuse)

    def outlier_removed(self, *, refine_generator: bool) -> None:
        """A keyframe that had contributed to the geometry was rejected: solve again without it."""
        self._pending[Task.LANDMARKS] = 1
        if not refine_generator:
            self._pending[Task.INVERSION] = self._pending[Task.TUNING] = 0

    def plan_registration(self, *, warm: bool, trackable: bool) -> None:
        """Set the rounds that follow a solve over landmarks.

        :param warm: the fit has converged before: fewer rounds are needed.
        :param trackable: the heads turn far enough for tracked points to determine shape.
        """
        settings = self._settings
        tracking = settings.warm_rounds if warm else settings.alignment.tracks.rounds
        self._pending[Task.TRACKING] = tracking if trackable else 0
        # Expressions are settled last, by flow on the shape that tracks determined: once is enough then.
        alignment = settings.warm_rounds if warm else settings.alignment_rounds
        self._pending[Task.ALIGNMENT] = 1 if self.tracking_pending else alignment

    def complete(self, task: Task) -> None:
        """A task was run, or the slice of it that `slice_of` gave."""
        self._pending[task] -= self.slice_of(task)
        if task in (Task.LANDMARKS, Task.TRACKING, Task.ALIGNMENT):
            # Geometry has moved: the keyframes are to be sampled where they now lie.
            self._pending[Task.TEXTURE] = 1
        elif task is Task.INVERSION and not self._pending[Task.INVERSION]:
            # Geometry has moved with the latent: register renders and images again.
            self._pending[Task.ALIGNMENT] = 1
