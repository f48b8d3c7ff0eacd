"""ARKit's 52 expressions: names, order, mirror images, and limits of the eyes' rotation."""

from typing import Final

EXPRESSION_NAMES: Final[tuple[str, ...]] = (
    "browDownLeft", "browDownRight", "browInnerUp", "browOuterUpLeft", "browOuterUpRight",
    "cheekPuff", "cheekSquintLeft", "cheekSquintRight",
    "eyeBlinkLeft", "eyeBlinkRight", "eyeLookDownLeft", "eyeLookDownRight", "eyeLookInLeft", "eyeLookInRight",
    "eyeLookOutLeft", "eyeLookOutRight", "eyeLookUpLeft", "eyeLookUpRight", "eyeSquintLeft", "eyeSquintRight",
    "eyeWideLeft", "eyeWideRight",
    "jawForward", "jawLeft", "jawOpen", "jawRight",
    "mouthClose", "mouthDimpleLeft", "mouthDimpleRight", "mouthFrownLeft", "mouthFrownRight", "mouthFunnel",
    "mouthLeft", "mouthLowerDownLeft", "mouthLowerDownRight", "mouthPressLeft", "mouthPressRight", "mouthPucker",
    "mouthRight", "mouthRollLower", "mouthRollUpper", "mouthShrugLower", "mouthShrugUpper",
    "mouthSmileLeft", "mouthSmileRight", "mouthStretchLeft", "mouthStretchRight",
    "mouthUpperUpLeft", "mouthUpperUpRight",
    "noseSneerLeft", "noseSneerRight", "tongueOut",
)  # fmt: skip
"""Names in the order in which every expression vector of the project is written. Left is the person's own left."""

EXPRESSION_COUNT: Final = len(EXPRESSION_NAMES)

MAX_EYE_YAW_DEG: Final = 30.0
"""Yaw of an eyeball at full activation of eyeLookIn or eyeLookOut, degrees."""

MAX_EYE_PITCH_DEG: Final = 20.0
"""Pitch of an eyeball at full activation of eyeLookUp or eyeLookDown, degrees."""


def expression_index(name: str) -> int:
    """Position of an expression in `EXPRESSION_NAMES`; ValueError if ARKit has none of that name."""
    return EXPRESSION_NAMES.index(name)


def _mirrored_name(name: str) -> str:
    for side, other in (("Left", "Right"), ("Right", "Left")):
        if name.endswith(side):
            return name.removesuffix(side) + other
    return name


MIRRORED_EXPRESSION: Final[tuple[int, ...]] = tuple(expression_index(_mirrored_name(n)) for n in EXPRESSION_NAMES)
"""Index of each expression's mirror image; symmetric expressions are their own."""
