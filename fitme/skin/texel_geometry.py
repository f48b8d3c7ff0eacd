"""Texel geometry of the UV layout: position, region and distance to facial features of every texel, and the fixed noise
fields that synthetic skins mix. Distances in the layout are in layout units: its side is 1, v points down."""

from dataclasses import dataclass
from functools import cache

import numpy as np
from scipy.ndimage import distance_transform_edt, gaussian_filter, map_coordinates

from fitme.arrays import BoolArray, Float32Array, Int64Array, RealArray
from fitme.shape.landmark_groups import INNER_LIPS, LEFT_EYE, LEFT_IRIS, OUTER_LIPS, RIGHT_EYE, RIGHT_IRIS
from fitme.shape.model_file import load_default_model
from fitme.shape.morphable_model import MorphableModel
from fitme.shape.raster import uv_raster
from fitme.shape.regions import Region
from fitme.skin import microstructure
from fitme.skin.noise_fields import (
    BASE_RESOLUTION,
    STRAND_FIELDS,
    at_resolution,
    beard_strands,
    scalp_strands,
    stretched_noise,
    stubble,
)

BROW_UPPER = ((70, 63, 105, 66, 107), (300, 293, 334, 296, 336))
"""MediaPipe's landmarks along the upper edge of the right and left brow, from the temple inwards."""
BROW_LOWER = ((46, 53, 52, 65, 55), (276, 283, 282, 295, 285))
"""MediaPipe's landmarks along the lower edge, in the same order."""

LOW_FIELDS, MIDDLE_FIELDS, FINE_FIELDS, GRAIN_FIELDS, PORE_FIELDS = 12, 10, 6, 3, 3
"""Noise fields of the bank per spatial scale. Every skin mixes the same fields, so that a small network can learn
them."""
LOW_CELL_M, MIDDLE_CELL_M, FINE_CELL_M, GRAIN_CELL_M, PORE_CELL_M = 0.022, 0.006, 0.0021, 0.0011, 0.00055
"""Lattice spacing of the noise per scale, metres."""
VANISHING = (0.7, 1.2)
"""Texel sizes, in cells of a noise field, at which a resolution begins to lose the field and at which nothing is
left."""
LIP_FOLD_CELL = (0.0035, 0.03)
"""Lattice spacing of the folds of the lips along u and v, layout units."""
BROW_CELL = (0.0021, 0.016)
"""Lattice spacing of the hairs of the brows across and along a hair, layout units."""
BROW_ROWS = (0.14, 0.32)
"""Range of v that holds the brows."""
BROW_SPAN = 0.16
"""Length of a brow, layout units."""
IRIS_FIBRES = 40
"""Cells of noise around the iris."""
_LATTICE_SIZE = 48
"""Cells after which the noise of the bank repeats."""
_BANK_SEED = 20


@dataclass(frozen=True)
class Curve:
    """Coordinates of every texel relative to a curve in the layout."""

    along: Float32Array
    """(H, W) parameter of the nearest point on the curve, 0 at its start, 1 at its end."""
    across: Float32Array
    """(H, W) signed distance in layout units, positive above the curve (towards smaller v)."""


@dataclass(frozen=True, eq=False)
class TexelGeometry:
    """Geometry of a layout's texels at one resolution. Masks are float32 in [0, 1] where nothing else is stated."""

    resolution: int
    covered: BoolArray
    """(H, W) whether a triangle covers the texel's centre."""
    region: Int64Array
    """(H, W) `Region`; texels between islands have the region of the nearest covered texel."""
    position: Float32Array
    """(H, W, 3) metres on the mean head, model frame; between islands that of the nearest covered texel."""
    u: Float32Array
    """(H, W) distance of the texel from the layout's vertical axis of symmetry: |u - 0.5|."""
    v: Float32Array
    """(H, W) v of the texel's centre, 0 at the top."""
    texel_m: tuple[Float32Array, Float32Array]
    """(H, W) metres per texel along u and along v."""
    landmarks: Float32Array
    """(478, 2) MediaPipe's landmarks as (u, v)."""
    brows: tuple[Curve, Curve]
    """Middle lines of the right and left brow, from the inner end outwards."""
    eyelids: Float32Array
    """(H, W) distance to the nearest eyelid rim in layout units, negative inside the opening."""
    below_eye: Float32Array
    """(H, W) height above the nearer eye's centre in layout units (negative below it)."""
    lips: Float32Array
    """(H, W) distance to the outline of the lips in layout units, negative inside."""
    iris: Float32Array
    """(H, W) distance to the centre of the eyeball's iris in radii of the iris; large off the eyeballs."""
    iris_angle: Float32Array
    """(H, W) direction from that centre in radians."""
    inner_lips: Float32Array
    """(H, W) distance to the line where lips meet, negative on the side of the mouth."""
    ear_hollow: Float32Array
    """(H, W) relative depth of the concha and folds of the ears, in [0, 1]."""
    low: Float32Array
    """(LOW_FIELDS, H, W) smooth noise of unit variance, seamless on the head."""
    middle: Float32Array
    """(MIDDLE_FIELDS, H, W) noise of smaller cells, as `low`."""
    fine: Float32Array
    """(FINE_FIELDS, H, W)."""
    grain: Float32Array
    """(GRAIN_FIELDS, H, W)."""
    pores: Float32Array
    """(PORE_FIELDS, H, W)."""
    scalp_strands: Float32Array
    """(STRAND_FIELDS, H, W) noise smeared along the flow of scalp hair."""
    beard_strands: Float32Array
    """(STRAND_FIELDS, H, W) coverage by short hairs."""
    brow_strands: Float32Array
    """(STRAND_FIELDS, H, W) coverage by the slanted hairs of the brows."""
    stubble: Float32Array
    """(H, W) coverage by cut hairs."""
    lip_folds: Float32Array
    """(STRAND_FIELDS, H, W) irregular vertical folds, unit variance."""
    lip_creases: Float32Array
    """(STRAND_FIELDS, H, W) fine creases between the folds of the lips; zero in coarse maps, see `microstructure`."""
    pits: Float32Array
    """(STRAND_FIELDS, H, W) openings of pores; zero in coarse maps."""
    grit: Float32Array
    """(STRAND_FIELDS, H, W) finest grain of the skin; zero in coarse maps."""
    iris_fibres: Float32Array
    """(STRAND_FIELDS, H, W) radial fibres, unit variance."""

    def landmark(self, *indices: int) -> tuple[float, float]:
        """Mean place of landmarks as (|u - 0.5|, v)."""
        points = self.landmarks[list(indices)]
        return float(np.abs(points[:, 0] - 0.5).mean()), float(points[:, 1].mean())

    def blob(self, centre: tuple[float, float], width: float, height: float) -> Float32Array:
        """Gaussian spots (H, W), mirror symmetric, with the given standard deviations in layout units; zero off the
        skin."""
        spot = np.exp(-0.5 * (((self.u - centre[0]) / width) ** 2 + ((self.v - centre[1]) / height) ** 2))
        return np.where(self.skin_like, spot, 0.0).astype(np.float32)

    @property
    def detail(self) -> float:
        """Share of the fine structure that this resolution holds, in [0, 1]."""
        return microstructure.detail(self.resolution)

    @property
    def skin_like(self) -> BoolArray:
        """(H, W) whether a texel is on the outer surface of the head."""
        outer = (Region.SKIN, Region.LIPS, Region.EARS, Region.SCALP, Region.NECK)
        return np.isin(self.region, [int(r) for r in outer])

    def is_region(self, *regions: Region) -> BoolArray:
        """Mask (H, W) of the texels in any of the regions."""
        return np.isin(self.region, [int(r) for r in regions])

    def polygon(self, points: RealArray) -> Float32Array:
        """Signed distance (H, W) in layout units to a closed polygon of (|u - 0.5|, v) points, negative inside."""
        return polygon_distance(self.u, self.v, points)


@cache
def default_texel_geometry(resolution: int) -> TexelGeometry:
    """Texel geometry of the package's own head."""
    return build_texel_geometry(load_default_model(), resolution)


def build_texel_geometry(model: MorphableModel, resolution: int) -> TexelGeometry:
    """Texel geometry of a model's layout at a resolution, texels a side. Deterministic."""
    # Texels between islands take their nearest covered texel's values, so that filters near seams see no gaps.
    coverage = uv_raster(model, resolution)
    covered = coverage.triangle >= 0
    nearest = distance_transform_edt(~covered, return_distances=False, return_indices=True)
    region = model.triangle_region.numpy()[np.maximum(coverage.triangle, 0)][tuple(nearest)]
    position = coverage.interpolate(model.mean.numpy(), model.triangles.numpy())[tuple(nearest)]
    centres = (np.arange(resolution, dtype=np.float32) + 0.5) / resolution
    u, v = np.meshgrid(centres, centres)
    side = np.abs(u - 0.5)

    # Landmarks lie on triangles: their places in the layout follow from the triangles' UV corners.
    corners = model.uv.numpy()[model.uv_triangles.numpy()[model.mediapipe_triangles.numpy()]]  # (478, 3, 2)
    landmarks = (corners * model.mediapipe_barycentric.numpy()[..., None]).sum(1).astype(np.float32)
    rings = [landmarks[list(ring)] for ring in (RIGHT_EYE, LEFT_EYE)]
    eye_v = float(np.concatenate(rings)[:, 1].mean())
    iris, iris_angle = _iris_coordinates(u, v, landmarks)
    eyes = region == int(Region.EYES)
    generator = np.random.default_rng(_BANK_SEED)
    texel_m = _texel_size(position)
    widest = np.maximum(*texel_m)
    turns = (iris_angle / (2.0 * np.pi) + 0.5) * IRIS_FIBRES
    return TexelGeometry(
        resolution=resolution,
        covered=covered,
        region=region,
        position=position,
        u=side,
        v=v,
        texel_m=texel_m,
        landmarks=landmarks,
        brows=(_brow(0, landmarks, u, v), _brow(1, landmarks, u, v)),
        eyelids=np.minimum(*(polygon_distance(u, v, ring) for ring in rings)),
        below_eye=(eye_v - v).astype(np.float32),
        lips=polygon_distance(u, v, landmarks[list(OUTER_LIPS)]),
        iris=np.where(eyes, iris, 1e3).astype(np.float32),
        iris_angle=iris_angle,
        low=_noise_bank(position, widest, LOW_CELL_M, LOW_FIELDS, generator),
        middle=_noise_bank(position, widest, MIDDLE_CELL_M, MIDDLE_FIELDS, generator),
        fine=_noise_bank(position, widest, FINE_CELL_M, FINE_FIELDS, generator),
        grain=_noise_bank(position, widest, GRAIN_CELL_M, GRAIN_FIELDS, generator),
        pores=_noise_bank(position, widest, PORE_CELL_M, PORE_FIELDS, generator),
        inner_lips=polygon_distance(u, v, landmarks[list(INNER_LIPS)]),
        ear_hollow=_ear_hollow(position, region),
        scalp_strands=scalp_strands(resolution),
        beard_strands=beard_strands(resolution),
        brow_strands=at_resolution(_brow_strands(landmarks), resolution),
        stubble=stubble(resolution),
        lip_folds=stretched_noise(
            u / LIP_FOLD_CELL[0] + 1.5 * np.sin(40.0 * v), v / LIP_FOLD_CELL[1], STRAND_FIELDS, seed=1
        ),
        lip_creases=microstructure.lip_creases(resolution),
        pits=microstructure.pits(resolution),
        grit=microstructure.grit(resolution),
        iris_fibres=stretched_noise(turns, np.minimum(iris, 2.0) * 1.5, STRAND_FIELDS, seed=2, wrap=IRIS_FIBRES),
    )


def polygon_distance(u: Float32Array, v: Float32Array, points: RealArray) -> Float32Array:
    """Signed distance (H, W) of (u, v) to the closed polygon of points (N, 2), negative inside."""
    inside = np.zeros(u.shape, bool)
    nearest = np.full(u.shape, np.inf)
    for (ax, ay), (bx, by) in zip(points, np.roll(points, -1, 0), strict=True):
        nearest = np.minimum(nearest, _segment_distance(u, v, ax, ay, bx, by)[0])
        crosses = (ay > v) != (by > v)
        inside ^= crosses & (u < (bx - ax) * (v - ay) / np.where(by == ay, 1e-12, by - ay) + ax)
    return np.asarray(np.where(inside, -nearest, nearest), np.float32)


def curve_coordinates(u: Float32Array, v: Float32Array, points: RealArray) -> Curve:
    """Coordinates of (u, v) (H, W) relative to the polyline of points (N, 2)."""
    best = np.full(u.shape, np.inf)
    along, across = np.zeros(u.shape), np.zeros(u.shape)
    for k in range(len(points) - 1):
        (ax, ay), (bx, by) = points[k], points[k + 1]
        distance, t = _segment_distance(u, v, ax, ay, bx, by)
        above = np.sign((bx - ax) * (v - ay) - (by - ay) * (u - ax)) * (-1.0 if bx > ax else 1.0)
        closer = distance < best
        best = np.where(closer, distance, best)
        along = np.where(closer, (k + t) / (len(points) - 1), along)
        across = np.where(closer, above * distance, across)
    return Curve(along.astype(np.float32), across.astype(np.float32))


def _segment_distance(
    u: Float32Array, v: Float32Array, ax: float, ay: float, bx: float, by: float
) -> tuple[RealArray, RealArray]:
    """Distance to the segment and position (0 to 1) of its nearest point."""
    dx, dy = bx - ax, by - ay
    t = np.clip(((u - ax) * dx + (v - ay) * dy) / max(dx * dx + dy * dy, 1e-12), 0.0, 1.0)
    return np.hypot(u - ax - t * dx, v - ay - t * dy), t


def _brow(side: int, landmarks: Float32Array, u: Float32Array, v: Float32Array) -> Curve:
    """Middle line of a brow, from its inner end outwards."""
    upper, lower = landmarks[list(BROW_UPPER[side])], landmarks[list(BROW_LOWER[side])]
    middle = (upper + lower)[::-1] / 2.0
    dense = np.stack([np.interp(np.linspace(0, 4, 13), np.arange(5), middle[:, k]) for k in range(2)], -1)
    smooth = gaussian_filter(dense, (1.0, 0.0), mode="nearest")
    return curve_coordinates(u, v, smooth)


def _iris_coordinates(u: Float32Array, v: Float32Array, landmarks: Float32Array) -> tuple[Float32Array, Float32Array]:
    """Polar coordinates about the nearer iris, the radius in radii of the iris."""
    radii, angles = [], []
    for ring in (RIGHT_IRIS, LEFT_IRIS):
        centre, rim = landmarks[ring[0]], landmarks[list(ring[1:])]
        radius = float(np.hypot(*(rim - centre).T).mean())
        radii.append(np.hypot(u - centre[0], v - centre[1]) / radius)
        angles.append(np.arctan2(v - centre[1], u - centre[0]))
    right = radii[0] < radii[1]
    iris_angle = np.where(right, angles[0], angles[1])
    return np.minimum(*radii).astype(np.float32), iris_angle.astype(np.float32)


def _texel_size(position: Float32Array) -> tuple[Float32Array, Float32Array]:
    """Metres per texel (H, W) along u and v, smoothed; steps across seams are clipped to a quantile."""
    sizes = []
    for axis in (1, 0):
        step = np.linalg.norm(np.gradient(position, axis=axis), axis=-1)
        limit = float(np.quantile(step, 0.97))
        sizes.append(gaussian_filter(np.clip(step, limit * 0.05, limit), 2.0).astype(np.float32))
    return sizes[0], sizes[1]


def _noise_bank(
    position: Float32Array, texel_m: Float32Array, cell_m: float, count: int, generator: np.random.Generator
) -> Float32Array:
    """Cubic B-spline noise on a lattice in space, evaluated on the head: (count, H, W), zero mean, unit variance, faded
    out where texels (H, W) are too wide to resolve its cells."""
    coordinates = np.moveaxis(position / cell_m, -1, 0)
    resolved = np.clip((VANISHING[1] - texel_m / cell_m) / (VANISHING[1] - VANISHING[0]), 0.0, 1.0)
    fields = []
    for _ in range(count):
        lattice = generator.standard_normal((_LATTICE_SIZE,) * 3)
        offset = generator.uniform(0, _LATTICE_SIZE, (3, 1, 1))
        if resolved.max() == 0.0:
            fields.append(np.zeros_like(resolved))
            continue
        field = map_coordinates(lattice, coordinates + offset, order=3, mode="grid-wrap", prefilter=False)
        fields.append((field - field.mean()) / field.std() * resolved)
    return np.asarray(np.stack(fields), np.float32)


def _ear_hollow(position: Float32Array, region: Int64Array) -> Float32Array:
    """Depth (H, W) of the ears' surface below its surroundings, as a share of the deepest, clipped to [0, 1]."""
    ears = region == int(Region.EARS)
    outwards = np.abs(position[..., 0]).astype(np.float64)
    sigma = 0.016 * len(region)
    weight = np.maximum(gaussian_filter(ears.astype(np.float64), sigma), 1e-6)
    below = gaussian_filter(np.where(ears, outwards, 0.0), sigma) / weight - outwards
    deepest_m = 0.006
    return np.where(ears, np.clip(below / deepest_m, 0.0, 1.0), 0.0).astype(np.float32)


def _brow_strands(landmarks: Float32Array) -> Float32Array:
    """Coverage (STRAND_FIELDS, BASE, BASE) by the hairs of the brows: nearly upright at the inner end of a brow, along
    the brow at its outer end."""
    centres = (np.arange(BASE_RESOLUTION, dtype=np.float32) + 0.5) / BASE_RESOLUTION
    rows = (centres > BROW_ROWS[0]) & (centres < BROW_ROWS[1])
    u, v = np.meshgrid(centres, centres[rows])
    coverage = np.zeros((STRAND_FIELDS, BASE_RESOLUTION, BASE_RESOLUTION), np.float32)
    for side in range(2):
        brow = _brow(side, landmarks, u, v)
        slant = brow.along * BROW_SPAN - (0.35 + 1.5 * brow.along) * brow.across
        lean = np.hypot(1.0, 0.35 + 1.5 * brow.along)
        length = brow.across * lean + 0.3 * brow.along * BROW_SPAN
        noise = stretched_noise(slant * lean**-0.5 / BROW_CELL[0], length / BROW_CELL[1], STRAND_FIELDS, seed=3 + side)
        own = (u < 0.5) if float(landmarks[BROW_UPPER[side][0], 0]) < 0.5 else (u >= 0.5)
        coverage[:, rows] = np.where(own, np.clip((noise + 0.35) / 1.1, 0.0, 1.0), coverage[:, rows])
    return coverage
