"""Session store: the state of a fit, in a Zarr v3 group inside an Icechunk repository, on disk or in an object store.

Every round is one atomic commit: a process that dies during one leaves the round before it. Digests cover all contents
(`fitme.session.contents`): what is read is what was written, or reading raises `StoreError`. Only the owner may open
the folder (0700) and its files (0600), whatever the umask; in an object store, the bucket's policy decides who may.

One process writes a session: on disk the one that holds the lock, in an object store the one that holds the lease
(`fitme.session.lease`). A process that has lost its lease without noticing stores nothing: each commit names the one
before it, which must be this process's own, and whoever takes a lease begins with a commit.

Layout, version 3, below the folder of a session::

    lock                      held (flock) by the one process that writes; in an object store `lease` instead
    kept                      empty file, there once the person asked to keep the session
    repository/               Icechunk repository, branch `main`, with the Zarr group
        .                     attributes: format "fitme-session", version 3, encryption (`fitme.session.encryption`;
                              absent without), stage, focal, keyframes (keys in order), new_keyframes (keys),
                              work_queue (counts by `fitme.fit.work_queue.Task`), expression_frames (keys in order),
                              writer (random; of the lease under which it was written; absent on disk), digests, digest
        identity              (K + 1,) float32, standard deviations; (K,) in older stores
        w_plus                (L, D) float32; absent before inversion
        reference_embedding   (128,) float32; absent while unknown
        maps/NAME             (R, R, C) float16, one for each row of `fitme.reflectance.modality.MODALITIES`; empty
                              before the skin stage
        hair/NAME             the arrays of `fitme.hair.hair`; absent before the hair is fitted
        glasses/NAME          the arrays of `fitme.glasses.glasses`; absent where the person wears none
        tuned/NAME            float32 weights of the generator, by their names in its state dict
        keyframes/KEY         attributes: timestamp_s, status, camera, quality
            image             (H, W, 3) uint8 sRGB
            landmarks         (478, 2) float32 pixels
            landmark_depth    (478,) float32 pixels
            pose              (2, 3) float32: rotation (axis-angle, radians), translation (metres)
            expression        (52,) float32
            embedding         (128,) float32; absent where it was not computed
        expression_frames/KEY as keyframes/KEY: frames from which only expression correctives are extracted
        estimates             estimates of keyframes; attribute `keys` (N) names the rows of
            pose              (N, 2, 3) float32
            expression        (N, 52) float32
            light_sh          (N, 9, 3) float32
            key_light         (N, 2, 3) float32: direction and colour, 0 where there is none; absent in older sessions
            loss              (N,) float32
        track_information     marginal information of track solves on identity and focal length; attribute `keys` names
                              the keyframes
            KEY/precision     (K + 1, K + 1) float64, the keyframe's share
            KEY/potential     (K + 1,) float64
        rounds                history, oldest first, one row a round
            index, keyframes  (M,) int32
            stage             (M,) uint8, index into `fitme.session.writer.FIT_STAGES`
            seconds           (M,) float32
            losses/NAME       (M,) float32, NaN in rounds without that figure

In an encrypted session every array is (N,) uint8: its message.

Opening a session of version 2 migrates it in one commit (`fitme.session.migration`).
"""

import errno
import secrets
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Protocol

import icechunk
import zarr
from filelock import FileLock, Timeout

from fitme.errors import StoreError
from fitme.fit.state import FitState
from fitme.session.contents import read_contents, root_attributes, seal
from fitme.session.encryption import ArrayCipher, describe
from fitme.session.folder import (
    REPLACEMENT,
    REPOSITORY,
    SUPERSEDED,
    SessionFolder,
    delete_session,
    make_private,
    make_private_folder,
)
from fitme.session.lease import BusyError, Lease
from fitme.session.migration import migrate_version_2
from fitme.session.object_folder import ObjectFolder, is_plain
from fitme.session.reader import read_state
from fitme.session.writer import StateWriter

FORMAT = "fitme-session"
VERSION = 3
COMPACTION_PERIOD_ROUNDS = 16
"""Commits between two removals of what only superseded commits refer to; they are removed at once when a frame is
dropped."""
COMPACTION_MARGIN = timedelta(days=1)
OBJECT_TRIES = 3
"""Attempts at a request to an object store."""
REMOVAL_TIMEOUT_S = 5.0
"""Longest time that files may go on being added to a repository that is removed."""

_BRANCH = "main"
_LOCK = "lock"
_WRITER = "writer"


class _Hold(Protocol):
    """What keeps other processes from writing a session."""

    def release(self) -> None: ...


class SessionStore:
    """Reads and writes one session. At most one at a time per folder, over all processes; use as a context manager."""

    def __init__(self, folder: SessionFolder, secret: str | None = None, *, anew: bool = False) -> None:
        """Open the session in `folder`, or begin one there.

        :param secret: the owner's; a session that is begun with one is encrypted, and opens only with the same one.
        :param anew: nothing has been stored yet: what a failed attempt to begin has left is removed first.
        :raises StoreError: if another process writes it (`BusyError`), if it is damaged or of another version, or if it
            is encrypted and the secret is missing or another one.
        """
        self.folder, self._secret = folder, secret
        self._rounds_since_compaction = 0
        with _store_errors(folder, "open"):
            self._hold: _Hold = Lease(folder) if isinstance(folder, ObjectFolder) else _lock(folder)
        try:
            with _store_errors(folder, "open"):
                if anew:
                    _remove_attempt(folder)
                self._repository, self._cipher = _open_repository(folder, secret)
                if isinstance(folder, ObjectFolder):
                    _take_over(self._repository)
                self._newest = _newest_commit(self._repository).id
                self._make_private()
        except BaseException:
            self._hold.release()
            raise

    def __enter__(self) -> "SessionStore":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let another process write."""
        self._hold.release()

    def delete(self) -> None:
        """Remove the session and all of its data; the store is closed."""
        self.close()
        delete_session(self.folder)

    def write_round(self, state: FitState) -> None:
        """Commit a state, all of it or nothing. Only what differs from the last commit is written.

        :raises StoreError: if it cannot be written; the last commit then remains. `BusyError`: another process has
            written the session since.
        """
        with _store_errors(self.folder, "write"):
            try:
                dropped = self._commit(state)
            except icechunk.IcechunkError as error:
                if isinstance(error, icechunk.ConflictError):
                    raise BusyError(f"{self.folder}: another process writes this session now") from error
                ahead = _newest_commit(self._repository).written_at - datetime.now(UTC)
                if ahead <= timedelta():
                    raise
                if isinstance(self.folder, ObjectFolder):
                    raise StoreError(f"{self.folder}: this clock is {ahead} behind the last writer's") from error
                self._replace_repository(state)
                dropped = False
            self._make_private()
        self._rounds_since_compaction += 1
        if dropped or self._rounds_since_compaction >= COMPACTION_PERIOD_ROUNDS:
            self.compact()  # after a drop at once: superseded commits still hold the person's image

    def read(self) -> FitState | None:
        """The last committed state, or None if there is none yet.

        :raises StoreError: if it is damaged.
        """
        with _store_errors(self.folder, "read"):
            contents = read_contents(_open_group(self._repository), self._cipher)
            return read_state(contents) if "stage" in contents.attributes[""] else None

    def compact(self) -> None:
        """Remove superseded commits and the data that only they refer to; the history of rounds stays."""
        with _store_errors(self.folder, "compact"):
            # What another process has uploaded and not committed yet would be removed as well.
            if isinstance(self._hold, Lease) and not self._hold.renew():
                raise BusyError(f"{self.folder}: another process writes this session now")
            # Later than all files, also if the clock was set back since: nobody else writes meanwhile.
            latest = max(datetime.now(UTC), _newest_commit(self._repository).written_at) + COMPACTION_MARGIN
            self._repository.expire_snapshots(older_than=latest)
            self._repository.garbage_collect(latest)
            self._make_private()
        self._rounds_since_compaction = 0

    def _commit(self, state: FitState) -> bool:
        """Commit a state; whether frames were dropped that the commit before it has."""
        session = self._repository.writable_session(_BRANCH)
        if session.snapshot_id != self._newest:
            raise BusyError(f"{self.folder}: another process writes this session now")
        dropped = _write(session, self._cipher, state)
        if session.has_uncommitted_changes:
            self._newest = session.commit(_message(state))
        return dropped

    def _make_private(self) -> None:
        if isinstance(self.folder, Path):
            make_private(self.folder)

    def _replace_repository(self, state: FitState) -> None:
        """Store a state in a new repository, which then takes the place of this one, on disk.

        For a clock that was set back: Icechunk commits nothing that would be older than the commit before it.
        """
        folder = self.folder
        assert isinstance(folder, Path)
        replacement, current = folder / REPLACEMENT, folder / REPOSITORY
        if replacement.exists():
            shutil.rmtree(replacement)  # left by a process that died while it was writing it
        repository, cipher = _open_repository(folder, self._secret, REPLACEMENT)
        session = repository.writable_session(_BRANCH)
        _write(session, cipher, state)
        session.commit(_message(state))
        current.rename(folder / SUPERSEDED)
        replacement.rename(current)
        self._repository, self._cipher = _open_repository(folder, self._secret)
        self._newest = _newest_commit(self._repository).id


def _lock(folder: Path) -> FileLock:
    """The lock of a folder, taken."""
    make_private_folder(folder)
    # On a file system without flock this fails: a fallback to a marker file would outlive a killed process.
    lock = FileLock(folder / _LOCK, blocking=False, thread_local=False, fallback_to_soft=False)
    try:
        lock.acquire()
    except Timeout as error:
        raise BusyError(f"{folder}: another process writes this session; stop it first") from error
    return lock


def _remove_attempt(folder: SessionFolder) -> None:
    """Remove the repository that an attempt to begin a session has left; of others' work, nothing."""
    if isinstance(folder, ObjectFolder):
        storage = _storage(folder, REPOSITORY)
        if icechunk.Repository.exists(storage) and "stage" in _open_group(_opened(storage)).attrs:
            raise BusyError(f"{folder}: another process has begun this session meanwhile")
        (folder / REPOSITORY).delete()
    else:
        _remove_repository(folder / REPOSITORY)


def _remove_repository(path: Path) -> None:
    """Remove a repository, also while requests of a failed attempt, which Icechunk does not wait for, add files."""
    deadline_s = time.monotonic() + REMOVAL_TIMEOUT_S
    while path.exists():
        try:
            shutil.rmtree(path)
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.ENOENT) or time.monotonic() > deadline_s:
                raise StoreError(f"{path}: cannot remove a half-made repository: {error}") from error


def _take_over(repository: icechunk.Repository) -> None:
    """Begin with a commit: whoever wrote before and has not noticed that its lease is over cannot commit any more."""
    session = repository.writable_session(_BRANCH)
    group = zarr.open_group(store=session.store, mode="a")
    attributes = root_attributes(group)
    digests = attributes.pop("digests")
    seal(group, attributes | {_WRITER: secrets.token_hex(8)}, digests)
    session.commit("take over")


def _write(session: icechunk.Session, cipher: ArrayCipher | None, state: FitState) -> bool:
    """Write a state without committing it; whether frames were dropped."""
    return StateWriter(zarr.open_group(store=session.store, mode="a"), cipher).write(state)


def _message(state: FitState) -> str:
    return f"round {state.rounds[-1].index}" if state.rounds else "no round"


def _newest_commit(repository: icechunk.Repository) -> icechunk.SnapshotInfo:
    return next(iter(repository.ancestry(branch=_BRANCH)))


def _storage(folder: SessionFolder, name: str) -> icechunk.Storage:
    """Where a repository lies."""
    if not isinstance(folder, ObjectFolder):
        return icechunk.local_filesystem_storage(str(folder / name))
    settings = folder.settings
    return icechunk.s3_storage(
        bucket=folder.bucket,
        prefix=(folder / name).prefix,
        region=settings.region,
        endpoint_url=settings.endpoint,
        allow_http=is_plain(settings),
        force_path_style=settings.endpoint is not None,
        from_env=True,
        network_stream_timeout_seconds=max(1, round(settings.timeout_s)),
    )


def _config() -> icechunk.RepositoryConfig:
    retries = icechunk.StorageRetriesSettings(max_tries=OBJECT_TRIES)
    return icechunk.RepositoryConfig(storage=icechunk.StorageSettings(retries=retries))


def _opened(storage: icechunk.Storage) -> icechunk.Repository:
    return icechunk.Repository.open(storage, _config())


@contextmanager
def _store_errors(folder: SessionFolder, action: str) -> Iterator[None]:
    """Raise StoreError for whatever the block raises.

    Damaged bytes make Icechunk, Zarr and the codecs raise IcechunkError, OSError, RuntimeError, ValueError, KeyError,
    TypeError, UnicodeDecodeError and more, and Icechunk's Rust code panic.
    """
    try:
        yield
    except StoreError:
        raise
    except Exception as error:
        raise StoreError(f"{folder}: cannot {action} the session: {type(error).__name__}: {error}") from error
    except BaseException as error:
        # pyo3's PanicException cannot be imported, and is no Exception.
        if type(error).__name__ != "PanicException":
            raise
        raise StoreError(f"{folder}: cannot {action} the session: {error}") from error


def _open_repository(
    folder: SessionFolder, secret: str | None, name: str = REPOSITORY
) -> tuple[icechunk.Repository, ArrayCipher | None]:
    """The repository with its group, begun if there is none, at this program's version; and the cipher of an encrypted
    one."""
    if isinstance(folder, Path) and name == REPOSITORY:
        _finish_replacement(folder)
    # Icechunk warns that commits to a local folder are unsafe with several writers; the lock leaves only one.
    icechunk.set_logs_filter("error")
    storage = _storage(folder, name)
    if icechunk.Repository.exists(storage):
        repository = _opened(storage)
    else:
        _check_nothing_is_stored(folder / name)
        repository = icechunk.Repository.create(storage, _config())
    if len(list(repository.ancestry(branch=_BRANCH))) == 1:
        with repository.transaction(_BRANCH, message="begin") as store:
            about = {"format": FORMAT, "version": VERSION}
            encryption = {} if secret is None else {"encryption": describe(secret)}
            seal(zarr.create_group(store=store, zarr_format=3), about | encryption, {})
    attributes = _open_group(repository).attrs
    if attributes.get("format") == FORMAT and attributes.get("version") == 2:
        with repository.transaction(_BRANCH, message="migrate from version 2") as store:
            migrate_version_2(zarr.open_group(store=store, mode="a"))
    group = _open_group(repository)
    if group.attrs.get("format") != FORMAT or group.attrs.get("version") != VERSION:
        found = f"{group.attrs.get('format')!r} version {group.attrs.get('version')!r}"
        raise StoreError(f"{folder}: holds {found}, this program reads {FORMAT!r} version {VERSION}")
    description = root_attributes(group).get("encryption")
    if description is None:
        return repository, None
    if secret is None:
        raise StoreError(f"{folder}: the session is encrypted, and only its owner's token opens it")
    return repository, ArrayCipher(secret, description)


def _finish_replacement(folder: Path) -> None:
    """Do what is left of `SessionStore._replace_repository`, also if the process died that began it."""
    if not (folder / REPOSITORY).exists() and (folder / REPLACEMENT).exists():
        (folder / REPLACEMENT).rename(folder / REPOSITORY)
    if (folder / REPOSITORY).exists() and (folder / SUPERSEDED).exists():
        shutil.rmtree(folder / SUPERSEDED)


def _open_group(repository: icechunk.Repository) -> zarr.Group:
    return zarr.open_group(store=repository.readonly_session(_BRANCH).store, mode="r")


def _check_nothing_is_stored(repository: SessionFolder) -> None:
    """Raise StoreError if a folder without a branch holds data of one: creating a repository would hide them."""
    if isinstance(repository, ObjectFolder):
        stored = any((repository / kind).exists() for kind in repository.names() if kind != "snapshots")
    else:
        stored = any(path.parent.name != "snapshots" and path.is_file() for path in repository.glob("*/*"))
    if stored:
        raise StoreError(f"{repository}: the session's repository is damaged: it has data, but no branch {_BRANCH!r}")
