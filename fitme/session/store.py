"""A session on disk: everything that a fit knows, in a Zarr v3 group inside an Icechunk repository.

Every round is one atomic commit: a process that dies in the middle of one leaves the round before it.

Layout, version 2, below the folder of a session::

    lock                      held (flock) by the one process that writes
    kept                      empty file, there once the person asked to keep the session
    repository/               Icechunk repository, branch `main`, with the Zarr group
        .                     attributes: format "fitme-session", version 2, stage, focal, keyframes (keys in order),
                              fresh (keys), agenda (fields of `fitme.fit.work_queue.WorkQueue`), studied (keys in order)
        identity              (K,) float32, standard deviations
        w_plus                (L, D) float32; absent before inversion
        reference_embedding   (128,) float32; absent while unknown
        maps/NAME             (R, R, C) float16, one for each row of `fitme.reflectance.modality.MODALITIES`; empty
                              before the skin stage
        tuned/NAME            float32 weights of the generator, by their names in its state dict
        keyframes/KEY         attributes: timestamp_s, status, camera, quality
            image             (H, W, 3) uint8 sRGB
            landmarks         (478, 2) float32 pixels
            landmark_depth    (478,) float32 pixels
            pose              (2, 3) float32: rotation (axis-angle, radians), translation (metres)
            expression        (52,) float32
            embedding         (128,) float32; absent where it was not computed
        studied/KEY           as keyframes/KEY: pictures of which only expressions were learnt. Sessions of earlier
                              programs have neither this nor its attribute, and such programs do without both
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
            stage             (M,) uint8, index into `fitme.session.writer.FIT_STAGES`
            seconds           (M,) float32
            losses/NAME       (M,) float32, NaN in rounds without that figure
"""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import icechunk
import zarr

from fitme.errors import StoreError
from fitme.fit.state import FitState
from fitme.session.folder import REPOSITORY, delete_session
from fitme.session.reader import read_state
from fitme.session.writer import StateWriter

FORMAT = "fitme-session"
VERSION = 2
COMPACTION_PERIOD_ROUNDS = 16
"""Commits between two removals of what only superseded commits refer to."""

_BRANCH = "main"
_LOCK = "lock"


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
            StateWriter(zarr.open_group(store=session.store, mode="a"), digests).write(state)
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
            return None if "stage" not in group.attrs else read_state(group)

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
