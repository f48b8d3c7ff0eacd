"""Tracking the candidates: which of them show the one person clearly, and what is said of those that do not."""

from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field

from fitme.arrays import Float32Array
from fitme.errors import NoFaceError
from fitme.ingest.frame import Frame
from fitme.ingest.gather import Candidate
from fitme.ingest.prefetch import Prefetcher
from fitme.shape import MorphableModel
from fitme.track.observation import FaceObservation, FaceStatus, status_of
from fitme.track.tracker import FrameTracker, TrackerSettings

REASONS = {
    FaceStatus.NO_FACE: "no face was found",
    FaceStatus.SEVERAL_FACES: "several faces were found",
    FaceStatus.OTHER_PERSON: "the face is another person's",
}
"""Why a frame of the given status is of no use."""


@dataclass(frozen=True)
class TrackedFrame:
    """A picture with the person's face in it."""

    frame: Frame
    observation: FaceObservation


@dataclass
class Observer:
    """Tracks candidates in their order and remembers why some were of no use."""

    model: MorphableModel
    reference: Float32Array | None = None
    """Identity embedding of the person; taken from the first face if it is not given."""
    skipped: dict[str, str] = field(default_factory=dict)
    """Reason by the name of each picture that was of no use."""

    def tracked_frames(
        self, candidates: Sequence[Candidate], prefetcher: Prefetcher | None = None
    ) -> Iterator[tuple[Candidate, TrackedFrame]]:
        """The candidates that show the person, one at a time. A `prefetcher` may have begun with them already; it is
        closed at the end."""
        with closing(FrameTracker(self.model)) as tracker, prefetcher or Prefetcher(candidates) as begun:
            yield from self._track(tracker, begun)

    def _track(self, tracker: FrameTracker, prefetcher: Prefetcher) -> Iterator[tuple[Candidate, TrackedFrame]]:
        if self.reference is not None:
            tracker.set_reference_embedding(self.reference)
        previous: Candidate | None = None
        for glimpse in prefetcher:
            candidate, frame = glimpse.candidate, glimpse.frame
            if previous is None or candidate.path != previous.path:
                tracker.reset()
                tracker.set_focal(frame.focal or TrackerSettings.focal)
            previous = candidate
            if glimpse.sight is None:
                observation = tracker.track(frame.image, frame.timestamp_s)
            else:
                observation = tracker.analyse(frame.image, glimpse.sight)
            status = status_of(observation)
            if observation is None or status is not FaceStatus.OK:
                self.skipped[frame.source] = REASONS[status]
                continue
            if self.reference is None and observation.embedding is not None:
                self.reference = observation.embedding
                tracker.set_reference_embedding(self.reference)
            yield candidate, TrackedFrame(frame, observation)

    def nobody(self) -> NoFaceError:
        """What to tell the user when no candidate showed the person."""
        reasons = sorted(set(self.skipped.values()))
        if len(self.skipped) == 1:
            ((source, reason),) = self.skipped.items()
            return NoFaceError(f"{source}: {reason}; use a picture that shows one face, well lit and not too small")
        return NoFaceError(
            f"none of the {len(self.skipped)} pictures looked at can be used ({', '.join(reasons)}); "
            "use pictures that show one face, well lit and not too small"
        )
