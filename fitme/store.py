"""A session on disk: everything that a fit knows, in a Zarr v3 group inside an Icechunk repository.

Every round is one atomic commit: a process that dies in the middle of one leaves the round before it.

Layout, version 2, below the folder of a session::

    lock                      held (flock) by the one process that writes
    kept                      empty file, there once the person asked to keep the session
    repository/               Icechunk repository, branch `main`, with the Zarr group
        .                     attributes: format "fitme-session", version 2, stage, focal, keyframes (keys in order),
                              fresh (keys), agenda (fields of `fitme.fit.agenda.Agenda`)
        identity              (K,) float32, standard deviations
        w_plus                (L, D) float32; absent before inversion
        reference_embedding   (128,) float32; absent while unknown
        maps/diffuse          (R, R, 3) float16, linear; maps/ is empty before the skin stage
        maps/specular         (R, R, 1) float16
        maps/normals          (R, R, 3) float16, tangent space
        tuned/NAME            float32 weights of the generator, by their names in its state dict
        keyframes/KEY         attributes: timestamp_s, status, camera, quality
            image             (H, W, 3) uint8 sRGB
            landmarks         (478, 2) float32 pixels
            landmark_depth    (478,) float32 pixels
            pose              (2, 3) float32: rotation (axis-angle, radians), translation (metres)
            expression        (52,) float32
            embedding         (128,) float32; absent where it was not computed
        estimates             what the fit believes about keyframes; attribute `keys` (N) names the rows of
            pose              (N, 2, 3) float32
            expression        (N, 52) float32
            light_sh          (N, 9, 3) float32
            loss              (N,) float32
        tracked               what tracks said of identity and focal length; attribute `keys` names the keyframes
            KEY/precision     (K + 1, K + 1) float64, the keyframe's share
            KEY/potential     (K + 1,) float64
        rounds                history, oldest first, one row a round
            index, keyframes  (M,) int32
            stage             (M,) uint8, index into `fitme.fit.state.STAGES`
            seconds           (M,) float32
            losses/NAME       (M,) float32, NaN in rounds without that figure
"""

import fcntl
import hashlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import icechunk
import numpy as np
import numpy.typing as npt
import zarr

from fitme.errors import StoreError
from fitme.fit.agenda import Agenda
from fitme.fit.gauss_newton import SharedEvidence
from fitme.fit.keyframe import Keyframe
from fitme.fit.state import STAGES, FitState, KeyframeEstimate, MapArrays, RoundReport
from fitme.geometry import Camera, HeadPose
from fitme.session_folder import REPOSITORY, delete_session
from fitme.track.observation import FaceObservation, FaceStatus, FrameQuality

FORMAT = "fitme-session"
VERSION = 2
COMPACTION_PERIOD_ROUNDS = 16
"""Commits between two removals of what only superseded commits refer to."""

_BRANCH = "main"
_LOCK = "lock"
_MAPS = ("diffuse", "specular", "normals")

Array = npt.NDArray[Any]


class SessionStore:
    """Reads and writes one session. At most one at a time per folder, over all processes; use as a context manager."""

    def __init__(self, folder: Path) -> None:
        """Open the session in `folder`, or begin one there.

        :raises StoreError: if another process writes it, or if it is damaged or of another version.
        """
        self.folder = folder
        self._digests: dict[str, bytes] = {}
        self._rounds_since_compaction = 0
        with _store_errors(folder, "open"):
            folder.mkdir(parents=True, exist_ok=True)
            self._lock = (folder / _LOCK).open("w")
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            self._lock.close()
            raise StoreError(f"{folder}: another process writes this session; stop it first") from error
        try:
            self._repository = _open_repository(folder)
        except BaseException:
            self._lock.close()
            raise

    def __enter__(self) -> "SessionStore":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let another process write."""
        self._lock.close()

    def delete(self) -> None:
        """Remove the session and all of its data; the store is closed."""
        delete_session(self.folder)
        self.close()

    def write_round(self, state: FitState) -> None:
        """Commit a state, all of it or nothing. Only what changed since this store's last commit is written.

        :raises StoreError: if it cannot be written; the last commit then stands.
        """
        message = f"round {state.rounds[-1].index}" if state.rounds else "no round"
        digests = dict(self._digests)
        with _store_errors(self.folder, "write"):
            session = self._repository.writable_session(_BRANCH)
            _Writer(zarr.open_group(store=session.store, mode="a"), digests).write(state)
            if session.has_uncommitted_changes:
                session.commit(message)
        self._digests = digests
        self._rounds_since_compaction += 1
        if self._rounds_since_compaction >= COMPACTION_PERIOD_ROUNDS:
            self.compact()

    def read(self) -> FitState | None:
        """The last committed state, or None if there is none yet.

        :raises StoreError: if it is damaged.
        """
        with _store_errors(self.folder, "read"):
            group = zarr.open_group(store=self._repository.readonly_session(_BRANCH).store, mode="r")
            return None if "stage" not in group.attrs else _read_state(group)

    def compact(self) -> None:
        """Remove superseded commits and the data that only they refer to; the history of rounds stays."""
        now = datetime.now(UTC)
        with _store_errors(self.folder, "compact"):
            self._repository.expire_snapshots(older_than=now)
            self._repository.garbage_collect(now)
        self._rounds_since_compaction = 0


@contextmanager
def _store_errors(folder: Path, action: str) -> Iterator[None]:
    try:
        yield
    except (icechunk.IcechunkError, OSError, KeyError, ValueError, TypeError, IndexError) as error:
        raise StoreError(f"{folder}: cannot {action} the session: {type(error).__name__}: {error}") from error


def _open_repository(folder: Path) -> icechunk.Repository:
    with _store_errors(folder, "open"):
        # Icechunk warns that commits to a local folder are unsafe with several writers; the lock leaves only one.
        icechunk.set_logs_filter("error")
        storage = icechunk.local_filesystem_storage(str(folder / REPOSITORY))
        if not icechunk.Repository.exists(storage):
            repository = icechunk.Repository.create(storage)
        else:
            repository = icechunk.Repository.open(storage)
        group = None
        if len(list(repository.ancestry(branch=_BRANCH))) > 1:
            group = zarr.open_group(store=repository.readonly_session(_BRANCH).store, mode="r")
        if group is None:
            with repository.transaction(_BRANCH, message="begin") as store:
                zarr.create_group(store=store, zarr_format=3, attributes={"format": FORMAT, "version": VERSION})
            return repository
    if group.attrs.get("format") != FORMAT or group.attrs.get("version") != VERSION:
        found = f"{group.attrs.get('format')!r} version {group.attrs.get('version')!r}"
        raise StoreError(f"{folder}: holds {found}, this program reads {FORMAT!r} version {VERSION}")
    return repository


class _Writer:
    """Brings one group up to a state, writing only arrays whose content changed."""

    def __init__(self, group: zarr.Group, digests: dict[str, bytes]) -> None:
        self._group = group
        self._digests = digests

    def write(self, state: FitState) -> None:
        self._keyframes(state.keyframes)
        self._optional("identity", state.identity)
        self._optional("w_plus", state.w_plus)
        self._optional("reference_embedding", state.reference_embedding)
        for name in _MAPS:
            values = None if state.maps is None else np.asarray(getattr(state.maps, name), np.float16)
            self._optional(f"maps/{name}", values)
        self._mapping("tuned", state.tuned)
        self._estimates(state.estimates)
        self._tracked(state.tracked)
        self._rounds(state.rounds)
        keys = [keyframe.key for keyframe in state.keyframes]
        self._group.attrs.update(
            {
                "stage": state.stage,
                "focal": float(state.focal),
                "keyframes": keys,
                "fresh": list(state.fresh),
                "agenda": asdict(state.agenda),
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

    def _keyframes(self, keyframes: tuple[Keyframe, ...]) -> None:
        group = self._group.require_group("keyframes")
        stored = set(group.group_keys())
        for key in stored - {keyframe.key for keyframe in keyframes}:
            self._drop(f"keyframes/{key}")
        for keyframe in keyframes:
            if keyframe.key not in stored:
                self._keyframe(keyframe)

    def _keyframe(self, keyframe: Keyframe) -> None:
        seen = keyframe.observation
        path = f"keyframes/{_node_name(keyframe.key)}"
        attributes = {
            "timestamp_s": float(keyframe.timestamp_s),
            "status": seen.status.value,
            "camera": asdict(seen.camera),
            "quality": {name: float(value) for name, value in asdict(seen.quality).items()},
        }
        group = self._group.create_group(path, attributes=attributes)
        arrays: dict[str, Array] = {
            "image": keyframe.image,
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

    def _tracked(self, tracked: Mapping[str, SharedEvidence]) -> None:
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
        self._put("rounds/stage", np.array([STAGES.index(item.stage) for item in rounds], np.uint8))
        self._put("rounds/seconds", np.array([item.seconds for item in rounds], np.float32))
        self._put("rounds/keyframes", np.array([item.keyframes for item in rounds], np.int32))
        names = dict.fromkeys(name for item in rounds for name in item.losses)
        losses = {name: np.array([item.losses.get(name, np.nan) for item in rounds], np.float32) for name in names}
        self._mapping("rounds/losses", losses)


def _node_name(name: str) -> str:
    if not name or "/" in name or name.startswith("__") or set(name) == {"."}:
        raise ValueError(f"{name!r} cannot name a node of a Zarr hierarchy")
    return name


def _pose_array(pose: HeadPose) -> npt.NDArray[np.float32]:
    return np.stack([pose.rotation, pose.translation]).astype(np.float32)


def _stack(rows: list[Any], shape: tuple[int, ...]) -> npt.NDArray[np.float32]:
    if not rows:
        shape = tuple(max(0, size) for size in shape)
    return np.array(rows, np.float32).reshape(shape)


def _read_state(group: zarr.Group) -> FitState:
    attributes = group.attrs.asdict()
    maps = None
    if "maps/diffuse" in group:
        maps = MapArrays(*(_read(group, f"maps/{name}").astype(np.float32) for name in _MAPS))
    keys: Any = attributes["keyframes"]
    focal: Any = attributes["focal"]
    fresh: Any = attributes["fresh"]
    agenda: Any = attributes["agenda"]
    stage = str(attributes["stage"])
    if stage not in STAGES:
        raise ValueError(f"stage {stage!r} is none of {', '.join(STAGES)}")
    return FitState(
        stage=stage,
        focal=float(focal),
        identity=_read(group, "identity"),
        w_plus=_read_optional(group, "w_plus"),
        tuned=_read_mapping(group, "tuned"),
        maps=maps,
        keyframes=tuple(_read_keyframe(group, key) for key in keys),
        estimates=_read_estimates(group),
        fresh=tuple(fresh),
        tracked=_read_tracked(group),
        agenda=Agenda(**agenda),
        rounds=_read_rounds(group),
        reference_embedding=_read_optional(group, "reference_embedding"),
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


def _read_tracked(group: zarr.Group) -> dict[str, SharedEvidence]:
    keys: Any = group["tracked"].attrs["keys"]
    return {
        key: SharedEvidence(_read(group, f"tracked/{key}/precision"), _read(group, f"tracked/{key}/potential"))
        for key in keys
    }


def _read_keyframe(group: zarr.Group, key: str) -> Keyframe:
    path = f"keyframes/{key}"
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
            STAGES[stage],
            float(seconds),
            {name: float(values[row]) for name, values in losses.items() if not np.isnan(values[row])},
            int(keyframes),
        )
        for row, (index, stage, seconds, keyframes) in enumerate(zip(*columns, strict=True))
    )
