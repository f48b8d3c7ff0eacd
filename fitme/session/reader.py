"""Reading a fit's state from the contents of a session; `fitme.session.store` has the layout."""

from collections.abc import Mapping

import numpy as np

from fitme.fit.estimate import KeyframeEstimate, KeyLight
from fitme.fit.keyframe import Keyframe
from fitme.fit.solver.marginal_information import MarginalInformation
from fitme.fit.state import FitState, RoundReport
from fitme.fit.work_queue import Task
from fitme.geometry import Camera, HeadPose
from fitme.glasses.glasses import Glasses, glasses_of_arrays
from fitme.hair.hair import Hair, hair_of_arrays
from fitme.reflectance.map_arrays import MapArrays
from fitme.reflectance.modality import CORE_NAMES, MODALITIES
from fitme.session.contents import Array, Contents
from fitme.session.writer import FIT_STAGES
from fitme.stage import Stage
from fitme.track.observation import FaceObservation, FaceStatus, FrameQuality


def read_state(contents: Contents) -> FitState:
    """The state in a session's contents. Raises KeyError, ValueError, TypeError or IndexError where they lack parts."""
    arrays, attributes = contents.arrays, contents.attributes[""]
    expression_frames = attributes["expression_frames"]
    return FitState(
        stage=Stage(attributes["stage"]),
        focal=float(attributes["focal"]),
        identity=arrays["identity"],
        w_plus=arrays.get("w_plus"),
        tuned=_arrays_below(arrays, "tuned/"),
        maps=_maps(arrays),
        keyframes=tuple(_frame(contents, f"keyframes/{key}") for key in attributes["keyframes"]),
        estimates=_estimates(contents),
        new_keyframes=tuple(attributes["new_keyframes"]),
        track_information={
            key: MarginalInformation(
                arrays[f"track_information/{key}/precision"], arrays[f"track_information/{key}/potential"]
            )
            for key in contents.attributes["track_information"]["keys"]
        },
        work_queue={task: int(attributes["work_queue"].get(task.value, 0)) for task in Task},
        hair=_hair(arrays),
        glasses=_glasses(arrays),
        rounds=_rounds(arrays),
        reference_embedding=arrays.get("reference_embedding"),
        expression_frames=tuple(_frame(contents, f"expression_frames/{key}") for key in expression_frames),
    )


def _arrays_below(arrays: Mapping[str, Array], prefix: str) -> dict[str, Array]:
    return {path.removeprefix(prefix): values for path, values in arrays.items() if path.startswith(prefix)}


def _hair(arrays: Mapping[str, Array]) -> Hair | None:
    stored = _arrays_below(arrays, "hair/")
    return hair_of_arrays(stored) if stored else None


def _glasses(arrays: Mapping[str, Array]) -> Glasses | None:
    stored = _arrays_below(arrays, "glasses/")
    return glasses_of_arrays(stored) if stored else None


def _maps(arrays: Mapping[str, Array]) -> MapArrays | None:
    if f"maps/{CORE_NAMES[0]}" not in arrays:
        return None
    # A session may be older than a modality: its map then has the default.
    names = [name for name in MODALITIES.names if name in CORE_NAMES or f"maps/{name}" in arrays]
    return MapArrays.from_names({name: arrays[f"maps/{name}"].astype(np.float32) for name in names})


def _frame(contents: Contents, path: str) -> Keyframe:
    arrays, attributes = _arrays_below(contents.arrays, f"{path}/"), contents.attributes[path]
    rotation, translation = arrays["pose"]
    observation = FaceObservation(
        landmarks=arrays["landmarks"],
        landmark_depth=arrays["landmark_depth"],
        pose=HeadPose(rotation, translation),
        expression=arrays["expression"],
        camera=Camera(**attributes["camera"]),
        quality=FrameQuality(**attributes["quality"]),
        status=FaceStatus(attributes["status"]),
        embedding=arrays.get("embedding"),
    )
    return Keyframe(path.split("/")[-1], arrays["image"], observation, float(attributes["timestamp_s"]))


def _estimates(contents: Contents) -> dict[str, KeyframeEstimate]:
    keys = contents.attributes["estimates"]["keys"]
    columns = [contents.arrays[f"estimates/{name}"] for name in ("pose", "expression", "light_sh", "loss")]
    # A session may be older than key lights.
    columns.append(contents.arrays.get("estimates/key_light", np.zeros((len(keys), 2, 3), np.float32)))
    return {
        key: KeyframeEstimate(HeadPose(pose[0], pose[1]), expression, light, float(loss), _key_light(*key_light))
        for key, pose, expression, light, loss, key_light in zip(keys, *columns, strict=True)
    }


def _key_light(direction: Array, color: Array) -> KeyLight | None:
    return KeyLight(direction, color) if direction.any() else None


def _rounds(arrays: Mapping[str, Array]) -> tuple[RoundReport, ...]:
    losses = _arrays_below(arrays, "rounds/losses/")
    columns = [arrays[f"rounds/{name}"] for name in ("index", "stage", "seconds", "keyframes")]
    return tuple(
        RoundReport(
            int(index),
            FIT_STAGES[stage],
            float(seconds),
            {name: float(values[row]) for name, values in losses.items() if not np.isnan(values[row])},
            int(keyframes),
        )
        for row, (index, stage, seconds, keyframes) in enumerate(zip(*columns, strict=True))
    )
