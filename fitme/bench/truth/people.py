"""Populations of heads as subjects of the benchmark: vertices, materials, and texture coordinates in the model's UV
layout, so that painted skins fit; here of a scan-based one (ICT-FaceKit, MIT licence).

Frame and units are the model's: +Y up, the face looks along +Z, metres, origin midway between the mean's eyeballs.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum, StrEnum
from pathlib import Path

import numpy as np
from scipy.interpolate import RBFInterpolator
from scipy.sparse import coo_matrix, csr_matrix, diags
from scipy.sparse.linalg import spsolve

from fitme.arrays import BoolArray, Float32Array, Float64Array, Int64Array
from fitme.bench.truth.metrics import align_to_mesh
from fitme.bench.truth.visibility import visible_vertices
from fitme.build.shape.human_statistics import fit_people, load_people
from fitme.build.shape.identity_pca import IdentitySpace
from fitme.build.shape.landmark_embedding import Embedding, nearest_on_mesh
from fitme.errors import InputError
from fitme.shape.morphable_model import MorphableModel
from fitme.shape.regions import Region

METRES_PER_UNIT = 0.01
NARROW_FACE_END = 6706
"""End of the vertices of the narrow face, on which shape errors are measured."""
_HEAD_END, _SOCKET_END, _GUMS, _TEETH, _EYEBALLS = 11248, 13294, (14062, 17039), (17039, 21451), (21451, 24591)
_EYE_OUTER = ((21451, 22221), (23021, 23791))
"""Vertex ranges of the outer shells of the left and the right eyeball; inner shells are not rendered."""
_SURFACE_END = 14062
_COLLAR_M = -0.135
"""Height below which the population's shoulders have the material of clothes."""
_STIFF_ABOVE_M, _STILL_BELOW_M = -0.06, -0.15
"""Above, the neck turns with the head; below, it stays with the body."""
_FIRST_SEMANTIC_LANDMARK = 27
"""iBUG's landmarks from the nose on have a fixed place on every face."""
_WARP_REACH_M = 0.02
_WARP_SMOOTHING = 0.05
_SHELL_SMOOTHING_ROUNDS = 12
_SHELL_FLOOR_M = 0.0006
_HAIR_WAVES_PER_M, _HAIR_WAVE_SHARE = 160.0, 0.12


class Population(StrEnum):
    """Population that subjects are drawn from."""

    SCANS = "scans"
    """ICT-FaceKit's scan-based model, whose statistics the prior over identities has."""
    SYNTHETIC = "synthetic"
    """Synthetic people of `fitme.bench.truth.synthetic_people`, whose statistics it has not."""


class Material(IntEnum):
    """Material of a triangle."""

    SKIN = 0
    MOUTH = 1
    TEETH = 2
    EYES = 3
    CLOTH = 4
    SHELL = 5
    """Hair or a cap: a separate surface over the scalp."""


@dataclass(frozen=True)
class PopulationModel:
    """Linear model of a population, in the model's frame and UV layout."""

    mean: Float64Array
    """(N, 3) mean vertices, metres."""
    identity: Float32Array
    """(100, N, 3) metres per standard deviation."""
    expression: Float32Array
    """(E, N, 3) metres at full activation."""
    expression_names: tuple[str, ...]
    """(E,) ARKit's names, or these with `_L` and `_R` for sides; some of ARKit's symmetric expressions may be split
    into sides."""
    triangles: Mapping[Material, Int64Array]
    """(F, 3) by material, counter-clockwise from outside."""
    landmarks: Int64Array
    """(68,) vertices of iBUG's landmarks."""
    uv: Float32Array
    """(T, 2) texture coordinates in the model's layout, v down; those of eyeballs are in `eye_texture`'s layout:
    0.5 plus half the sine of the angle from the gaze."""
    uv_triangles: Mapping[Material, Int64Array]
    """(F, 3) indices into `uv` of the corners of `triangles`, by material."""
    stiffness: Float64Array
    """(N,) 1 where a vertex turns with the head, 0 where it stays with the body."""
    shell: Float64Array
    """(N,) 1 in the middle of the scalp, falling to 0 at its edge: thickness of hair or cap."""
    face_triangles: Int64Array
    """(F, 3) triangles of the narrow face that are visible from outside."""

    def neutral(self, identity: Float64Array) -> Float64Array:
        """Vertices (N, 3) of the expressionless head with coefficients (100,)."""
        return np.asarray(self.mean + np.tensordot(identity, self.identity, 1))

    def offsets(self, activations: Mapping[str, float]) -> Float64Array:
        """Displacements (N, 3) of an expression, metres.

        Names are ARKit's or the population's. Raises ValueError for others.
        """
        total = np.zeros_like(self.mean)
        for name, value in activations.items():
            for index in self._indices(name):
                total += value * self.expression[index]
        return total

    def shell_vertices(self, vertices: Float64Array, thickness_m: float, wavy: bool) -> Float64Array:
        """Vertices (N, 3) of hair or cap over a head (N, 3), metres; valid for the triangles of `Material.SHELL`
        only."""
        normals = smooth_normals(vertices, self.triangles[Material.SKIN])
        thickness = _SHELL_FLOOR_M + thickness_m * self.shell
        if wavy:
            strands = np.sin(_HAIR_WAVES_PER_M * (self.mean[:, 0] + 0.4 * np.sin(40.0 * self.mean[:, 2]) / 40.0))
            thickness = thickness * (1.0 + _HAIR_WAVE_SHARE * strands)
        return np.asarray(vertices + thickness[:, None] * normals)

    def eyeball_radius(self, vertices: Float64Array) -> float:
        """Mean radius of both eyeballs of a head (N, 3), metres, across the gaze."""
        used = np.unique(self.triangles[Material.EYES])
        is_left = self.mean[used, 0] > 0.0
        return float(np.mean([np.ptp(vertices[eye, :2], axis=0) / 2.0 for eye in (used[is_left], used[~is_left])]))

    def _indices(self, name: str) -> list[int]:
        base = name.replace("Left", "_L").replace("Right", "_R") if name[:-1].endswith(("Lef", "Righ")) else name
        found = [i for i, own in enumerate(self.expression_names) if own in (base, f"{base}_L", f"{base}_R", name)]
        if not found:
            raise ValueError(f"{name}: the population has no such expression")
        return found


def load_scans(path: Path, model: MorphableModel) -> PopulationModel:
    """Read the population (`ict_facekit.npz`) and map its vertices into the model's UV layout; takes a few seconds.

    Raises InputError without the file.
    """
    if not path.is_file():
        raise InputError(f"{path}: no scan-based population; name the folder of ict_facekit.npz in FITME_SCANS")
    with np.load(path) as file:
        mean = file["mean"].astype(np.float64) * METRES_PER_UNIT
        identity = file["identity"].astype(np.float32) * np.float32(METRES_PER_UNIT)
        expression = file["expression"].astype(np.float32) * np.float32(METRES_PER_UNIT)
        names = tuple(str(name) for name in file["expression_names"])
        quads = file["faces"].astype(np.int64)
        landmarks = file["landmark_vertices"].astype(np.int64)
    triangles = np.concatenate([quads[:, [0, 1, 2]], quads[quads[:, 3] >= 0][:, [0, 2, 3]]])
    # The model's origin is midway between the eyeballs.
    start, end = _EYEBALLS
    middle = (start + end) // 2
    mean = mean - np.mean([_box_centre(mean[a:b]) for a, b in ((start, middle), (middle, end))], axis=0)
    uv, scalp = _layout_coordinates(path, model, mean, landmarks)
    # Eyeballs have their own layout.
    for a, b in _EYE_OUTER:
        uv[a:b] = eye_coordinates(mean[a:b] - _box_centre(mean[a:b]))
    parts = _materials(mean, triangles, scalp)
    shell = shell_profile(parts[Material.SHELL], len(mean))
    stiffness = _stiffness(mean, triangles)
    # Shape errors are measured on visible skin of the narrow face alone.
    outside = np.concatenate([parts[material] for material in (Material.SKIN, Material.EYES, Material.MOUTH)])
    visible = visible_vertices(mean, outside) & (np.arange(len(mean)) < NARROW_FACE_END)
    face = parts[Material.SKIN][visible[parts[Material.SKIN]].all(1)]
    return PopulationModel(
        mean, identity, expression, names, parts, landmarks, uv.astype(np.float32), parts, stiffness, shell, face
    )  # fmt: skip


def eye_coordinates(offsets: Float64Array) -> Float64Array:
    """Texture coordinates (N, 2) in `PopulationModel.uv`'s layout of eyeballs of points at offsets (N, 3) from the
    centre of an eyeball; its back half is clamped to the rim."""
    direction = offsets / np.linalg.norm(offsets, axis=1, keepdims=True)
    behind = direction[:, 2] < 0.0
    direction[behind] /= np.maximum(np.linalg.norm(direction[behind, :2], axis=1, keepdims=True), 1e-6)
    return np.asarray(0.5 + 0.5 * direction[:, :2] * (1.0, -1.0))


def smooth_normals(vertices: Float64Array, triangles: Int64Array) -> Float64Array:
    """Unit normals (N, 3) of vertices (N, 3): area-weighted means of their triangles' (F, 3); zero for loose ones."""
    a, b, c = (vertices[triangles[:, k]] for k in range(3))
    face = np.cross(b - a, c - a)
    total = np.zeros_like(vertices)
    for k in range(3):
        np.add.at(total, triangles[:, k], face)
    return np.asarray(total / np.maximum(np.linalg.norm(total, axis=1, keepdims=True), 1e-15))


def _box_centre(points: Float64Array) -> Float64Array:
    return np.asarray((points.min(0) + points.max(0)) / 2.0)


def _layout_coordinates(
    path: Path, model: MorphableModel, mean: Float64Array, landmarks: Int64Array
) -> tuple[Float64Array, BoolArray]:
    """Texture coordinates (N, 2) and mask of the scalp (N,) of the population's vertices.

    Registration of the two means by shape, rigid alignment and a landmark warp, then transfer from the nearest point.
    """
    # 1. Fit the model's identity to the population, so that both means have one shape.
    triangles = model.triangles.numpy().astype(np.int64)
    region = model.triangle_region.numpy()
    surface = np.flatnonzero(~np.isin(region, (Region.EYES, Region.MOUTH_INTERIOR, Region.TEETH)))
    ibug = Embedding(model.ibug_triangles.numpy(), model.ibug_barycentric.double().numpy())
    balls = (model.eyeball_vertices[0].numpy(), model.eyeball_vertices[1].numpy())
    space = IdentitySpace(model.mean.double().numpy(), model.identity_basis.double().numpy())
    fit = fit_people(space, triangles, surface, balls, ibug, load_people(path), prior_scale=1.0)
    ours = space.mean + np.tensordot(fit.mean_coefficients, space.basis, 1)
    # 2. Align the population's mean rigidly onto it.
    semantic = slice(_FIRST_SEMANTIC_LANDMARK, None)
    targets = ibug.points(ours, triangles)[semantic]
    pairs = (mean[landmarks[semantic]], targets)
    aligned = align_to_mesh(mean[:NARROW_FACE_END], ours, triangles, surface, pairs, free_scale=False).apply(mean)
    # 3. Warp lips and eyelids onto the model's, since nearest points confuse upper and lower ones.
    warp = RBFInterpolator(
        aligned[landmarks[semantic]],
        targets - aligned[landmarks[semantic]],
        kernel="gaussian",
        epsilon=1.0 / _WARP_REACH_M,
        degree=-1,
        smoothing=_WARP_SMOOTHING,
    )
    # 4. Texture coordinates and region of the nearest point.
    aligned = aligned[:_SURFACE_END]
    places = nearest_on_mesh(aligned + warp(aligned), ours, triangles, surface)
    corners = model.uv.double().numpy()[model.uv_triangles.numpy()[places.triangle]]  # (n, 3, 2)
    uv = np.zeros((len(mean), 2))
    uv[:_SURFACE_END] = (corners * places.barycentric[..., None]).sum(1)
    scalp = np.zeros(len(mean), bool)
    scalp[:_HEAD_END] = region[places.triangle[:_HEAD_END]] == Region.SCALP
    return uv, scalp


def _materials(mean: Float64Array, triangles: Int64Array, scalp: BoolArray) -> dict[Material, Int64Array]:
    """Triangles (F, 3) by material, from vertex ranges, height and the mask of the scalp (N,)."""
    low, high = triangles.min(1), triangles.max(1)
    surface = high < _SURFACE_END
    socket = surface & (low >= _HEAD_END) & (high < _SOCKET_END)
    cloth = surface & (mean[triangles, 1].max(1) < _COLLAR_M) & (low >= NARROW_FACE_END)
    eyes = np.zeros(len(triangles), bool)
    for a, b in _EYE_OUTER:
        eyes |= (low >= a) & (high < b)
    gums = (low >= _GUMS[0]) & (high < _GUMS[1])
    return {
        Material.SKIN: triangles[surface & ~socket & ~cloth],
        Material.MOUTH: triangles[socket | gums],
        Material.TEETH: triangles[(low >= _TEETH[0]) & (high < _TEETH[1])],
        Material.EYES: triangles[eyes],
        Material.CLOTH: triangles[cloth],
        Material.SHELL: triangles[surface & scalp[triangles].all(1)],
    }


def _adjacency(triangles: Int64Array, count: int) -> csr_matrix:
    """Adjacency matrix (N, N) of a mesh's vertices: ones between neighbours."""
    rows = triangles[:, [0, 1, 2, 1, 2, 0]].ravel()
    columns = triangles[:, [1, 2, 0, 0, 1, 2]].ravel()
    graph = coo_matrix((np.ones(len(rows)), (rows, columns)), shape=(count, count)).tocsr()
    graph.data[:] = 1.0
    return graph


def shell_profile(triangles: Int64Array, count: int) -> Float64Array:
    """Profile (N,) of the shell's thickness over a patch: square root of the probability that a random walk of
    `_SHELL_SMOOTHING_ROUNDS` steps does not reach the patch's rim; 0 on the rim and outside.
    """
    graph = _adjacency(triangles, count)
    inside = np.zeros(count, bool)
    inside[triangles] = True
    # The rim consists of the edges that belong to one triangle only.
    edges = np.sort(triangles[:, [0, 1, 1, 2, 2, 0]].reshape(-1, 2), axis=1)
    unique, times = np.unique(edges, axis=0, return_counts=True)
    rim = np.zeros(count, bool)
    rim[unique[times == 1]] = True
    level = (inside & ~rim).astype(np.float64)
    degree = np.maximum(np.asarray(graph.sum(1)).ravel(), 1.0)
    for _ in range(_SHELL_SMOOTHING_ROUNDS):
        level = np.where(rim, 0.0, graph @ level / degree)
    return np.asarray(np.sqrt(np.clip(level, 0.0, 1.0)))


def _stiffness(mean: Float64Array, triangles: Int64Array) -> Float64Array:
    """Weights (N,) of the head's rotation: 1 on the head, 0 on the shoulders, harmonic on the neck between them."""
    count = len(mean)
    # Dirichlet conditions on head and shoulders; the graph Laplacian is solved for the rest.
    fixed_one = (np.arange(count) < NARROW_FACE_END) | (mean[:, 1] > _STIFF_ABOVE_M)
    fixed_one[_HEAD_END:] = True
    fixed_zero = (mean[:, 1] < _STILL_BELOW_M) & ~fixed_one
    graph = _adjacency(triangles, count)
    degree = np.asarray(graph.sum(1)).ravel()
    free = np.flatnonzero(~fixed_one & ~fixed_zero & (degree > 0))
    value = fixed_one.astype(np.float64)
    laplacian = (diags(degree) - graph).tocsr()
    value[free] = spsolve(laplacian[free][:, free].tocsc(), -(laplacian[free] @ value))
    return value
