"""The fit of one session in the fit process: which changes of its frames wait, and when the fitter takes them."""

import logging
import math
import time
from collections.abc import Collection
from dataclasses import dataclass, field

import numpy as np

from fitme.arrays import Float32Array, Float64Array
from fitme.errors import FitmeError
from fitme.fit.fitter import IncrementalFitter
from fitme.fit.keyframe import Keyframe
from fitme.glasses.glasses import Glasses
from fitme.hair.hair import Hair
from fitme.reflectance.expression_correctives import AlbedoCorrectives
from fitme.sampling import farthest_points
from fitme.stage import Stage
from stream.engine.avatar_pieces import AvatarEncoder
from stream.engine.session_storage import SessionStorage
from stream.protocol.events import ProgressEvent
from stream.settings import FitSettings

logger = logging.getLogger(__name__)

FIT_ERRORS = (FitmeError, RuntimeError, ValueError, ArithmeticError, LookupError, np.linalg.LinAlgError)
"""Errors of one session's fit that must not end the other sessions."""
FRAMES_PER_UPDATE = 4
"""Expression frames whose correctives are extracted before the avatar is updated with them, unless no more wait:
blending and sending an update takes nearly as long as one extraction."""


@dataclass
class SessionFit:
    """One session in the fit process."""

    id: str
    storage: SessionStorage
    fitter: IncrementalFitter
    encoder: AvatarEncoder
    """Of the pieces for the pages."""
    failed: bool = False
    """The fit raised an error; it goes on with the next keyframe."""
    changes: list[Keyframe | str] = field(default_factory=list)
    """New keyframes and keys of keyframes to remove, in order of arrival, until the fitter takes them."""
    first_keyframe_s: float | None = None
    """When the first keyframe came; `time.monotonic()`, as all times here."""
    adopted_s: float = -math.inf
    """When the fitter last took changes."""
    collected: bool = False
    """The fitter has taken the keyframes of the first seconds."""
    sent_correctives: AlbedoCorrectives | None = None
    """The correctives that the live process has."""
    sent_hair: Hair | None = None
    """What the live process has."""
    sent_glasses: Glasses | None = None
    """The glasses that the live process has."""
    sent_light: Float32Array | None = None
    """(9, 3) illumination that the pages have."""
    extracted: int = 0
    """Expression frames whose correctives were extracted since the last update of the avatar."""
    stored: bool = False
    """The newest round is on disk, as last reported to the pages."""
    progress: ProgressEvent | None = None
    """As last reported to the pages."""
    storage_failed: bool = False
    """The last attempt to store failed, or was put off after one that did."""

    def adopts(self, settings: FitSettings) -> bool:
        """Whether the fitter is to take the waiting changes now."""
        now_s = time.monotonic()
        if not self.changes:
            return False
        if not self.fitter.keyframes or self.fitter.converged or self.failed:
            return True
        # Each new keyframe takes the fit some steps back: the first full fit takes only those of the first seconds.
        if not self.collected and self.first_keyframe_s is not None:
            return now_s - self.first_keyframe_s >= settings.collect_s
        return self.fitter.stage is Stage.TUNING and now_s - self.adopted_s >= settings.adopt_period_s

    def remove(self, key: str) -> None:
        """Remove a keyframe: now if it is still waiting, with the next changes if the fitter has it."""
        waiting = [change for change in self.changes if isinstance(change, Keyframe) and change.key == key]
        if waiting:
            self.changes = [change for change in self.changes if change is not waiting[0]]
        else:
            self.changes.append(key)

    def discard(self, keys: Collection[str]) -> bool:
        """Remove keyframes and expression frames at once; whether the fitter had one of them."""
        self.changes = [
            change for change in self.changes if (change.key if isinstance(change, Keyframe) else change) not in keys
        ]
        fitter = self.fitter
        keyframes = {frame.key for frame in fitter.keyframes} & set(keys)
        expression_frames = {frame.key for frame in fitter.expression_frames} & set(keys)
        for key in keyframes:
            fitter.remove_keyframe(key)
        for key in expression_frames:
            fitter.remove_expression_frame(key)
        return bool(keyframes or expression_frames)

    def adopt(self, count: int) -> None:
        """Give the fitter up to `count` new keyframes, farthest directions first; the others go on waiting."""
        for key in [change for change in self.changes if isinstance(change, str)]:
            self.fitter.remove_keyframe(key)
        waiting = [change for change in self.changes if isinstance(change, Keyframe)]
        known, offered = (
            np.array([_direction(keyframe) for keyframe in keyframes]).reshape(-1, 2)
            for keyframes in (self.fitter.keyframes, waiting)
        )
        nearest = np.abs(offered[:, None] - known).sum(-1).min(1, initial=math.inf)  # (W,)
        chosen = farthest_points(lambda index: np.abs(offered - offered[index]).sum(-1), nearest, count)
        for index in chosen:
            self.fitter.add_keyframe(waiting[index])
        self.changes = [keyframe for index, keyframe in enumerate(waiting) if index not in chosen]
        self.adopted_s, self.failed = time.monotonic(), False
        self.collected = self.first_keyframe_s is not None
        if self.first_keyframe_s is None:
            self.first_keyframe_s = self.adopted_s

    @property
    def has_work(self) -> bool:
        """Whether there is something to do before the next message."""
        if self.changes:
            return True
        if self.failed or not self.fitter.keyframes:
            return False
        return self.extracting_correctives or not self.fitter.converged

    @property
    def extracting_correctives(self) -> bool:
        """Whether the correctives of expression frames are all that is left to do."""
        return not self.changes and self.fitter.correctives_pending

    def extract_correctives(self) -> bool:
        """Extract the correctives of a few expression frames; whether the avatar has been updated with them."""
        try:
            self.extracted += self.fitter.extract_correctives()
        except FIT_ERRORS:
            logger.exception("an expression frame cannot be used and is left out")
            self.extracted += 1
        if self.extracted < FRAMES_PER_UPDATE and self.extracting_correctives:
            return False
        self.extracted = 0
        self.fitter.apply_correctives()
        return True


def _direction(keyframe: Keyframe) -> Float64Array:
    """Yaw and pitch (2,) of the head, radians."""
    return np.array(keyframe.observation.pose.yaw_pitch_roll()[:2])
