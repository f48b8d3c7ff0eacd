"""Writing a fit's state into the Zarr group of a session; `fitme.session.store` has the layout."""

import hashlib
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import zarr

from fitme.arrays import Float32Array
from fitme.fit.estimate import KeyframeEstimate
from fitme.fit.keyframe import Keyframe
from fitme.fit.solver.marginal_information import MarginalInformation
from fitme.fit.state import FitState, RoundReport
from fitme.fit.work_queue import Task
from fitme.geometry import HeadPose
from fitme.reflectance.modality import MODALITIES
from fitme.stage import Stage

FIT_STAGES = tuple(Stage)[1:]
"""Stages that a round can have reached: a stored index is one into these."""
AGENDA = {{Task.ALIGNMENT: "alignments", Task.COARSE_INVERSION: "coarse"}.get(task, task.value): task for task in Task}
"""Tasks by their stored names."""

Array = npt.NDArray[Any]


class StateWriter:
    """Brings one group up to a state, writing only arrays whose content changed."""

    def __init__(self, group: zarr.Group, digests: dict[str, bytes]) -> None:
        """`digests` of what the group holds, by path, as earlier writers left them; brought up to date."""
        self._group = group
        self._digests = digests

    def write(self, state: FitState) -> None:
        """Everything, where it changed. Raises ValueError if a name cannot be that of a node."""
        self._pictures("keyframes", state.keyframes)
        self._pictures("studied", state.expression_frames)
        self._optional("identity", state.identity)
        self._optional("w_plus", state.w_plus)
        self._optional("reference_embedding", state.reference_embedding)
        maps = {} if state.maps is None else state.maps.by_name()
        for name in MODALITIES.names:
            self._optional(f"maps/{name}", np.asarray(maps[name], np.float16) if maps else None)
        self._mapping("tuned", state.tuned)
        self._estimates(state.estimates)
        self._tracked(state.track_information)
        self._rounds(state.rounds)
        keys = [keyframe.key for keyframe in state.keyframes]
        self._group.attrs.update(
            {
                "stage": state.stage.value,
                "focal": float(state.focal),
                "keyframes": keys,
                "fresh": list(state.new_keyframes),
                "agenda": {name: state.work_queue.get(task, 0) for name, task in AGENDA.items()},
                "studied": [picture.key for picture in state.expression_frames],
            }
        )

    def _put(self, path: str, values: Array) -> None:
        values = np.ascontiguousarray(values)
        digest = hashlib.blake2b(values.data, digest_size=16, person=values.dtype.str.encode()).digest()
        digest += str(values.shape).encode()
        if self._digests.get(path) == digest:
            return
        chunks = tuple(max(1, size) for size in values.shape)
        # Weights and evidence are noise to a compressor: it would take a second and save little.
        compressors: Literal["auto"] | None = None if path.startswith(("tuned/", "tracked/")) else "auto"
        self._group.create_array(path, data=values, chunks=chunks, compressors=compressors, overwrite=True)
        self._digests[path] = digest

    def _drop(self, path: str) -> None:
        if path in self._group:
            del self._group[path]
        for known in [known for known in self._digests if known == path or known.startswith(path + "/")]:
            del self._digests[known]

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

    def _pictures(self, name: str, pictures: tuple[Keyframe, ...]) -> None:
        """A group of pictures, which never change under their keys."""
        group = self._group.require_group(name)
        stored = set(group.group_keys())
        for key in stored - {picture.key for picture in pictures}:
            self._drop(f"{name}/{key}")
        for picture in pictures:
            if picture.key not in stored:
                self._picture(f"{name}/{_node_name(picture.key)}", picture)

    def _picture(self, path: str, picture: Keyframe) -> None:
        seen = picture.observation
        attributes = {
            "timestamp_s": float(picture.timestamp_s),
            "status": seen.status.value,
            "camera": asdict(seen.camera),
            "quality": {name: float(value) for name, value in asdict(seen.quality).items()},
        }
        group = self._group.create_group(path, attributes=attributes)
        arrays: dict[str, Array] = {
            "image": picture.image,
            "landmarks": seen.landmarks,
            "landmark_depth": seen.landmark_depth,
            "pose": _pose_array(seen.pose),
            "expression": seen.expression,
        }
        if seen.embedding is not None:
            arrays["embedding"] = seen.embedding
        for name, values in arrays.items():
            group.create_array(name, data=np.ascontiguousarray(values), chunks=values.shape)

    def _estimates(self, estimates: Mapping[str, KeyframeEstimate]) -> None:
        self._group.require_group("estimates").attrs["keys"] = list(estimates)
        values = estimates.values()
        count = len(estimates)
        self._put("estimates/pose", _stack([_pose_array(value.pose) for value in values], (count, 2, 3)))
        self._put("estimates/expression", _stack([value.expression for value in values], (count, -1)))
        self._put("estimates/light_sh", _stack([value.light_sh for value in values], (count, 9, 3)))
        self._put("estimates/loss", _stack([value.loss for value in values], (count,)))

    def _tracked(self, tracked: Mapping[str, MarginalInformation]) -> None:
        group = self._group.require_group("tracked")
        group.attrs["keys"] = list(tracked)
        for key in set(group.group_keys()) - set(tracked):
            self._drop(f"tracked/{key}")
        for key, evidence in tracked.items():
            path = f"tracked/{_node_name(key)}"
            self._put(f"{path}/precision", evidence.precision)
            self._put(f"{path}/potential", evidence.potential)

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
