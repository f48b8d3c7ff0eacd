"""Tracker of candidates: frames that show the person clearly, and a reason for each of the others."""

from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field

from fitme.arrays import Float32Array
from fitme.errors import NoFaceError
from fitme.geometry import Camera
from fitme.ingest.candidates import Candidate
from fitme.ingest.frame import Frame
from fitme.ingest.majority import majority
from fitme.ingest.prefetch import Prefetcher
from fitme.shape.morphable_model import MorphableModel
from fitme.track.factory import identity_embedder, landmark_backend
from fitme.track.observation import FaceObservation, FaceStatus, status_of
from fitme.track.settings import NetworkSettings, TrackerSettings
from fitme.track.tracker import FrameTracker

REASONS = {
    FaceStatus.NO_FACE: "no face was found",
    FaceStatus.SEVERAL_FACES: "several faces were found",
    FaceStatus.OTHER_PERSON: "the face is another person's",
}
"""Reason, by status, why a frame is skipped."""


@dataclass(frozen=True)
class TrackedFrame:
    """Frame with the observation of the person's face."""

    frame: Frame
    observation: FaceObservation


@dataclass(frozen=True)
class _Vote:
    """Vote of one image on the reference person."""

    embedding: Float32Array
    """(D,) identity embedding, for a frame of a video the latest that was computed."""
    source: str
    accepted: bool
    """Whether the image matched the reference person."""


@dataclass
class PersonTracker:
    """Tracker of candidates in their order, which records the reasons for skipped ones.

    The first face is the reference until `elect` has compared all.
    """

    model: MorphableModel
    reference: Float32Array | None = None
    """(D,) identity embedding of the person; without it, that of the first face, and then of `elect`."""
    networks: NetworkSettings = field(default_factory=NetworkSettings)
    settings: TrackerSettings = field(default_factory=TrackerSettings)
    skipped: dict[str, str] = field(default_factory=dict)
    """Reason, by the name of each skipped image."""
    warnings: list[str] = field(default_factory=list)
    """Warnings to the user about the choice of the person."""
    turned: dict[str, int] = field(default_factory=dict)
    """Counter-clockwise quarter turns, by file, of photos and videos that were not upright."""
    _votes: list[_Vote] = field(default_factory=list)
    _given: bool = field(init=False)

    def __post_init__(self) -> None:
        self._given = self.reference is not None

    def tracked_frames(
        self, candidates: Sequence[Candidate], prefetcher: Prefetcher | None = None
    ) -> Iterator[tuple[Candidate, TrackedFrame]]:
        """Candidates that show the person, with their tracked frames, one at a time.

        :param prefetcher: one that has begun with the candidates already; it is closed at the end.
        """
        tracker = FrameTracker(
            self.model,
            settings=self.settings,
            backend=landmark_backend(self.networks),
            embedder=identity_embedder(self.networks),
        )
        with closing(tracker), prefetcher or Prefetcher(candidates, self.networks) as begun:
            yield from self._track(tracker, begun)

    def elect(self) -> bool:
        """Make the person of most of the images tracked so far the reference, unless one was given.

        Returns whether images of that person were skipped as another's, so that all must be tracked again; recorded
        reasons are then dropped. A draw is added to `warnings`.
        """
        if self._given or not self._votes:
            return False
        # The distance at which the tracker separates an embedding from its reference.
        radius = self.settings.mismatch_factor * identity_embedder(self.networks).same_person_distance
        chosen = majority([vote.embedding for vote in self._votes], radius)
        first = self._votes[min(chosen.members)].source
        if chosen.draw:
            self.warnings.append(
                f"as many images show another person: took the one in {first}; leave out the images of the other"
            )
        changed = any(not self._votes[index].accepted for index in chosen.members)
        self._given = True
        if changed:
            self.reference = chosen.reference
            self.skipped.clear()
        self._votes.clear()
        return changed

    def nobody(self) -> NoFaceError:
        """Error to raise if no candidate shows the person."""
        reasons = sorted(set(self.skipped.values()))
        if len(self.skipped) == 1:
            ((source, reason),) = self.skipped.items()
            return NoFaceError(f"{source}: {reason}; use an image that shows one face, well lit and not too small")
        return NoFaceError(
            f"none of the {len(self.skipped)} images can be used ({', '.join(reasons)}); "
            "use images that show one face, well lit and not too small"
        )

    def _track(self, tracker: FrameTracker, prefetcher: Prefetcher) -> Iterator[tuple[Candidate, TrackedFrame]]:
        """Candidates that show the person, with their tracked frames; records reasons and votes."""
        if self.reference is not None:
            tracker.set_reference_embeddings(self.reference)
        previous: Candidate | None = None
        focal = self.settings.focal
        embedding: Float32Array | None = None
        for prefetched in prefetcher:
            candidate, frame = prefetched.candidate, prefetched.frame
            if frame.quarter_turns:
                self.turned[candidate.path.name] = frame.quarter_turns
            if previous is None or candidate.path != previous.path:
                tracker.reset()
                focal = frame.focal or self.settings.focal
                tracker.set_focal(focal)
                embedding = None
            previous = candidate
            if prefetched.faces is None:
                observation = tracker.track(frame.image, frame.timestamp_s)
            else:
                observation = tracker.analyse(frame.image, prefetched.faces, _camera(frame, focal))
            status = status_of(observation)
            # Of a video the tracker embeds the face periodically, and whenever it may be another person's.
            embedding = None if observation is None else _latest(observation.embedding, embedding)
            if embedding is not None and status in (FaceStatus.OK, FaceStatus.OTHER_PERSON) and not self._given:
                self._votes.append(_Vote(embedding, frame.source, status is FaceStatus.OK))
            if observation is None or status is not FaceStatus.OK:
                self.skipped[frame.source] = REASONS[status]
                continue
            if self.reference is None and observation.embedding is not None:
                self.reference = observation.embedding
                tracker.set_reference_embeddings(self.reference)
            yield candidate, TrackedFrame(frame, observation)
        self.skipped |= prefetcher.unreadable


def _camera(frame: Frame, focal: float) -> Camera | None:
    """Camera of the part of a photo, for a focal length over the longer side of the whole; None for a whole photo."""
    window = frame.window
    if window is None:
        return None
    height, width = frame.image.shape[:2]
    longer_px = max(window.whole_width_px, window.whole_height_px)
    center = window.whole_width_px / 2.0 - window.left_px, window.whole_height_px / 2.0 - window.top_px
    return Camera(focal * longer_px, *center, width, height, longer_px)


def _latest(new: Float32Array | None, before: Float32Array | None) -> Float32Array | None:
    """The new embedding if there is one, otherwise the previous one."""
    return before if new is None else new
