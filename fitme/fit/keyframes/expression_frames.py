"""Expression frames: frames from which only expression correctives are extracted, identity and reflectance fixed."""

from itertools import islice

import numpy as np
import torch

from fitme.arrays import Float32Array
from fitme.fit.keyframe import Keyframe
from fitme.fit.texture.expression_correctives import ExpressionView
from fitme.shape.morphable_model import MorphableModel

OUTDATED_M = 0.0005
"""Root mean square displacement of the face between two identities beyond which a view is extracted again, metres. At
1.1 mm a quarter of what correctives gain is lost."""


class ExpressionFrames:
    """The expression frames held, in order of arrival, and the views extracted from them so far."""

    def __init__(self, model: MorphableModel) -> None:
        self._model = model
        self._frames: dict[str, Keyframe] = {}
        self._views: dict[str, ExpressionView] = {}
        self._identities: dict[str, Float32Array] = {}
        self._outdated: set[str] = set()

    def __contains__(self, key: str) -> bool:
        return key in self._frames

    @property
    def frames(self) -> tuple[Keyframe, ...]:
        """All, in order of arrival."""
        return tuple(self._frames.values())

    @property
    def views(self) -> list[ExpressionView]:
        """Views extracted so far, outdated ones included."""
        return list(self._views.values())

    def waiting(self, count: int) -> list[Keyframe]:
        """The first frames whose views are missing or outdated, at most `count`."""
        waiting = (frame for key, frame in self._frames.items() if key not in self._views or key in self._outdated)
        return list(islice(waiting, count))

    def add(self, frame: Keyframe) -> None:
        """Hold one more frame; its view is to be extracted."""
        self._frames[frame.key] = frame

    def remove(self, key: str) -> None:
        """Drop a frame and its view, if it is held."""
        self._frames.pop(key, None)
        self._views.pop(key, None)
        self._identities.pop(key, None)
        self._outdated.discard(key)

    def set_view(self, key: str, view: ExpressionView, identity: Float32Array) -> None:
        """Store the view of a frame that is held, extracted with the head of an identity (K,)."""
        self._views[key], self._identities[key] = view, identity
        self._outdated.discard(key)

    def update_identity(self, identity: Float32Array) -> None:
        """The head's identity is (K,) now: views extracted with much different ones are outdated. They remain in use
        until they are extracted again."""
        self._outdated = {key for key, other in self._identities.items() if self._moved_m(other, identity) > OUTDATED_M}

    def _moved_m(self, before: Float32Array, after: Float32Array) -> float:
        """Root mean square displacement of the face between two identities (K,), without its translation, metres."""
        heads = self._model.neutral(torch.from_numpy(np.stack([before, after])))[:, self._model.face_vertices]
        moved = heads[1] - heads[0]  # (F, 3)
        return float((moved - moved.mean(0)).square().sum(-1).mean().sqrt())
