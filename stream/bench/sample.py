"""The sample clip as the camera of a measurement."""

import av

from fitme.errors import InputError
from stream.bench.native_peer import read_clip
from stream.web.app import CLIENT_FOLDER, SAMPLE_NAMES

SIZE_PX = (640, 480)
SMALL_PX = (160, 120)
"""Of cameras whose frames nobody tracks."""
RATE = 30.0
"""Frames a second."""


def sample_frames() -> list[av.VideoFrame]:
    """Frames of the page's sample clip at `SIZE_PX`, ready to be encoded.

    :raises InputError: if there is none.
    """
    sample = next((CLIENT_FOLDER / name for name in SAMPLE_NAMES if (CLIENT_FOLDER / name).is_file()), None)
    if sample is None:
        raise InputError(f"{CLIENT_FOLDER}: there is no sample clip")
    return [frame.reformat(width=SIZE_PX[0], height=SIZE_PX[1]) for frame in read_clip(sample)]
