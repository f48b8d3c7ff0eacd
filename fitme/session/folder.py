"""Folder of a session without the contents of its repository: functions that need none of the store's libraries.

See `fitme.session.store` for the layout.
"""

import contextlib
import shutil
from pathlib import Path

from fitme.errors import StoreError

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


def is_session(folder: Path) -> bool:
    """Whether a session has been begun in `folder`."""
    return (folder / REPOSITORY).is_dir() or (folder / REPLACEMENT).is_dir()


def is_kept(folder: Path) -> bool:
    """Whether the session in `folder` stays when it ends."""
    return (folder / KEPT).exists()


def mark_kept(folder: Path, kept: bool) -> None:
    """Remember whether the session stays when it ends; begins the folder if need be.

    :raises StoreError: if the folder cannot be written.
    """
    try:
        if kept:
            make_private_folder(folder)
            (folder / KEPT).touch(FILE_MODE)
        else:
            (folder / KEPT).unlink(missing_ok=True)
    except OSError as error:
        raise StoreError(f"{folder}: cannot mark the session as kept or not: {error}") from error


def delete_session(folder: Path) -> None:
    """Remove a session's folder and all that is in it, as far as it can be removed; no error if there is none.

    :raises StoreError: if something in it stays.
    """
    failures: list[OSError] = []

    def note(_function: object, _path: str, failure: tuple[type[BaseException], BaseException, object]) -> None:
        if isinstance(failure[1], OSError) and not isinstance(failure[1], FileNotFoundError):
            failures.append(failure[1])

    shutil.rmtree(folder, onerror=note)
    if failures:
        raise StoreError(f"{folder}: cannot delete the session: {failures[0]} ({len(failures)} in all)")
