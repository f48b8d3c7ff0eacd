"""Ears of a fit: put in place after each solve for shape, which knows nothing of them."""

from fitme.arrays import Float32Array
from fitme.fit.alignment.aligner import camera_of, head_vertices
from fitme.fit.alignment.ears import EarFrame, EarPlacement
from fitme.fit.keyframes.keyframe_set import KeyframeEntry, KeyframeSet
from fitme.fit.texture.visibility import Visibility
from fitme.shape.morphable_model import MorphableModel

FRAMES = 4
"""Keyframes at most that ears are looked for in, nearest to frontal first."""


class EarStage:
    """Ears of a fit."""

    def __init__(self, model: MorphableModel, visibility: Visibility, enabled: bool) -> None:
        """`enabled`: whether ears are placed at all."""
        self._model = model
        self._visibility = visibility
        self._enabled = enabled
        self._placement = EarPlacement(model)
        self._persons: dict[str, Float32Array] = {}
        self.shown = False
        """Whether keyframes showed the ears when they were last placed."""

    def placed(self, keyframe_set: KeyframeSet, identity: Float32Array, focal: float) -> Float32Array:
        """Identity (K,) of the working head with the ears that the keyframes show."""
        if not self._enabled:
            return identity
        solved = [entry for entry in keyframe_set.entries.values() if entry.estimate is not None]
        nearest = sorted(solved, key=lambda entry: abs(entry.solved.pose.yaw_pitch_roll()[0]))[:FRAMES]
        self._persons = {entry.key: self._person(entry) for entry in nearest}
        frames = [self._frame(entry, identity, focal) for entry in nearest]
        places = self._placement.measured(frames)
        self.shown = places is not None
        return self._placement.moved(identity, places or self._placement.hidden(frames))

    def _person(self, entry: KeyframeEntry) -> Float32Array:
        known = self._persons.get(entry.key)
        return self._visibility.person(entry.keyframe) if known is None else known

    def _frame(self, entry: KeyframeEntry, identity: Float32Array, focal: float) -> EarFrame:
        keyframe, estimate = entry.keyframe, entry.solved
        posed = head_vertices(self._model, estimate, identity).numpy()
        observation = keyframe.observation
        return EarFrame(
            keyframe.image, self._persons[entry.key], observation.landmarks, posed, estimate.pose,
            camera_of(observation.camera, focal),
        )  # fmt: skip
