"""Candidates for a fit: images at the paths that a user names."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING

from PIL import Image, UnidentifiedImageError

from fitme.arrays import UInt8Array
from fitme.errors import InputError
from fitme.ingest.even_spacing import even_indices
from fitme.ingest.fit_outputs import written_files
from fitme.ingest.frame import DETAIL_SIDE_PX, Frame
from fitme.ingest.photos import DECODER_ERRORS, RAW_SUFFIXES, frame_of_image, is_heif, read_photo

if TYPE_CHECKING:
    from fitme.ingest.video import VideoInfo

CANDIDATES = 120
"""Largest number of candidates of one video, spread evenly."""
_VIDEO_FORMAT = "MPEG"
"""Video format that Pillow identifies without decoding it."""


@dataclass(frozen=True)
class Candidate:
    """Photo, or one frame of a video, that has not been read yet."""

    path: Path
    video: "VideoInfo | None"
    """None for a photo."""
    frame: int
    """Index in the video; 0 for a photo."""
    image: UInt8Array | None = None
    """(H, W, 3) sRGB of a photo that needs no file; None for all others."""
    of_folder: bool = False
    """Found in a folder, not named by the user: skipped with the reason if it cannot be read."""


def gather(paths: Sequence[Path]) -> list[Candidate]:
    """Candidates of photos, videos and folders of photos, in the order of the paths and of time.

    :raises InputError: if a path is missing or neither an image nor a video, or if there is no candidate.
    """
    candidates: list[Candidate] = []
    for path in paths:
        if path.is_dir():
            candidates += _photos(path)
        elif not path.exists():
            raise InputError(f"{path}: there is no such file")
        elif _is_image(path):
            candidates.append(Candidate(path, None, 0))
        else:
            # FFmpeg's libraries take a tenth of a second to load; photos do not need them.
            from fitme.ingest.video import probe

            video = probe(path)
            candidates += [Candidate(path, video, frame) for frame in even_indices(video.frame_count, CANDIDATES)]
    if not candidates:
        raise InputError("nothing to look at: name photos or a video")
    return candidates


def _photos(folder: Path) -> list[Candidate]:
    """Photos of a folder by name, without the images that an earlier fit wrote there."""
    written = written_files(folder)
    files = [file for file in sorted(folder.iterdir()) if file.is_file() and _is_image(file)]
    photos = [Candidate(file, None, 0, of_folder=True) for file in files if file.name not in written]
    if files and not photos:
        raise InputError(f"{folder}: the folder holds no photos, only images that an earlier fit wrote")
    if not photos:
        raise InputError(f"{folder}: the folder holds no photos")
    return photos


def read(candidates: Sequence[Candidate]) -> Iterator[tuple[Candidate, Frame]]:
    """Read candidates one at a time; frames of a video that cannot be decoded are left out."""
    for (_, video), group in groupby(candidates, key=lambda candidate: (candidate.path, candidate.video)):
        members = list(group)
        if video is None:
            yield from ((candidate, read_still(candidate)) for candidate in members)
        else:
            from fitme.ingest.video import read_frames

            by_index = {candidate.frame: candidate for candidate in members}
            for frame in read_frames(video, [candidate.frame for candidate in members]):
                yield by_index[frame.index], frame


def read_still(photo: Candidate) -> Frame:
    """Frame of a photo, longer side at most `DETAIL_SIDE_PX`. InputError if it cannot be read."""
    if photo.image is not None:
        return frame_of_image(photo.image, photo.path.name)
    return read_photo(photo.path, DETAIL_SIDE_PX)


def _is_image(path: Path) -> bool:
    """Whether a file is an image, by content, or by name if the content is damaged, so that it is reported as one."""
    if path.suffix.lower() in RAW_SUFFIXES or is_heif(path):
        return True
    try:
        with Image.open(path) as opened:
            return opened.format != _VIDEO_FORMAT
    except UnidentifiedImageError:
        return Image.registered_extensions().get(path.suffix.lower(), _VIDEO_FORMAT) != _VIDEO_FORMAT
    except (*DECODER_ERRORS, Image.DecompressionBombError):
        return True
