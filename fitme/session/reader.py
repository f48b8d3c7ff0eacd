"""Reading a fit's state from the Zarr group of a session; `fitme.session.store` has the layout."""

from typing import Any

import numpy as np
import numpy.typing as npt
import zarr

from fitme.fit.estimate import KeyframeEstimate
from fitme.fit.keyframe import Keyframe
from fitme.fit.solver.marginal_information import MarginalInformation
from fitme.fit.state import FitState, RoundReport
from fitme.geometry import Camera, HeadPose
from fitme.reflectance.map_arrays import MapArrays
from fitme.reflectance.modality import CORE_NAMES, MODALITIES
from fitme.session.writer import AGENDA, FIT_STAGES
from fitme.stage import Stage
from fitme.track.observation import FaceObservation, FaceStatus, FrameQuality

Array = npt.NDArray[Any]


def read_state(group: zarr.Group) -> FitState:
    """The state in a group. Raises KeyError, ValueError, TypeError or IndexError if it is damaged."""
    attributes = group.attrs.asdict()
    maps = None
    if f"maps/{CORE_NAMES[0]}" in group:
        # A session may be older than a modality: its map then has the default.
        names = [name for name in MODALITIES.names if name in CORE_NAMES or f"maps/{name}" in group]
        maps = MapArrays.from_names({name: _read(group, f"maps/{name}").astype(np.float32) for name in names})
    keys: Any = attributes["keyframes"]
    expression_frames: Any = attributes.get("studied", [])
    focal: Any = attributes["focal"]
    fresh: Any = attributes["fresh"]
    work_queue: Any = attributes["agenda"]
    return FitState(
        stage=Stage(str(attributes["stage"])),
        focal=float(focal),
        identity=_read(group, "identity"),
        w_plus=_read_optional(group, "w_plus"),
        tuned=_read_mapping(group, "tuned"),
        maps=maps,
        keyframes=tuple(_read_picture(group, "keyframes", key) for key in keys),
        estimates=_read_estimates(group),
        new_keyframes=tuple(fresh),
        track_information=_read_tracked(group),
        work_queue={task: int(work_queue[name]) for name, task in AGENDA.items()},
        rounds=_read_rounds(group),
        reference_embedding=_read_optional(group, "reference_embedding"),
        expression_frames=tuple(_read_picture(group, "studied", key) for key in expression_frames),
    )


def _read(group: zarr.Group, path: str) -> Array:
    node = group[path]
    if not isinstance(node, zarr.Array):
        raise ValueError(f"{path} is not an array")
    return np.asarray(node[...])


def _read_optional(group: zarr.Group, path: str) -> Array | None:
    return _read(group, path) if path in group else None


def _read_mapping(group: zarr.Group, path: str) -> dict[str, Array]:
    node = group[path]
    if not isinstance(node, zarr.Group):
        raise ValueError(f"{path} is not a group")
    return {name: _read(node, name) for name in node.array_keys()}


def _read_tracked(group: zarr.Group) -> dict[str, MarginalInformation]:
    keys: Any = group["tracked"].attrs["keys"]
    return {
        key: MarginalInformation(_read(group, f"tracked/{key}/precision"), _read(group, f"tracked/{key}/potential"))
        for key in keys
    }


def _read_picture(group: zarr.Group, name: str, key: str) -> Keyframe:
    path = f"{name}/{key}"
    attributes: dict[str, Any] = group[path].attrs.asdict()
    rotation, translation = _read(group, f"{path}/pose")
    observation = FaceObservation(
        landmarks=_read(group, f"{path}/landmarks"),
        landmark_depth=_read(group, f"{path}/landmark_depth"),
        pose=HeadPose(rotation, translation),
        expression=_read(group, f"{path}/expression"),
        camera=Camera(**attributes["camera"]),
        quality=FrameQuality(**attributes["quality"]),
        status=FaceStatus(attributes["status"]),
        embedding=_read_optional(group, f"{path}/embedding"),
    )
    return Keyframe(key, _read(group, f"{path}/image"), observation, float(attributes["timestamp_s"]))


def _read_estimates(group: zarr.Group) -> dict[str, KeyframeEstimate]:
    keys: Any = group["estimates"].attrs["keys"]
    columns = (_read(group, f"estimates/{name}") for name in ("pose", "expression", "light_sh", "loss"))
    return {
        key: KeyframeEstimate(HeadPose(pose[0], pose[1]), expression, light, float(loss))
        for key, pose, expression, light, loss in zip(keys, *columns, strict=True)
    }


def _read_rounds(group: zarr.Group) -> tuple[RoundReport, ...]:
    losses = _read_mapping(group, "rounds/losses")
    columns = [_read(group, f"rounds/{name}") for name in ("index", "stage", "seconds", "keyframes")]
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
