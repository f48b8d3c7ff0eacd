"""The morphable head: identity PCA, 52 ARKit expressions, landmark embeddings, UV layout, regions.

Its public names are imported on first use, since tables such as `fitme.shape.landmark_groups` are needed before torch
is imported.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fitme.shape.expressions import EXPRESSION_COUNT, EXPRESSION_NAMES
    from fitme.shape.model_file import load_default_model, load_model, save_model
    from fitme.shape.morphable_model import MorphableModel
    from fitme.shape.normals import vertex_normals
    from fitme.shape.raster import Coverage, uv_raster
    from fitme.shape.regions import Region

__all__ = [
    "EXPRESSION_COUNT",
    "EXPRESSION_NAMES",
    "Coverage",
    "MorphableModel",
    "Region",
    "load_default_model",
    "load_model",
    "save_model",
    "uv_raster",
    "vertex_normals",
]

_MODULES = {
    "EXPRESSION_COUNT": "expressions",
    "EXPRESSION_NAMES": "expressions",
    "Coverage": "raster",
    "MorphableModel": "morphable_model",
    "Region": "regions",
    "load_default_model": "model_file",
    "load_model": "model_file",
    "save_model": "model_file",
    "uv_raster": "raster",
    "vertex_normals": "normals",
}


def __getattr__(name: str) -> Any:  # noqa: ANN401 (functions, classes and constants)
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
    globals()[name] = value
    return value
