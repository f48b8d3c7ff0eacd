"""The frames of a session that its fit gets: keyframes and expression frames, all of the same person.

The tracker computes the identity of a face a few times a second at most. So that no face gets into another person's
avatar, the identity of each frame that is to be kept is computed first and checked by a stricter limit than the
tracker's; and when a change of person is noticed, the frames that were kept shortly before are discarded.
"""

from collections.abc import Callable

from fitme.arrays import UInt8Array
from fitme.shape.morphable_model import MorphableModel
from fitme.track.observation import FaceObservation, FaceStatus
from fitme.track.tracker import FrameTracker
from stream.engine.expression_selection import ExpressionSelector
from stream.engine.keyframe_selection import KeyframeSelector
from stream.engine.messages import (
    AddExpressionFrame,
    AddKeyframe,
    DiscardFrames,
    FitOpened,
    RemoveExpressionFrame,
    RemoveKeyframe,
)
from stream.protocol.events import CoverageEvent
from stream.protocol.protocol import PromptCode
from stream.settings import ServeSettings

KEEP_DISTANCE = 0.8
"""Identity distance from the nearest keyframe, in units of the embedder's same-person distance, up to which a frame is
kept. Measured with dlib's network, at most: 0.70 between new frames and the keyframes before them (305 frames of six
clips, yaw -27 to 9 degrees), 0.73 between a neutral and a smiling photograph (77 people), 0.62 in the sample clip of a
synthetic head that turns by 41 degrees to both sides. Renders of seven fitted avatars at a yaw of 40 degrees are as far
as 0.87 from the frontal one, but at most 0.68 from the one at 20 degrees: hence the nearest keyframe. Of 120 other
people, no frame comes nearer than 0.80 to the keyframes of one of the six clips.
"""
DISCARDED_S = 1.5
"""Frames kept within this time before a change of person is noticed are discarded: the tracker notices it in 1 s."""


class FrameSelection:
    """Chooses frames from the stream of one session and sends them to its fit."""

    def __init__(
        self,
        session: str,
        model: MorphableModel,
        tracker: FrameTracker,
        settings: ServeSettings,
        to_fit: Callable[[object], None],
    ) -> None:
        """
        :param tracker: of the session's camera frames; its reference embeddings are the keyframes'.
        :param settings: limits of the selection of keyframes and of expression frames.
        """
        self._session = session
        self._model = model
        self._tracker = tracker
        self._settings = settings
        self._to_fit = to_fit
        self._keyframes = KeyframeSelector(settings.keyframes)
        self._expressions = self._expression_selector()
        self._kept_s: dict[str, float] = {}
        self._other_person = False

    def restore(self, opened: FitOpened) -> None:
        """Start again from the frames that a fit holds."""
        self._keyframes = KeyframeSelector(self._settings.keyframes)
        self._expressions = self._expression_selector()
        self._kept_s.clear()
        for keyframe in opened.keyframes:
            self._keyframes.restore(keyframe)
        for frame in opened.expression_frames:
            self._expressions.restore(frame)
        self._update_reference()

    def _expression_selector(self) -> ExpressionSelector:
        settings = self._settings
        return ExpressionSelector(self._model, settings.fit.expression_frames, settings.expressions, settings.keyframes)

    def consider(self, image: UInt8Array, observation: FaceObservation, timestamp_s: float) -> bool:
        """Send a frame (H, W, 3) to the fit if it is worth it; whether the keyframes have changed.

        :param observation: of the frame that was tracked last.
        :param timestamp_s: time of capture, seconds, growing.
        """
        # The change itself discards: while the other person stays, nothing is kept.
        changed = observation.status is FaceStatus.OTHER_PERSON and not self._other_person
        self._other_person = observation.status is FaceStatus.OTHER_PERSON
        if changed and self._discard_since(timestamp_s - DISCARDED_S):
            return True

        def identify(candidate: FaceObservation) -> FaceObservation | None:
            return self._identify(image, candidate)

        keyframe, dropped = self._keyframes.offer(image, observation, timestamp_s, identify)
        for key in dropped:
            self._to_fit(RemoveKeyframe(self._session, key))
        if keyframe is not None:
            self._kept_s[keyframe.key] = timestamp_s
            self._to_fit(AddKeyframe(self._session, keyframe))
            self._update_reference()
            return True
        frame, dropped = self._expressions.offer(image, observation, timestamp_s, self._keyframes.keyframes, identify)
        for key in dropped:
            self._to_fit(RemoveExpressionFrame(self._session, key))
        if frame is not None:
            self._kept_s[frame.key] = timestamp_s
            self._to_fit(AddExpressionFrame(self._session, frame))
        return False

    def coverage(self) -> CoverageEvent:
        """Directions that the keyframes show, and those that are missing."""
        return self._keyframes.coverage()

    def prompt(self) -> PromptCode | None:
        """Prompt for the person now."""
        return self._keyframes.prompt()

    def _identify(self, image: UInt8Array, observation: FaceObservation) -> FaceObservation | None:
        """The observation with the frame's own embedding; None if that is too far from all keyframes'."""
        identified = self._tracker.identify(image, observation)
        assert identified.embedding is not None
        return identified if self._tracker.identity_distance(identified.embedding) <= KEEP_DISTANCE else None

    def _discard_since(self, time_s: float) -> bool:
        """Remove the frames kept since a time from the selection, the fit and the disk; whether there were some."""
        keys = tuple(key for key, kept_s in self._kept_s.items() if kept_s >= time_s)
        self._kept_s.clear()
        if not keys:
            return False
        self._keyframes.discard(keys)
        self._expressions.discard(keys)
        self._to_fit(DiscardFrames(self._session, keys))
        self._update_reference()
        return True

    def _update_reference(self) -> None:
        """Expect the person of the keyframes; if none is left, the one who was expected before."""
        embeddings = [keyframe.observation.embedding for keyframe in self._keyframes.keyframes]
        if known := [embedding for embedding in embeddings if embedding is not None]:
            self._tracker.set_reference_embeddings(*known)
