"""Correction of eyelids: a fit that balances all landmarks leaves closed eyes slightly open."""

from typing import Final

import numpy as np

from fitme.arrays import Float32Array
from fitme.shape import landmark_groups
from fitme.shape.expressions import EXPRESSION_NAMES, expression_index

OPEN_ASPECT: Final = 0.2
"""Opening of an eye over its width below which the eye is closing; narrow eyes are open at this value."""
CLOSED_ASPECT: Final = 0.09
"""Opening over width that MediaPipe's landmarks keep when the lids touch."""

_LIDS: Final = {"Left": ((386, 374), (385, 380), (387, 373)), "Right": ((159, 145), (158, 153), (160, 144))}
_MOVERS: Final = {
    side: [
        index
        for index, name in enumerate(EXPRESSION_NAMES)
        if name.startswith("eye") and name.endswith(side) and name != f"eyeBlink{side}"
    ]
    for side in ("Left", "Right")
}
"""Indices of the coefficients, besides the blink, that move the lids of each side."""
_CORNERS: Final = {"Left": landmark_groups.LEFT_EYE_CORNERS, "Right": landmark_groups.RIGHT_EYE_CORNERS}


def eye_closing(landmarks: Float32Array, side: str) -> float:
    """Closure in [0, 1] of the eye of a side ("Left" or "Right", the person's own) from landmarks (478, 2), pixels."""
    return float(np.clip((OPEN_ASPECT - _aspect(landmarks, side)) / (OPEN_ASPECT - CLOSED_ASPECT), 0.0, 1.0))


def open_share(landmarks: Float32Array, side: str) -> float:
    """True opening of an eye over that of its landmarks (478, 2): 1 of an open eye, 0 of a closed one."""
    return (1.0 - eye_closing(landmarks, side)) * max(OPEN_ASPECT / max(_aspect(landmarks, side), CLOSED_ASPECT), 1.0)


def _aspect(landmarks: Float32Array, side: str) -> float:
    """Opening of an eye over its width."""
    upper, lower = (list(points) for points in zip(*_LIDS[side], strict=True))
    inner, outer = _CORNERS[side]
    width = float(np.linalg.norm(landmarks[inner] - landmarks[outer]))
    opening = float(np.linalg.norm(landmarks[upper].mean(0) - landmarks[lower].mean(0)))
    return opening / max(width, 1e-6)


def close_eyes(expression: Float32Array, landmarks: Float32Array) -> Float32Array:
    """Expression (52,) with each eye at least as closed as its lids in landmarks (478, 2), pixels.

    Other coefficients that move the lids of a closing eye (squint, wide, look) fade: summed, the lids would cross.
    """
    closed = expression.copy()
    for side in _LIDS:
        closing = np.float32(eye_closing(landmarks, side))
        blink = expression_index(f"eyeBlink{side}")
        closed[_MOVERS[side]] *= 1.0 - closing
        closed[blink] = max(closed[blink], closing)
    return closed
