"""The morphable head: identity PCA, 52 ARKit expressions, landmark embeddings, UV layout, regions."""

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
