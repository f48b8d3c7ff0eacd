"""Writing a fit's state into the Zarr group of a session; `fitme.session.store` has the layout."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any, Literal

import numpy as np
import zarr

from fitme.arrays import Float32Array
from fitme.fit.estimate import KeyframeEstimate
from fitme.fit.keyframe import Keyframe
from fitme.fit.solver.marginal_information import MarginalInformation
from fitme.fit.state import FitState, RoundReport
from fitme.fit.work_queue import Task
from fitme.geometry import HeadPose
from fitme.glasses.glasses import ARRAY_NAMES as GLASSES_ARRAYS
from fitme.glasses.glasses import glasses_arrays
from fitme.hair.hair import ARRAY_NAMES as HAIR_ARRAYS
from fitme.hair.hair import hair_arrays
from fitme.reflectance.modality import MODALITIES
from fitme.session.contents import Array, Cipher, array_digest, attributes_digest, root_attributes, seal
from fitme.stage import Stage

FIT_STAGES = tuple(Stage)[1:]
"""Stages that a round can have reached: a stored index is one into these."""


class StateWriter:
    """Brings one group up to a state, writing only arrays whose digest changed."""

    def __init__(self, group: zarr.Group, cipher: Cipher | None = None) -> None:
        """
        :param cipher: of the arrays of an encrypted session.

        Raises `fitme.session.contents.DamageError` if the group's attributes are damaged.
        """
        self._group, self._cipher = group, cipher
        self._attributes = root_attributes(group)
        self._digests: dict[str, str] = self._attributes.pop("digests")

    def write(self, state: FitState) -> bool:
        """Write what changed; whether frames were dropped. Raises ValueError if a name cannot be that of a node."""
        dropped = self._frames("keyframes", state.keyframes)
        dropped |= self._frames("expression_frames", state.expression_frames)
        self._optional("identity", state.identity)
        self._optional("w_plus", state.w_plus)
        self._optional("reference_embedding", state.reference_embedding)
        maps = {} if state.maps is None else state.maps.by_name()
        for name in MODALITIES.names:
            self._optional(f"maps/{name}", np.asarray(maps[name], np.float16) if maps else None)
        hair = {} if state.hair is None else hair_arrays(state.hair)
        for name in HAIR_ARRAYS:
            self._optional(f"hair/{name}", hair.get(name))
        glasses = {} if state.glasses is None else glasses_arrays(state.glasses)
        for name in GLASSES_ARRAYS:
            self._optional(f"glasses/{name}", glasses.get(name))
        self._mapping("tuned", state.tuned)
        self._estimates(state.estimates)
        self._track_information(state.track_information)
        self._rounds(state.rounds)
        attributes = {
            "stage": state.stage.value,
            "focal": float(state.focal),
            "keyframes": [keyframe.key for keyframe in state.keyframes],
            "new_keyframes": list(state.new_keyframes),
            "work_queue": {task.value: state.work_queue.get(task, 0) for task in Task},
            "expression_frames": [frame.key for frame in state.expression_frames],
        }
        seal(self._group, self._attributes | attributes, self._digests)
        return dropped

    def _put(self, path: str, values: Array) -> None:
        values = np.ascontiguousarray(values)
        digest = array_digest(values) if self._cipher is None else self._cipher.digest(values)
        if self._digests.get(path) == digest:
            return
        # Weights and information are noise to a compressor: it would take a second and save little.
        incompressible = path.startswith(("tuned/", "track_information/"))
        if self._cipher is not None:
            values = self._cipher.seal(path, values, compress=not incompressible)
        compressors: Literal["auto"] | None = None if incompressible or self._cipher is not None else "auto"
        chunks = tuple(max(1, size) for size in values.shape)
        self._group.create_array(path, data=values, chunks=chunks, compressors=compressors, overwrite=True)
        self._digests[path] = digest

    def _set_attributes(self, path: str, attributes: dict[str, Any]) -> None:
        self._group.require_group(path).attrs.put(attributes)
        self._digests[f"{path}/"] = attributes_digest(attributes)

    def _drop(self, path: str) -> None:
        if path in self._group:
            del self._group[path]
        for dropped in [each for each in self._digests if each == path or each.startswith(f"{path}/")]:
            del self._digests[dropped]

    def _optional(self, path: str, values: Array | None) -> None:
        if values is None:
            self._drop(path)
        else:
            self._put(path, values)

    def _mapping(self, path: str, arrays: Mapping[str, Array]) -> None:
        group = self._group.require_group(path)
        for name in set(group.array_keys()) - set(arrays):
            self._drop(f"{path}/{name}")
        for name, values in arrays.items():
            self._put(f"{path}/{_node_name(name)}", values)

    def _frames(self, name: str, frames: tuple[Keyframe, ...]) -> bool:
        """Write the frames of a group; whether stored ones were dropped. A frame never changes under its key, so those
        that are stored are skipped."""
        stored = set(self._group.require_group(name).group_keys())
        dropped = stored - {frame.key for frame in frames}
        for key in dropped:
            self._drop(f"{name}/{key}")
        for frame in frames:
            if frame.key not in stored:
                self._frame(f"{name}/{_node_name(frame.key)}", frame)
        return bool(dropped)

    def _frame(self, path: str, frame: Keyframe) -> None:
        observation = frame.observation
        attributes = {
            "timestamp_s": float(frame.timestamp_s),
            "status": observation.status.value,
            # `whole_side_px` of windows alone: earlier versions read all other cameras.
            "camera": {name: value for name, value in asdict(observation.camera).items() if value is not None},
            "quality": {name: float(value) for name, value in asdict(observation.quality).items()},
        }
        self._set_attributes(path, attributes)
        arrays: dict[str, Array] = {
            "image": frame.image,
            "landmarks": observation.landmarks,
            "landmark_depth": observation.landmark_depth,
            "pose": _pose_array(observation.pose),
            "expression": observation.expression,
        }
        if observation.embedding is not None:
            arrays["embedding"] = observation.embedding
        for name, values in arrays.items():
            self._put(f"{path}/{name}", values)

    def _estimates(self, estimates: Mapping[str, KeyframeEstimate]) -> None:
        self._set_attributes("estimates", {"keys": list(estimates)})
        values = estimates.values()
        count = len(estimates)
        self._put("estimates/pose", _stack([_pose_array(value.pose) for value in values], (count, 2, 3)))
        self._put("estimates/expression", _stack([value.expression for value in values], (count, -1)))
        self._put("estimates/light_sh", _stack([value.light_sh for value in values], (count, 9, 3)))
        keys = [value.key_light for value in values]
        lights = [np.zeros((2, 3), np.float32) if k is None else np.stack([k.direction, k.color]) for k in keys]
        self._put("estimates/key_light", _stack(lights, (count, 2, 3)))
        self._put("estimates/loss", _stack([value.loss for value in values], (count,)))

    def _track_information(self, track_information: Mapping[str, MarginalInformation]) -> None:
        name = "track_information"
        self._set_attributes(name, {"keys": list(track_information)})
        for key in set(self._group.require_group(name).group_keys()) - set(track_information):
            self._drop(f"{name}/{key}")
        for key, information in track_information.items():
            path = f"{name}/{_node_name(key)}"
            self._put(f"{path}/precision", information.precision)
            self._put(f"{path}/potential", information.potential)

    def _rounds(self, rounds: tuple[RoundReport, ...]) -> None:
        self._put("rounds/index", np.array([item.index for item in rounds], np.int32))
        self._put("rounds/stage", np.array([FIT_STAGES.index(item.stage) for item in rounds], np.uint8))
        self._put("rounds/seconds", np.array([item.seconds for item in rounds], np.float32))
        self._put("rounds/keyframes", np.array([item.keyframes for item in rounds], np.int32))
        names = dict.fromkeys(name for item in rounds for name in item.losses)
        losses = {name: np.array([item.losses.get(name, np.nan) for item in rounds], np.float32) for name in names}
        self._mapping("rounds/losses", losses)


def _node_name(name: str) -> str:
    if not name or "/" in name or name.startswith("__") or set(name) == {"."}:
        raise ValueError(f"{name!r} cannot name a node of a Zarr hierarchy")
    return name


def _pose_array(pose: HeadPose) -> Float32Array:
    return np.stack([pose.rotation, pose.translation]).astype(np.float32)


def _stack(rows: list[Any], shape: tuple[int, ...]) -> Float32Array:
    if not rows:
        shape = tuple(max(0, size) for size in shape)
    return np.array(rows, np.float32).reshape(shape)
