"""Factory of the networks of tracking, by settings.

Free of torch until an identity embedder is asked for, so that landmarks can be found while torch is being imported.
"""

from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from fitme.errors import BackendError
from fitme.track.landmarks import LandmarkBackend
from fitme.track.mediapipe_tasks import DEFAULT_FACE_LANDMARKER, TasksBackend
from fitme.track.settings import NetworkSettings

if TYPE_CHECKING:
    from fitme.track.identity import ArcFaceEmbedder, DlibEmbedder, IdentityEmbedder

DEFAULT_NETWORKS = NetworkSettings()


def check_networks(networks: NetworkSettings) -> None:
    """Raise BackendError or ModelFileError if a chosen network lacks its package or its file."""
    landmark_backend(networks).close()
    if networks.identity == "arcface":
        identity_embedder(networks)


def landmark_backend(networks: NetworkSettings = DEFAULT_NETWORKS) -> LandmarkBackend:
    """New landmark network; the caller closes it. Raises `ModelFileError` if its file is missing."""
    file = networks.face_landmarker
    return TasksBackend(DEFAULT_FACE_LANDMARKER if file is None else file.expanduser())


def identity_embedder(networks: NetworkSettings = DEFAULT_NETWORKS) -> "IdentityEmbedder":
    """Identity network that compares people, read once a process.

    :raises BackendError: if the package or the setting that it needs is missing.
    :raises ModelFileError: if its file is missing or another network's.
    """
    if networks.identity == "dlib":
        return dlib_embedder()
    if networks.arcface is None:
        raise BackendError(
            "the identity `arcface` needs a pack of insightface such as buffalo_l: download it and name its folder in "
            "the settings as networks: {arcface: FOLDER}"
        )
    return _arcface_embedder(networks.arcface.expanduser())


@cache
def dlib_embedder() -> "DlibEmbedder":
    """dlib's ResNet, read once a process. A fit's identity losses always take this one, since they need gradients."""
    from fitme.track.identity import DlibEmbedder

    return DlibEmbedder()


@cache
def _arcface_embedder(pack: Path) -> "ArcFaceEmbedder":
    from fitme.track.identity import ArcFaceEmbedder

    return ArcFaceEmbedder(pack)
