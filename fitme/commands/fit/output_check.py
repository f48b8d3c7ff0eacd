"""Check of `--out` before a fit: the folder can be written, and no file of the user would be replaced.

Free of torch, so that a mistake is reported at once.
"""

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from fitme.errors import InputError
from fitme.ingest.fit_outputs import HOLDOUT_FOLDER, is_output_name, written_files


def check_folder(folder: Path) -> None:
    """Raise InputError if `folder` cannot be written, or if a fit would replace a file that no earlier fit wrote.

    Nothing is written.
    """
    if folder.is_symlink() and not folder.exists():
        raise InputError(f"{folder}: is a link to nothing; name another folder with --out")
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{folder}: is a file; name a folder to write to with --out")
    for place in (folder, folder / HOLDOUT_FOLDER):
        _check_writable(place)
    written = written_files(folder)
    for name in _output_names(folder):
        if name not in written:
            raise InputError(
                f"{folder / name}: would be replaced, and no earlier fit wrote it; name another folder with --out"
            )
        if (folder / name).is_dir():
            raise InputError(f"{folder / name}: is a folder in the place of a file; name another folder with --out")


def check_inputs(paths: Iterable[Path], folder: Path) -> None:
    """Raise InputError if an input, or the target of its link, lies in the output folder `folder`."""
    root = folder.resolve()
    for path in paths:
        for place in (path.resolve(), path.parent.resolve() / path.name):
            if place.is_relative_to(root):
                raise InputError(f"{path}: lies in {folder}, the folder to write to; name another folder with --out")


def _check_writable(folder: Path) -> None:
    """Raise InputError unless `folder` can be created or written to."""
    absolute = folder.resolve()
    nearest = next(path for path in (absolute, *absolute.parents) if path.exists())
    if not nearest.is_dir():
        raise InputError(f"{nearest}: is a file, not a folder; name another folder with --out")
    if not os.access(nearest, os.W_OK | os.X_OK):
        raise InputError(f"{nearest}: cannot be written to; name another folder with --out")


def _output_names(folder: Path) -> Iterator[str]:
    """Paths, relative to `folder`, of existing files with names of a fit's outputs."""
    for prefix in ("", f"{HOLDOUT_FOLDER}/"):
        place = folder / prefix
        if place.is_dir():
            yield from sorted(prefix + path.name for path in place.iterdir() if is_output_name(prefix + path.name))
