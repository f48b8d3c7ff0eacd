"""Pictures that a fit does not explain, but studies: each for how its expression changes the skin."""

import numpy as np
import torch

from fitme.arrays import Float32Array
from fitme.fit.keyframe import Keyframe
from fitme.fit.texture.expression_correctives import ExpressionView
from fitme.shape.morphable_model import MorphableModel

MOVED_M = 0.0005
"""Root mean square displacement of the face beyond which what was learnt on one head is learnt again on another. At
1.1 mm a quarter of what studying gains is lost."""


class ExpressionFrames:
    """The pictures held, in order of arrival, and what those that were studied have taught."""

    def __init__(self, model: MorphableModel) -> None:
        self._model = model
        self._pictures: dict[str, Keyframe] = {}
        self._views: dict[str, ExpressionView] = {}
        self._identities: dict[str, Float32Array] = {}
        self._outdated: set[str] = set()

    def __contains__(self, key: str) -> bool:
        return key in self._pictures

    @property
    def pictures(self) -> tuple[Keyframe, ...]:
        """All."""
        return tuple(self._pictures.values())

    @property
    def views(self) -> list[ExpressionView]:
        """What has been learnt."""
        return list(self._views.values())

    @property
    def next(self) -> Keyframe | None:
        """The picture to study now; None when none waits."""
        waiting = (key for key in self._pictures if key not in self._views or key in self._outdated)
        key = next(waiting, None)
        return None if key is None else self._pictures[key]

    def add(self, picture: Keyframe) -> None:
        """One more to study."""
        self._pictures[picture.key] = picture

    def remove(self, key: str) -> None:
        """Forget a picture and what it taught, if it is held."""
        self._pictures.pop(key, None)
        self._views.pop(key, None)
        self._identities.pop(key, None)
        self._outdated.discard(key)

    def learn(self, key: str, view: ExpressionView, identity: Float32Array) -> None:
        """What a picture that is held has taught on the head of an identity (K,)."""
        self._views[key], self._identities[key] = view, identity
        self._outdated.discard(key)

    def move_to(self, identity: Float32Array) -> None:
        """The head is that of an identity (K,) now: what was learnt on much different ones counts until it is learnt
        again."""
        self._outdated = {key for key, other in self._identities.items() if self._moved_m(other, identity) > MOVED_M}

    def _moved_m(self, before: Float32Array, after: Float32Array) -> float:
        """Root mean square displacement of the face between two identities (K,), metres, apart from its place."""
        heads = self._model.neutral(torch.from_numpy(np.stack([before, after])))[:, self._model.face_vertices]
        moved = heads[1] - heads[0]
        return float((moved - moved.mean(0)).square().sum(-1).mean().sqrt())
