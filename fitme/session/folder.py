"""Folder of a session without the contents of its repository: functions that need none of the store's libraries.

See `fitme.session.store` for the layout.
"""

import contextlib
import os
import shutil
import tempfile
import time
from pathlib import Path

from fitme.atomic_file import atomic_file
from fitme.errors import StoreError
from fitme.session.object_folder import ObjectFolder

SessionFolder = Path | ObjectFolder
"""Where a session's data lie: on a disk of this machine, or in an object store."""

REPOSITORY = "repository"
REPLACEMENT = "repository.next"
"""New repository while it is written to take the place of the other."""
SUPERSEDED = "repository.old"
"""Repository whose place another one has just taken."""
KEPT = "kept"
FOLDER_MODE = 0o700
FILE_MODE = 0o600


def make_private_folder(folder: Path) -> None:
    """Create a folder if need be, and let only the owner open it, whatever the umask."""
    folder.mkdir(mode=FOLDER_MODE, parents=True, exist_ok=True)
    folder.chmod(FOLDER_MODE)


def make_private(folder: Path) -> None:
    """Let only the owner open a folder and all that is in it, whatever the umask under which it was written."""
    folder.chmod(FOLDER_MODE)
    for path in folder.rglob("*"):
        with contextlib.suppress(FileNotFoundError):  # another process has just removed or renamed it
            path.chmod(FOLDER_MODE if path.is_dir() else FILE_MODE)


def is_session(folder: SessionFolder) -> bool:
    """Whether a session has been begun in `folder`.

    :raises StoreError: if an object store does not answer.
    """
    if isinstance(folder, ObjectFolder):
        return (folder / REPOSITORY).exists()
    return (folder / REPOSITORY).is_dir() or (folder / REPLACEMENT).is_dir()


def read_file(folder: SessionFolder, name: str) -> bytes | None:
    """Content of a file in a session's folder; None if there is none.

    :raises StoreError: if there may be one, but it cannot be read.
    """
    if isinstance(folder, ObjectFolder):
        found = folder.read(name)
        return None if found is None else found.content
    try:
        return (folder / name).read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise StoreError(f"{folder / name}: cannot be read: {error}") from error


def write_file(folder: SessionFolder, name: str, content: bytes) -> None:
    """Write a file in a session's folder, all of it or nothing; begins the folder if need be.

    :raises StoreError: if it cannot be written.
    """
    if isinstance(folder, ObjectFolder):
        folder.write(name, content)
        return
    try:
        make_private_folder(folder)
        with atomic_file(folder / name) as partial:
            partial.touch(FILE_MODE)
            partial.write_bytes(content)
    except OSError as error:
        raise StoreError(f"{folder / name}: cannot be written: {error}") from error


def is_kept(folder: SessionFolder) -> bool:
    """Whether the session in `folder` stays when it ends.

    :raises StoreError: if an object store does not answer.
    """
    if isinstance(folder, ObjectFolder):
        return folder.read(KEPT) is not None
    return (folder / KEPT).exists()


def mark_kept(folder: SessionFolder, kept: bool) -> None:
    """Remember whether the session stays when it ends; begins the folder if need be.

    :raises StoreError: if the folder cannot be written.
    """
    try:
        if isinstance(folder, ObjectFolder):
            if kept:
                folder.write(KEPT, f"{time.time():.0f}\n".encode())
            else:
                folder.remove(KEPT)
        elif kept:
            make_private_folder(folder)
            (folder / KEPT).touch(FILE_MODE)
        else:
            (folder / KEPT).unlink(missing_ok=True)
    except OSError as error:
        raise StoreError(f"{folder}: cannot mark the session as kept or not: {error}") from error


def delete_session(folder: SessionFolder) -> None:
    """Remove a session's folder and all that is in it, as far as it can be removed; no error if there is none.

    :raises StoreError: if something in it stays.
    """
    if isinstance(folder, ObjectFolder):
        folder.delete()
        return
    failures: list[OSError] = []

    def note(_function: object, _path: str, failure: tuple[type[BaseException], BaseException, object]) -> None:
        if isinstance(failure[1], OSError) and not isinstance(failure[1], FileNotFoundError):
            failures.append(failure[1])

    shutil.rmtree(folder, onerror=note)
    if failures:
        raise StoreError(f"{folder}: cannot delete the session: {failures[0]} ({len(failures)} in all)")


def temporary_export() -> Path:
    """An empty file of this machine for an exported avatar: the caller's to remove, and readable by this user alone."""
    descriptor, name = tempfile.mkstemp(prefix="fitme-export-", suffix=".glb")
    os.close(descriptor)
    return Path(name)
