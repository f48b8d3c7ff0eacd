"""VRM 1.0: humanoid bones, expressions, gaze and licence of an avatar with a body (`VRMC_vrm`).

Specification: https://github.com/vrm-c/vrm-specification/tree/master/specification/VRMC_vrm-1.0
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from fitme.export.gltf.glb import Json
from fitme.shape.expressions import EXPRESSION_NAMES, MAX_EYE_PITCH_DEG, MAX_EYE_YAW_DEG

EXTENSION = "VRMC_vrm"
LICENSE_URL = "https://vrm.dev/licenses/1.0/"

_FINGERS = {"Index": "Index", "Middle": "Middle", "Ring": "Ring", "Pinky": "Little"}
_PHALANGES = ("Proximal", "Intermediate", "Distal")
HUMAN_BONES = {
    "hips": "Hips", "spine": "Spine", "chest": "Spine1", "upperChest": "Spine2", "neck": "Neck", "head": "Head",
    "leftEye": "LeftEye", "rightEye": "RightEye",
} | {
    f"{side.lower()}{bone}": f"{side}{joint}"
    for side in ("Left", "Right")
    for bone, joint in (
        {
            "UpperLeg": "UpLeg", "LowerLeg": "Leg", "Foot": "Foot", "Toes": "ToeBase", "Shoulder": "Shoulder",
            "UpperArm": "Arm", "LowerArm": "ForeArm", "Hand": "Hand", "ThumbMetacarpal": "HandThumb1",
            "ThumbProximal": "HandThumb2", "ThumbDistal": "HandThumb3",
        }
        | {
            f"{vrm}{phalanx}": f"Hand{finger}{number}"
            for finger, vrm in _FINGERS.items()
            for number, phalanx in enumerate(_PHALANGES, 1)
        }
    ).items()
}  # fmt: skip
"""Joint of each of VRM's human bones."""

_BOTH = ("Left", "Right")


def _both(name: str, weight: float = 1.0) -> dict[str, float]:
    return {name + side: weight for side in _BOTH}


PRESETS: dict[str, dict[str, float]] = {
    "happy": _both("mouthSmile", 0.9) | _both("cheekSquint", 0.6) | _both("mouthDimple", 0.2),
    "angry": _both("browDown") | _both("noseSneer", 0.5) | _both("mouthPress", 0.5) | _both("eyeSquint", 0.3),
    "sad": {"browInnerUp": 0.9} | _both("mouthFrown", 0.7) | _both("eyeSquint", 0.2),
    "relaxed": _both("mouthSmile", 0.35) | _both("eyeBlink", 0.15),
    "surprised": {"browInnerUp": 0.7, "jawOpen": 0.35} | _both("browOuterUp", 0.8) | _both("eyeWide", 0.8),
    "aa": {"viseme_aa": 1.0},
    "ih": {"viseme_I": 1.0},
    "ou": {"viseme_U": 1.0},
    "ee": {"viseme_E": 1.0},
    "oh": {"viseme_O": 1.0},
    "blink": _both("eyeBlink"),
    "blinkLeft": {"eyeBlinkLeft": 1.0},
    "blinkRight": {"eyeBlinkRight": 1.0},
    "lookUp": _both("eyeLookUp"),
    "lookDown": _both("eyeLookDown"),
    "lookLeft": {"eyeLookOutLeft": 1.0, "eyeLookInRight": 1.0},
    "lookRight": {"eyeLookInLeft": 1.0, "eyeLookOutRight": 1.0},
    "neutral": {},
}
"""Blendshapes of VRM's expressions. Faces of feelings are made of ARKit's."""
_BLINKING = ("happy", "relaxed")
"""Feelings that narrow the eyes by themselves."""


@dataclass(frozen=True)
class VrmMeta:
    """What a VRM states about its author and its use: by default it is for its author alone."""

    name: str
    authors: tuple[str, ...] = ("unknown",)
    avatar_permission: str = "onlyAuthor"
    """`onlyAuthor`, `onlySeparatelyLicensedPerson` or `everyone`."""
    commercial_usage: str = "personalNonProfit"
    """`personalNonProfit`, `personalProfit` or `corporation`."""
    modification: str = "prohibited"
    """`prohibited`, `allowModification` or `allowModificationRedistribution`."""


def vrm_extension(
    meta: VrmMeta,
    joints: Mapping[str, int],
    blendshapes: Mapping[int, Sequence[str]],
    eyes_m: tuple[float, float, float],
) -> Json:
    """Content of the extension.

    :param joints: node of each joint.
    :param blendshapes: names of the blendshapes of each node that has some.
    :param eyes_m: from the head's joint to the middle of the eyes, in the joint's axes, metres.
    """
    expressions = {name: _expression(name, weights, blendshapes) for name, weights in PRESETS.items()}
    custom = {name: _expression(name, {name: 1.0}, blendshapes) for name in EXPRESSION_NAMES}
    yaw = {"inputMaxValue": MAX_EYE_YAW_DEG, "outputScale": MAX_EYE_YAW_DEG}
    pitch = {"inputMaxValue": MAX_EYE_PITCH_DEG, "outputScale": MAX_EYE_PITCH_DEG}
    return {
        "specVersion": "1.0",
        "meta": {
            "name": meta.name,
            "version": "1",
            "authors": list(meta.authors),
            "licenseUrl": LICENSE_URL,
            "avatarPermission": meta.avatar_permission,
            "allowExcessivelyViolentUsage": False,
            "allowExcessivelySexualUsage": False,
            "commercialUsage": meta.commercial_usage,
            "allowPoliticalOrReligiousUsage": False,
            "allowAntisocialOrHateUsage": False,
            "creditNotation": "required",
            "allowRedistribution": False,
            "modification": meta.modification,
        },
        "humanoid": {"humanBones": {bone: {"node": joints[joint]} for bone, joint in HUMAN_BONES.items()}},
        "lookAt": {
            "offsetFromHeadBone": list(eyes_m),
            "type": "bone",
            "rangeMapHorizontalInner": yaw,
            "rangeMapHorizontalOuter": yaw,
            "rangeMapVerticalDown": pitch,
            "rangeMapVerticalUp": pitch,
        },
        "expressions": {"preset": expressions, "custom": custom},
    }


def _expression(name: str, weights: Mapping[str, float], blendshapes: Mapping[int, Sequence[str]]) -> Json:
    binds = [
        {"node": node, "index": list(names).index(blendshape), "weight": weight}
        for node, names in blendshapes.items()
        for blendshape, weight in weights.items()
        if blendshape in names
    ]
    blink = "blend" if name in _BLINKING else "none"
    return {
        "morphTargetBinds": binds,
        "isBinary": False,
        "overrideBlink": blink,
        "overrideLookAt": "none",
        "overrideMouth": "none",
    }
