"""Prefetcher: reads images, and detects faces in photos, ahead of the consuming thread.

Free of torch, as are all modules that it imports, so that faces can be detected while torch is still being imported.
"""

from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import groupby
from types import TracebackType

from fitme.errors import InputError
from fitme.ingest.candidates import Candidate, read, read_still
from fitme.ingest.frame import Frame
from fitme.ingest.orientation import upright, upright_video
from fitme.ingest.photo_window import at_working_size
from fitme.track.factory import DEFAULT_NETWORKS, landmark_backend
from fitme.track.landmarks import DetectedFace, FaceFinder
from fitme.track.settings import NetworkSettings


@dataclass(frozen=True)
class Prefetched:
    """Candidate with its image, and the faces of a photo."""

    candidate: Candidate
    frame: Frame
    faces: tuple[DetectedFace, ...] | None
    """Faces of a photo, largest first; None for a frame of a video, whose face is tracked from frame to frame."""


class Prefetcher:
    """Iterable of candidates in their order; photos are read and searched one ahead, on a separate thread.

    The networks release the interpreter's lock while they run, so that the consuming thread is hardly slowed down.
    """

    def __init__(self, candidates: Sequence[Candidate], networks: NetworkSettings = DEFAULT_NETWORKS) -> None:
        """Begin with the first candidate."""
        self.unreadable: dict[str, str] = {}
        """Reason, by name, of each photo of a folder that could not be read."""
        self._candidates = tuple(candidates)
        self._finder = FaceFinder(landmark_backend(networks))
        self._thread = ThreadPoolExecutor(1, "prefetch")
        self._begun: dict[int, Future[Prefetched]] = {}
        self._begin(0)

    def __iter__(self) -> Iterator[Prefetched]:
        """Iterate over the candidates, once. Frames of a video that cannot be decoded are left out.

        Photos of folders that cannot be read are left out, too, and noted in `unreadable`.

        :raises InputError: at a photo or a video that was named and cannot be read.
        """
        numbered = enumerate(self._candidates)
        for of_videos, group in groupby(numbered, key=lambda entry: entry[1].video is not None):
            if of_videos:
                yield from self._videos([candidate for _, candidate in group])
                continue
            for index, candidate in group:
                self._begin(index)
                begun = self._begun.pop(index)
                self._begin(index + 1)
                try:
                    prefetched = begun.result()
                except InputError as error:
                    if not candidate.of_folder:
                        raise
                    self.unreadable[candidate.path.name] = str(error).removeprefix(f"{candidate.path}: ")
                    continue
                yield prefetched

    def _videos(self, candidates: Sequence[Candidate]) -> Iterator[Prefetched]:
        """Frames of videos, each video turned upright as a whole."""
        for _, video in groupby(candidates, key=lambda candidate: candidate.path):
            by_frame = {candidate.frame: candidate for candidate in video}
            frames = (frame for _, frame in read(list(by_frame.values())))
            for frame in upright_video(frames, self._finder):
                yield Prefetched(by_frame[frame.index], frame, None)

    def close(self) -> None:
        """Wait for the photo that is being read, and release the networks."""
        self._thread.shutdown(cancel_futures=True)
        self._finder.close()

    def __enter__(self) -> "Prefetcher":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _begin(self, index: int) -> None:
        """Submit a candidate to the thread, unless it was submitted before or is no photo."""
        if index in self._begun or index >= len(self._candidates) or self._candidates[index].video is not None:
            return
        self._begun[index] = self._thread.submit(self._prefetch, self._candidates[index])

    def _prefetch(self, photo: Candidate) -> Prefetched:
        whole = read_still(photo)
        found = upright(whole.image, self._finder)
        whole = replace(whole, image=found.image, quarter_turns=found.quarter_turns)
        frame, faces = at_working_size(whole, found.faces)
        return Prefetched(photo, frame, faces)
