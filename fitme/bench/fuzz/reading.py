"""What `fitme fit` does with files before it fits, as a command: ``python -m fitme.bench.fuzz.reading FILE BYTES``.

It reads every candidate of the file and searches photos for faces, and needs no torch, so that thousands of files can
be tried, each in its own process. Errors end it as they end `fitme`.
"""

import resource
import sys
from pathlib import Path

from fitme.exit_codes import ending_in_one_line
from fitme.ingest.candidates import gather
from fitme.ingest.prefetch import Prefetcher
from fitme.quiet import quiet_libraries


def read_all(path: Path) -> int:
    """Read all candidates of a file or folder; returns how many could be read.

    :raises InputError: as `fitme fit` raises it.
    """
    with quiet_libraries(), Prefetcher(gather([path])) as prefetcher:
        return sum(1 for _ in prefetcher)


def main() -> None:
    """``reading FILE BYTES``: with at most so many bytes of memory."""
    limit = int(sys.argv[2])
    resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
    with ending_in_one_line():
        print(read_all(Path(sys.argv[1])))


if __name__ == "__main__":
    main()
