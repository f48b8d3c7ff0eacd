"""Looking at pictures ahead of whoever takes them.

Free of torch, as all that it imports, so that a picture can be looked at while torch is still being imported.
"""

from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import groupby
from types import TracebackType

from fitme.ingest.frame import Frame
from fitme.ingest.gather import Candidate, read
from fitme.ingest.pictures import read_picture
from fitme.track.detections import Detections, look
from fitme.track.landmarks import FaceFinder
from fitme.track.mediapipe_solutions import SolutionsBackend
from fitme.track.segmentation import HandOcclusion


@dataclass(frozen=True)
class Prefetched:
    """A candidate that was read."""

    candidate: Candidate
    frame: Frame
    sight: Detections | None
    """What a photo shows; None for a frame of a video, in which a tracker follows the face from frame to frame."""


class Prefetcher:
    """Reads candidates in their order, and looks at photos one ahead of whoever takes them, on a thread of its own.

    The networks let go of the interpreter while they run, so that the taking thread loses next to nothing.
    """

    def __init__(self, candidates: Sequence[Candidate]) -> None:
        """Begins with the first candidate."""
        self._candidates = tuple(candidates)
        self._finder = FaceFinder(SolutionsBackend())
        self._hands = HandOcclusion()
        self._thread = ThreadPoolExecutor(1, "lookout")
        self._begun: dict[int, Future[Prefetched]] = {}
        self._begin(0)

    def __iter__(self) -> Iterator[Prefetched]:
        """The candidates, to be taken once. Frames of a video that cannot be decoded are left out.

        Raises InputError at a photo or a video that cannot be read.
        """
        numbered = enumerate(self._candidates)
        for of_videos, group in groupby(numbered, key=lambda entry: entry[1].video is not None):
            if of_videos:
                for candidate, frame in read([candidate for _, candidate in group]):
                    yield Prefetched(candidate, frame, None)
                continue
            for index, _ in group:
                self._begin(index)
                glimpse = self._begun.pop(index).result()
                self._begin(index + 1)
                yield glimpse

    def close(self) -> None:
        """Wait until nothing is being looked at, and release the networks."""
        self._thread.shutdown(cancel_futures=True)
        self._finder.close()
        self._hands.close()

    def __enter__(self) -> "Prefetcher":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _begin(self, index: int) -> None:
        """Have a candidate looked at, unless that was begun, or it is no photo."""
        if index in self._begun or index >= len(self._candidates) or self._candidates[index].video is not None:
            return
        self._begun[index] = self._thread.submit(self._glimpse, self._candidates[index])

    def _glimpse(self, photo: Candidate) -> Prefetched:
        frame = read_picture(photo.path)
        return Prefetched(photo, frame, look(frame.image, self._finder, self._hands))
