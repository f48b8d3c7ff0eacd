"""Session store: the state of a fit on disk, in a Zarr v3 group inside an Icechunk repository.

Every round is one atomic commit: a process that dies during one leaves the round before it. Digests cover all contents
(`fitme.session.contents`): what is read is what was written, or reading raises `StoreError`. Only the owner may open
the folder (0700) and its files (0600), whatever the umask.

Layout, version 3, below the folder of a session::

    lock                      held (flock) by the one process that writes
    kept                      empty file, there once the person asked to keep the session
    repository/               Icechunk repository, branch `main`, with the Zarr group
        .                     attributes: format "fitme-session", version 3, encryption (`fitme.session.encryption`;
                              absent without), stage, focal, keyframes (keys in order), new_keyframes (keys),
                              work_queue (counts by `fitme.fit.work_queue.Task`), expression_frames (keys in order),
                              digests, digest
        identity              (K,) float32, standard deviations
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

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import icechunk
import zarr
from filelock import FileLock, Timeout

from fitme.errors import StoreError
from fitme.fit.state import FitState
from fitme.session.contents import read_contents, root_attributes, seal
from fitme.session.encryption import ArrayCipher, describe
from fitme.session.folder import REPLACEMENT, REPOSITORY, SUPERSEDED, delete_session, make_private, make_private_folder
from fitme.session.migration import migrate_version_2
from fitme.session.reader import read_state
from fitme.session.writer import StateWriter

FORMAT = "fitme-session"
VERSION = 3
COMPACTION_PERIOD_ROUNDS = 16
"""Commits between two removals of what only superseded commits refer to; they are removed at once when a frame is
dropped."""
COMPACTION_MARGIN = timedelta(days=1)

_BRANCH = "main"
_LOCK = "lock"


class SessionStore:
    """Reads and writes one session. At most one at a time per folder, over all processes; use as a context manager."""

    def __init__(self, folder: Path, secret: str | None = None) -> None:
        """Open the session in `folder`, or begin one there.

        :param secret: the owner's; a session that is begun with one is encrypted, and opens only with the same one.
        :raises StoreError: if another process writes it, if it is damaged or of another version, or if it is encrypted
            and the secret is missing or another one.
        """
        self.folder, self._secret = folder, secret
        self._rounds_since_compaction = 0
        with _store_errors(folder, "open"):
            make_private_folder(folder)
            # On a file system without flock this fails: a fallback to a marker file would outlive a killed process.
            self._lock = FileLock(folder / _LOCK, blocking=False, thread_local=False, fallback_to_soft=False)
            try:
                self._lock.acquire()
            except Timeout as error:
                raise StoreError(f"{folder}: another process writes this session; stop it first") from error
        try:
            with _store_errors(folder, "open"):
                self._repository, self._cipher = _open_repository(folder, secret)
                make_private(folder)
        except BaseException:
            self._lock.release()
            raise

    def __enter__(self) -> "SessionStore":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let another process write."""
        self._lock.release()

    def delete(self) -> None:
        """Remove the session and all of its data; the store is closed."""
        self.close()
        delete_session(self.folder)

    def write_round(self, state: FitState) -> None:
        """Commit a state, all of it or nothing. Only what differs from the last commit is written.

        :raises StoreError: if it cannot be written; the last commit then remains.
        """
        with _store_errors(self.folder, "write"):
            try:
                dropped = _commit(self._repository, self._cipher, state)
            except icechunk.IcechunkError:
                if _newest_commit(self._repository) <= datetime.now(UTC):
                    raise
                self._replace_repository(state)
                dropped = False
            make_private(self.folder)
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
            # Later than all files, also if the clock was set back since: nobody else writes meanwhile.
            latest = max(datetime.now(UTC), _newest_commit(self._repository)) + COMPACTION_MARGIN
            self._repository.expire_snapshots(older_than=latest)
            self._repository.garbage_collect(latest)
            make_private(self.folder)
        self._rounds_since_compaction = 0

    def _replace_repository(self, state: FitState) -> None:
        """Store a state in a new repository, which then takes the place of this one.

        For a clock that was set back: Icechunk commits nothing that would be older than the commit before it.
        """
        replacement, current = self.folder / REPLACEMENT, self.folder / REPOSITORY
        if replacement.exists():
            shutil.rmtree(replacement)  # left by a process that died while it was writing it
        _commit(*_open_repository(self.folder, self._secret, REPLACEMENT), state)
        current.rename(self.folder / SUPERSEDED)
        replacement.rename(current)
        self._repository, self._cipher = _open_repository(self.folder, self._secret)


def _commit(repository: icechunk.Repository, cipher: ArrayCipher | None, state: FitState) -> bool:
    """Commit a state; whether frames were dropped that the commit before it has."""
    session = repository.writable_session(_BRANCH)
    writer = StateWriter(zarr.open_group(store=session.store, mode="a"), cipher)
    dropped = writer.write(state)
    if session.has_uncommitted_changes:
        session.commit(f"round {state.rounds[-1].index}" if state.rounds else "no round")
    return dropped


def _newest_commit(repository: icechunk.Repository) -> datetime:
    return next(iter(repository.ancestry(branch=_BRANCH))).written_at


@contextmanager
def _store_errors(folder: Path, action: str) -> Iterator[None]:
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
    folder: Path, secret: str | None, name: str = REPOSITORY
) -> tuple[icechunk.Repository, ArrayCipher | None]:
    """The repository with its group, begun if there is none, at this program's version; and the cipher of an encrypted
    one."""
    if name == REPOSITORY:
        _finish_replacement(folder)
    # Icechunk warns that commits to a local folder are unsafe with several writers; the lock leaves only one.
    icechunk.set_logs_filter("error")
    storage = icechunk.local_filesystem_storage(str(folder / name))
    if icechunk.Repository.exists(storage):
        repository = icechunk.Repository.open(storage)
    else:
        _check_nothing_is_stored(folder / name)
        repository = icechunk.Repository.create(storage)
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


def _check_nothing_is_stored(repository: Path) -> None:
    """Raise StoreError if a folder without a branch holds data of one: creating a repository would hide them."""
    stored = [path for path in repository.glob("*/*") if path.parent.name != "snapshots" and path.is_file()]
    if stored:
        raise StoreError(f"{repository}: the session's repository is damaged: it has data, but no branch {_BRANCH!r}")
