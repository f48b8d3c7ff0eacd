"""Reading and writing of morphable models as `.npz`: the default one and user-supplied ones.

Layout, version 1. Floats may be float16, float32 or float64, integers of any width; everything is in the model frame
(+Y up, face along +Z, metres, origin midway between the eyeballs of the mean). V vertices, F triangles, T UV vertices,
K identity components.

=========================  ============  ==========================================================================
key                        shape         meaning
=========================  ============  ==========================================================================
``format``                 ()            1
``mean``                   (V, 3)        average neutral head
``identity_basis``         (K, V, 3)     offsets per standard deviation
``expression_basis``       (52, V, 3)    offsets at full activation, ARKit's names in the order of EXPRESSION_NAMES
``triangles``              (F, 3)        counter-clockwise seen from outside
``uv``                     (T, 2)        in [0, 1], (0, 0) top-left, v down
``uv_triangles``           (F, 3)        indices into ``uv``
``triangle_region``        (F,)          values of ``Region``
``eyeball_left``           (N,)          vertices of the person's left eyeball, may be empty
``eyeball_right``          (N,)          vertices of the right eyeball, may be empty
``mediapipe_triangles``    (478,)        triangle of each MediaPipe landmark, −1 where it has no place
``mediapipe_barycentric``  (478, 3)      rows sum to one
``ibug_triangles``         (68,)         triangle of each iBUG landmark
``ibug_barycentric``       (68, 3)       rows sum to one
``mirror``                 (V,)          optional: mirror image of each vertex; absent: each vertex itself
``face_triangles``         (F,)          optional bool: inside the face oval; absent: skin and lips with z > 0
=========================  ============  ==========================================================================

To convert BFM, FLAME or LSFM: multiply each identity component by its standard deviation unless it is already scaled
so; scale to metres; turn to +Y up, +Z front; move the origin between the eyeballs; give expressions that have no
counterpart zeros.
"""

import functools
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from fitme.errors import ModelFileError
from fitme.shape.expressions import EXPRESSION_COUNT
from fitme.shape.morphable_model import MorphableModel
from fitme.shape.regions import Region

FORMAT_VERSION = 1
MEDIAPIPE_COUNT = 478
IBUG_COUNT = 68
DEFAULT_MODEL_PATH = Path(__file__).with_name("default_model.npz")

_REQUIRED = (
    "format", "mean", "identity_basis", "expression_basis", "triangles", "uv", "uv_triangles", "triangle_region",
    "eyeball_left", "eyeball_right", "mediapipe_triangles", "mediapipe_barycentric", "ibug_triangles",
    "ibug_barycentric",
)  # fmt: skip
_BARYCENTRIC_TOLERANCE = 1e-2
_HEAD_SIZE_RANGE_M = (0.05, 1.0)

Array = npt.NDArray[np.generic]


@functools.cache
def load_default_model() -> MorphableModel:
    """Default model, which ships with the package; loaded once, so that its tensors must not be changed."""
    return load_model(DEFAULT_MODEL_PATH)


def load_model(path: str | Path) -> MorphableModel:
    """Model from a file in the layout above; ModelFileError if missing, truncated, inconsistent or of another
    layout."""
    arrays = _read(Path(path))
    vertex_count, triangle_count = _check(arrays, Path(path))

    def real(name: str) -> torch.Tensor:
        return torch.from_numpy(np.ascontiguousarray(arrays[name], np.float32))

    def whole(name: str, dtype: type = np.int64) -> torch.Tensor:
        return torch.from_numpy(np.ascontiguousarray(arrays[name], dtype))

    placed = whole("mediapipe_triangles")
    mirror = whole("mirror") if "mirror" in arrays else torch.arange(vertex_count)
    face = whole("face_triangles", np.bool_) if "face_triangles" in arrays else torch.zeros(triangle_count).bool()
    model = MorphableModel(
        mean=real("mean"),
        identity_basis=real("identity_basis"),
        expression_basis=real("expression_basis"),
        triangles=whole("triangles", np.int32),
        uv=real("uv"),
        uv_triangles=whole("uv_triangles", np.int32),
        triangle_region=whole("triangle_region"),
        eyeball_vertices=(whole("eyeball_left"), whole("eyeball_right")),
        mediapipe_triangles=placed.clamp(min=0),
        mediapipe_barycentric=real("mediapipe_barycentric"),
        mediapipe_valid=placed >= 0,
        ibug_triangles=whole("ibug_triangles"),
        ibug_barycentric=real("ibug_barycentric"),
        mirror=mirror,
        face_triangles=face,
    )
    return replace(model, face_triangles=_guess_face(model)) if "face_triangles" not in arrays else model


def save_model(path: str | Path, model: MorphableModel) -> None:
    """Write a model in the layout above, bases in float16 (an error below a micrometre)."""
    valid = model.mediapipe_valid
    np.savez_compressed(
        path,
        format=np.int64(FORMAT_VERSION),
        mean=model.mean.numpy(),
        identity_basis=model.identity_basis.numpy().astype(np.float16),
        expression_basis=model.expression_basis.numpy().astype(np.float16),
        triangles=model.triangles.numpy(),
        uv=model.uv.numpy(),
        uv_triangles=model.uv_triangles.numpy(),
        triangle_region=model.triangle_region.numpy().astype(np.uint8),
        eyeball_left=model.eyeball_vertices[0].numpy().astype(np.int32),
        eyeball_right=model.eyeball_vertices[1].numpy().astype(np.int32),
        mediapipe_triangles=torch.where(valid, model.mediapipe_triangles, -1).numpy().astype(np.int32),
        mediapipe_barycentric=model.mediapipe_barycentric.numpy(),
        ibug_triangles=model.ibug_triangles.numpy().astype(np.int32),
        ibug_barycentric=model.ibug_barycentric.numpy(),
        mirror=model.mirror.numpy().astype(np.int32),
        face_triangles=model.face_triangles.numpy(),
    )


def _guess_face(model: MorphableModel) -> torch.Tensor:
    soft = (model.triangle_region == Region.SKIN) | (model.triangle_region == Region.LIPS)
    return soft & (model.mean[model.triangles.long()][..., 2].mean(1) > 0.0)


def _read(path: Path) -> dict[str, Array]:
    try:
        with path.open("rb") as stream:
            file = np.load(stream, allow_pickle=False)
            if isinstance(file, np.ndarray):
                raise ModelFileError(f"{path} holds a single array, not the arrays of a morphable model")
            return {name: file[name] for name in file.files}
    except FileNotFoundError as error:
        raise ModelFileError(
            f"no morphable model at {path}; build it with `python -m fitme.build.shape.build`"
        ) from error
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, AttributeError) as error:
        raise ModelFileError(f"{path} is not a readable .npz of a morphable model ({error})") from error


def _check(arrays: dict[str, Array], path: Path) -> tuple[int, int]:
    """Number of vertices and triangles of a consistent file; ModelFileError otherwise."""

    def fail(problem: str) -> ModelFileError:
        return ModelFileError(f"{path}: {problem}; the layout is described in fitme/shape/model_file.py")

    missing = [name for name in _REQUIRED if name not in arrays]
    if missing:
        raise fail(f"missing {', '.join(missing)}")
    if arrays["format"].shape != () or int(arrays["format"]) != FORMAT_VERSION:
        raise fail(f"format is not {FORMAT_VERSION}")
    if arrays["mean"].ndim != 2 or arrays["triangles"].ndim != 2 or arrays["uv"].ndim != 2:
        raise fail("mean, triangles and uv must have two axes")
    if arrays["identity_basis"].ndim != 3:
        raise fail("identity_basis must have three axes")
    vertices, triangles, uv = len(arrays["mean"]), len(arrays["triangles"]), len(arrays["uv"])
    shapes = {
        "mean": (vertices, 3),
        "identity_basis": (len(arrays["identity_basis"]), vertices, 3),
        "expression_basis": (EXPRESSION_COUNT, vertices, 3),
        "triangles": (triangles, 3),
        "uv": (uv, 2),
        "uv_triangles": (triangles, 3),
        "triangle_region": (triangles,),
        "mediapipe_triangles": (MEDIAPIPE_COUNT,),
        "mediapipe_barycentric": (MEDIAPIPE_COUNT, 3),
        "ibug_triangles": (IBUG_COUNT,),
        "ibug_barycentric": (IBUG_COUNT, 3),
        "mirror": (vertices,),
        "face_triangles": (triangles,),
    }
    for name, shape in shapes.items():
        if name in arrays and arrays[name].shape != shape:
            raise fail(f"{name} has shape {arrays[name].shape} where {shape} is needed")
    ranges = {
        "triangles": (0, vertices),
        "uv_triangles": (0, uv),
        "triangle_region": (0, len(Region)),
        "eyeball_left": (0, vertices),
        "eyeball_right": (0, vertices),
        "mediapipe_triangles": (-1, triangles),
        "ibug_triangles": (0, triangles),
        "mirror": (0, vertices),
    }
    for name, (low, high) in ranges.items():
        if name in arrays and arrays[name].size:
            values = arrays[name]
            if not np.issubdtype(values.dtype, np.integer):
                raise fail(f"{name} must hold integers")
            if values.min() < low or values.max() >= high:
                raise fail(f"{name} holds values outside [{low}, {high})")
    for name in ("mean", "identity_basis", "expression_basis", "uv", "mediapipe_barycentric", "ibug_barycentric"):
        if not np.issubdtype(arrays[name].dtype, np.floating) or not np.isfinite(arrays[name]).all():
            raise fail(f"{name} must hold finite floats")
    for name in ("mediapipe", "ibug"):
        sums = arrays[f"{name}_barycentric"].sum(1)[arrays[f"{name}_triangles"].astype(np.int64) >= 0]
        if np.abs(sums - 1.0).max(initial=0.0) > _BARYCENTRIC_TOLERANCE:
            raise fail(f"rows of {name}_barycentric do not sum to one")
    height = float(np.ptp(arrays["mean"][:, 1]))
    if not _HEAD_SIZE_RANGE_M[0] <= height <= _HEAD_SIZE_RANGE_M[1]:
        raise fail(f"the head is {height:.3g} m tall, so its unit cannot be metres")
    return vertices, triangles
