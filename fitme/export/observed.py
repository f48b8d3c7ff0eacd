"""Which texels of an avatar images have shown, and which were completed: a map, and its share of the face."""

from pathlib import Path

import numpy as np

from fitme.arrays import Float32Array, UInt8Array
from fitme.avatar import Avatar
from fitme.export.textures import png
from fitme.shape.morphable_model import MorphableModel

OBSERVED_NAME = "observed"
"""Name of the map: 255 where images alone decide on the texel, 0 where it was guessed."""
OBSERVED_FILE = f"{OBSERVED_NAME}.png"


def observed_codes(observed: Float32Array) -> UInt8Array:
    """(R, R) 8-bit values of a map of shares (R, R)."""
    codes: UInt8Array = np.rint(255.0 * np.clip(observed, 0.0, 1.0)).astype(np.uint8)
    return codes


def observed_share(avatar: Avatar, model: MorphableModel) -> float | None:
    """Share of the face's area, on the average head, that images have shown; None if the avatar does not hold it."""
    if avatar.observed is None:
        return None
    observed = avatar.observed.numpy()
    faces = model.face_triangles.numpy()
    corners = model.mean.numpy()[model.triangles.numpy()[faces]]
    area = np.linalg.norm(np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), axis=1)
    middle = model.uv.numpy()[model.uv_triangles.numpy()[faces]].mean(1)
    column, row = (np.minimum((middle * len(observed)).astype(int), len(observed) - 1)).T
    return float((area * observed[row, column]).sum() / area.sum())


def write_observed(avatar: Avatar, folder: Path) -> None:
    """Write `OBSERVED_FILE` into an existing folder; all black if the avatar does not hold the map."""
    size = avatar.maps.diffuse.shape[1:3]
    observed = np.zeros(size, np.float32) if avatar.observed is None else avatar.observed.numpy()
    (folder / OBSERVED_FILE).write_bytes(png(observed_codes(observed)))
