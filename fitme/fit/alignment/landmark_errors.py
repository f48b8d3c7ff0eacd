"""Statistics of the errors of MediaPipe's landmarks against the model's embedding, measured on synthetic heads by
`fitme.build.landmark_errors.measure`.

Errors are displacements in the head's own frame, projected along the camera's axis, in units of the face's size in the
image. One part is a regression on the head's direction and on the person's identity (the detector is biased towards
the mean face), one part is common to all frames of a person, one part to all landmarks of a frame; the rest is
independent noise.
"""

import functools
import zipfile
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
import numpy.typing as npt

from fitme.arrays import Float64Array, Int64Array
from fitme.atomic_file import atomic_file
from fitme.errors import ModelFileError
from fitme.shape.landmark_groups import SURFACE_LANDMARK_COUNT
from fitme.shape.morphable_model import MorphableModel

FORMAT_VERSION = 1
DEFAULT_ERRORS_PATH = Path(__file__).with_name("landmark_errors.npz")
PLACE_TOLERANCE_M = 1e-4
"""Errors are of another model if one of its landmarks lies farther than this from where it was measured."""
DIRECTION_TERMS = 8
"""Length of `direction_terms`."""


@dataclass(frozen=True, eq=False)
class LandmarkErrors:
    """Errors of P of MediaPipe's landmarks, metres on a head of the mean's size."""

    landmarks: Int64Array
    """(P,) indices among MediaPipe's."""
    places: Float64Array
    """(P, 3) places on the mean head, metres: identify the model on which the errors were measured."""
    direction: Float64Array
    """(P, 3, 8) mean error by `direction_terms`."""
    identity: Float64Array
    """(P, 3, k) mean error by the first k coefficients of the person's identity."""
    person: Float64Array
    """(P, 3, M) by coefficients that are standard normal over people."""
    frame: Float64Array
    """(P, 3, C) by coefficients that are standard normal over frames."""
    sigma: Float64Array
    """(P,) standard deviation of the rest, along each axis."""
    turn_growth: Float64Array
    """() growth of all standard deviations with the squared sine of the head's turn."""

    def fits(self, model: MorphableModel) -> bool:
        """Whether the errors were measured on this model."""
        if model.identity_count < self.identity.shape[2]:
            return False
        found = model.landmarks(model.mean[None])[0].double().numpy()[self.landmarks]
        return bool(np.abs(found - self.places).max() < PLACE_TOLERANCE_M)

    def spread(self, rotation: Float64Array) -> float:
        """Factor on `person`, `frame` and `sigma` for a head's rotation (3, 3), model to view."""
        return 1.0 + float(self.turn_growth) * (1.0 - min(1.0, float(rotation[2, 2]) ** 2))

    def save(self, path: Path) -> None:
        """Write an .npz, atomically."""
        arrays = {field.name: np.asarray(getattr(self, field.name), np.float32) for field in fields(self)}
        arrays["landmarks"] = self.landmarks.astype(np.int16)
        with atomic_file(path) as partial, partial.open("wb") as opened:
            np.savez_compressed(opened, format=np.int64(FORMAT_VERSION), **arrays)


@functools.cache
def load_default_errors() -> LandmarkErrors:
    """Errors that ship with the package, of its own model."""
    return load_errors(DEFAULT_ERRORS_PATH)


def load_errors(path: Path) -> LandmarkErrors:
    """Errors from a file that `LandmarkErrors.save` wrote; ModelFileError if missing, truncated or inconsistent."""
    try:
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
    except FileNotFoundError as error:
        raise ModelFileError(
            f"no errors of landmarks at {path}; measure them with `python -m fitme.build.landmark_errors.measure`"
        ) from error
    except (OSError, ValueError, EOFError, KeyError, AttributeError, TypeError, zipfile.BadZipFile) as error:
        raise ModelFileError(
            f"{path} is not a readable .npz of landmarks' errors ({error}); copy it again, or measure them anew with "
            "`python -m fitme.build.landmark_errors.measure`"
        ) from error
    _check(arrays, path)
    loaded = {field.name: arrays[field.name].astype(np.float64) for field in fields(LandmarkErrors)}
    return LandmarkErrors(**loaded | {"landmarks": arrays["landmarks"].astype(np.int64)})


def direction_terms(rotations: Float64Array) -> Float64Array:
    """(N, 8) monomials of head directions, of rotations (N, 3, 3) from model to view."""
    x, y = rotations[:, 0, 2], rotations[:, 1, 2]
    return np.stack([np.ones_like(x), x, x * x, x**3, y, y * y, x * y, x * x * y], 1)


def pixels_per_metre(places: Float64Array, pixels: Float64Array, rotation: Float64Array) -> float:
    """Size of a face in an image: the scale of the mean head's landmarks (L, 3), rotated by (3, 3) and projected
    orthographically, that fits landmarks (L, 2) in pixels best (least squares)."""
    flat = places @ rotation[:2].T * (1.0, -1.0)
    flat, found = flat - flat.mean(0), pixels - pixels.mean(0)
    return float((flat * found).sum() / (flat**2).sum())


def _check(arrays: dict[str, npt.NDArray[np.generic]], path: Path) -> None:
    def fail(problem: str) -> ModelFileError:
        return ModelFileError(
            f"{path}: {problem}; measure it anew with `python -m fitme.build.landmark_errors.measure`"
        )

    missing = [name for name in ("format", *(field.name for field in fields(LandmarkErrors))) if name not in arrays]
    if missing:
        raise fail(f"missing {', '.join(missing)}")
    if arrays["format"].shape != () or arrays["format"] != FORMAT_VERSION:
        raise fail(f"format is not {FORMAT_VERSION}")
    index = arrays["landmarks"]
    if index.ndim != 1 or not np.issubdtype(index.dtype, np.integer):
        raise fail("landmarks must be a row of integers")
    count = len(index)
    for name in ("direction", "identity", "person", "frame"):
        if arrays[name].ndim != 3 or arrays[name].shape[:2] != (count, 3):
            raise fail(f"{name} has shape {arrays[name].shape} where ({count}, 3, N) is needed")
    if arrays["direction"].shape[2] != DIRECTION_TERMS:
        raise fail(f"direction must have {DIRECTION_TERMS} terms")
    for name, shape in {"places": (count, 3), "sigma": (count,), "turn_growth": ()}.items():
        if arrays[name].shape != shape:
            raise fail(f"{name} has shape {arrays[name].shape} where {shape} is needed")
    reals = [arrays[field.name] for field in fields(LandmarkErrors) if field.name != "landmarks"]
    if not all(np.issubdtype(array.dtype, np.floating) and np.isfinite(array).all() for array in reals):
        raise fail("all but landmarks must be finite floats")
    if count == 0 or index.min() < 0 or index.max() >= SURFACE_LANDMARK_COUNT:
        raise fail(f"landmarks must lie in [0, {SURFACE_LANDMARK_COUNT})")
    if (arrays["sigma"].astype(np.float64) <= 0.0).any() or float(arrays["turn_growth"].astype(np.float64)) < 0.0:
        raise fail("sigma must be positive and turn_growth not negative")
