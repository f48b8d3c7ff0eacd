"""File of the views that the texture encoder's training simulates: measured where the data set is built, with the fit's
own unprojection, and read where the networks are trained."""

import io
from pathlib import Path

import numpy as np
import torch

from fitme.atomic_file import atomic_file
from fitme.errors import InputError
from fitme.training.encoder.simulated_textures import Views

VIEWS_FILE = "views.npz"
_LARGEST_BYTE = 127.0
_DIRECTIONS = ("normals", "mirror")


def save_views(views: Views, folder: Path) -> None:
    """Write views into a folder, weights and directions in 8 bits."""
    arrays = {name: (_LARGEST_BYTE * getattr(views, name)).round().to(torch.int8).numpy() for name in _DIRECTIONS}
    arrays |= {
        "weight": (2.0 * _LARGEST_BYTE * views.weight).round().to(torch.uint8).numpy(),
        "skin": views.skin.numpy(),
        "occlusion": views.occlusion.numpy(),
    }
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)
    with atomic_file(folder / VIEWS_FILE) as partial:
        partial.write_bytes(buffer.getvalue())


def load_views(folder: Path) -> Views:
    """Views in a folder; InputError if the file is missing or damaged."""
    try:
        with np.load(folder / VIEWS_FILE) as file:
            directions = {name: torch.from_numpy(file[name]).float() / _LARGEST_BYTE for name in _DIRECTIONS}
            return Views(
                weight=torch.from_numpy(file["weight"]).float() / (2.0 * _LARGEST_BYTE),
                skin=torch.from_numpy(file["skin"]),
                occlusion=torch.from_numpy(file["occlusion"]),
                **directions,
            )
    except (OSError, ValueError, KeyError) as error:
        raise InputError(
            f"{folder / VIEWS_FILE} holds no views ({error}): build the set again with `fitme data build --people`"
        ) from error
