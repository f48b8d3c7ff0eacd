"""Teeth of a fit: the upper row at the height that keyframes show, and both rows as images of open mouths show them."""

from collections.abc import Sequence

import numpy as np

from fitme.arrays import Float32Array
from fitme.fit.alignment.aligner import camera_of, head_vertices
from fitme.fit.alignment.teeth_height import MouthFrame, TeethHeight
from fitme.fit.estimate import KeyframeEstimate
from fitme.fit.keyframe import Keyframe
from fitme.fit.keyframes.keyframe_set import KeyframeEntry, KeyframeSet, KeyframeTeeth
from fitme.fit.texture.expression_correctives import ExpressionView
from fitme.fit.texture.teeth import ShownTeeth, TeethView, shown_teeth, teeth_texels, view_of_teeth
from fitme.shape.morphable_model import MorphableModel


class TeethStage:
    """Teeth of a fit; without effect on models that have no parts."""

    def __init__(self, model: MorphableModel, resolution: int) -> None:
        """`resolution` is the side of the avatar's maps, texels."""
        self._model = model
        self._heights = TeethHeight(model)
        self._texels = teeth_texels(model, resolution)
        self.height = 0.0
        """Height of the upper row, standard deviations."""

    def place(self, keyframe_set: KeyframeSet, identity: Float32Array, focal: float) -> None:
        """Put the upper row where the keyframes show its edge on the head of an identity (K,)."""
        entries = [entry for entry in keyframe_set.entries.values() if entry.estimate is not None]
        self.height = self._heights.measured([self._mouth(entry, identity, focal) for entry in entries])

    def placed(self, identity: Float32Array) -> Float32Array:
        """(K + 1,) coefficients of the head of an identity (K,) with its upper row in place."""
        return np.append(identity, np.float32(self.height))

    def view(
        self,
        keyframe: Keyframe,
        estimate: KeyframeEstimate,
        usable: Float32Array,
        identity: Float32Array,
        focal: float,
    ) -> TeethView | None:
        """Teeth in a frame, by a head of an identity (K + 1,); None where its mouth is closed.

        :param usable: (H, W) in [0, 1] weights of pixels.
        """
        if self._texels is None:
            return None
        return view_of_teeth(
            self._model, self._texels, estimate, identity, focal, keyframe.observation.camera, keyframe.image, usable
        )  # fmt: skip

    def of_keyframe(self, entry: KeyframeEntry, identity: Float32Array, focal: float) -> TeethView | None:
        """As `view`, of a solved keyframe; looked for again once its estimate or the head has changed."""
        found = entry.teeth
        if found is None or not found.still_of(entry, identity, focal):
            view = self.view(entry.keyframe, entry.solved, entry.usable, identity, focal)
            found = entry.teeth = KeyframeTeeth(view, entry.solved, entry.usable, identity, focal)
        return found.view

    def shown(self, frames: Sequence[ExpressionView], skin: Float32Array | None) -> ShownTeeth | None:
        """Teeth as frames show them; None where none does.

        :param skin: (3,) linear albedo of the skin; None before images show it.
        """
        views = [(frame.teeth, frame.sharpness) for frame in frames if frame.teeth is not None]
        return None if self._texels is None or skin is None else shown_teeth(self._texels, views, skin)

    def _mouth(self, entry: KeyframeEntry, identity: Float32Array, focal: float) -> MouthFrame:
        observation, estimate = entry.keyframe.observation, entry.solved
        vertices = head_vertices(self._model, estimate, identity).numpy()
        camera = camera_of(observation.camera, focal)
        return MouthFrame(entry.keyframe.image, observation.landmarks, vertices, estimate.pose, camera)
