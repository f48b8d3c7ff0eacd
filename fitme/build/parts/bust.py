"""Bust: the neck's lower edge continued to plain shoulders, closed below."""

from dataclasses import dataclass

import numpy as np

from fitme.arrays import Float64Array, Int64Array

RINGS = 12
"""Rings from the neck to the rim, without the neck's own edge."""
SHOULDER_M = (0.136, 0.073)
"""Half width and half depth of the rim."""
RIM_HEIGHT_M = (-0.272, -0.256)
"""Height of the rim at the front and back, and at the sides, in the model frame: shoulders slope forwards."""
RIM_MIDDLE_Z_M = -0.105
RIM_FOLLOWS = 1.15
"""Displacement of the rim over that of the neck's edge: shoulders are wider with a wider neck."""
NECK_PULL, RIM_PULL = 0.14, 0.12
"""Lengths of the tangents, metres, of the profile at the neck and at the rim."""
ROUNDING_M = 0.012
"""Radius of the rim's edge."""
ROUNDING_RINGS = 4
ARRIVAL_RAD = 0.35
"""Slope of the shoulders at the rim."""
LOWEST_LOOP_M = -0.1
"""The neck's edge is the boundary of the mesh below this height."""


@dataclass(frozen=True, eq=False)
class Bust:
    """Bust on the mean head."""

    loop: Int64Array
    """(L,) vertices of the head at the neck's edge; the bust's first L vertices lie on them."""
    vertices: Float64Array
    """(N, 3) metres."""
    triangles: Int64Array
    """(F, 3)."""
    uv: Float64Array
    """(T, 2): round the neck from the back, and from the neck's edge (0) to the middle below (1)."""
    uv_triangles: Int64Array
    """(F, 3)."""
    follows: Float64Array
    """(N,) displacement of a vertex over that of the vertex of the loop above it."""
    above: Int64Array
    """(N,) index into `loop` of the vertex above."""


def build_bust(mean: Float64Array, triangles: Int64Array) -> Bust:
    """Bust of a head (V, 3) with triangles (F, 3) that are open at the neck only below `LOWEST_LOOP_M`."""
    below = mean[triangles][..., 1].min(1) < LOWEST_LOOP_M
    loop = _neck_loop(mean, triangles[below])
    start = mean[loop]
    azimuth = np.unwrap(np.arctan2(start[:, 0], start[:, 2] - start[:, 2].mean()))
    rim = np.stack(
        [
            SHOULDER_M[0] * np.sin(azimuth),
            RIM_HEIGHT_M[0] + (RIM_HEIGHT_M[1] - RIM_HEIGHT_M[0]) * np.sin(azimuth) ** 2,
            RIM_MIDDLE_Z_M + SHOULDER_M[1] * np.cos(azimuth),
        ],
        1,
    )
    outwards = np.stack([np.sin(azimuth), np.zeros(len(loop)), np.cos(azimuth)], 1)
    profile = _profile(start, rim, outwards)
    rings = [start, *profile]
    # The rim turns under and closes in the middle.
    for angle in ARRIVAL_RAD + 0.5 * np.pi * (np.arange(ROUNDING_RINGS) + 1.0) / ROUNDING_RINGS:
        inwards = ROUNDING_M * (np.cos(ARRIVAL_RAD) - np.cos(angle)) * outwards
        rings.append(rim - inwards - [0.0, ROUNDING_M * (np.sin(angle) - np.sin(ARRIVAL_RAD)), 0.0])
    bottom = rings[-1].mean(0) - np.array([0.0, 0.004, 0.0])
    rings.append(rings[-1] + 0.6 * (bottom - rings[-1]))
    vertices = np.concatenate([*rings, bottom[None]])
    share = np.concatenate([[0.0], (np.arange(RINGS) + 1) / RINGS, np.ones(ROUNDING_RINGS + 1)])
    follows = np.concatenate([np.repeat(1.0 + (RIM_FOLLOWS - 1.0) * share, len(loop)), [1.0]])
    above = np.concatenate([np.tile(np.arange(len(loop)), len(rings)), [0]])
    return Bust(loop, vertices, *_topology(len(rings), len(loop)), follows, above)


def _neck_loop(mean: Float64Array, triangles: Int64Array) -> Int64Array:
    """Vertices of the lower edge, from the back round by the person's left, counter-clockwise seen from above."""
    edges = np.concatenate([triangles[:, [0, 1]], triangles[:, [1, 2]], triangles[:, [2, 0]]])
    known = {tuple(edge) for edge in edges.tolist()}
    following = {a: b for a, b in edges.tolist() if (b, a) not in known and max(mean[a, 1], mean[b, 1]) < LOWEST_LOOP_M}
    # Of the boundary of the cut-out triangles, the part that lies lowest is the neck's edge.
    loops = []
    while following:
        first, second = following.popitem()
        chain = [first]
        while second != first and second in following:
            chain.append(second)
            second = following.pop(second)
        if second == first:
            loops.append(chain)
    loop = np.array(min(loops, key=lambda chain: float(mean[chain, 1].mean())), np.int64)
    back = int(np.argmin(mean[loop, 2]))
    loop = np.roll(loop, -back)
    if mean[loop[len(loop) // 4], 0] < 0.0:
        loop = np.roll(loop[::-1], 1)
    return loop


def _profile(start: Float64Array, rim: Float64Array, outwards: Float64Array) -> list[Float64Array]:
    """Rings (L, 3) along cubic curves from the neck's edge, where they go on downwards, to the rim."""
    down = np.array([0.0, -1.0, 0.0])
    leaving = NECK_PULL * (down + 0.25 * outwards)
    arriving = RIM_PULL * (0.5 * down + 0.87 * outwards)
    return [
        (2 * t**3 - 3 * t**2 + 1) * start + (t**3 - 2 * t**2 + t) * leaving + (3 * t**2 - 2 * t**3) * rim
        + (t**3 - t**2) * arriving
        for t in (np.arange(RINGS) + 1.0) / RINGS
    ]  # fmt: skip


def _topology(rings: int, around: int) -> tuple[Int64Array, Float64Array, Int64Array]:
    """Triangles of rings that are closed below by one vertex; UV with a seam at the back."""
    triangles, uv_triangles = [], []
    u, v = np.meshgrid(np.arange(around + 1) / around, np.arange(rings) / rings)
    uv = np.concatenate([np.stack([u.ravel(), v.ravel()], 1), [[0.5, 1.0]]])
    for ring in range(rings):
        for at in range(around):
            a, b = ring * around + at, ring * around + (at + 1) % around
            ta, tb = ring * (around + 1) + at, ring * (around + 1) + at + 1
            if ring == rings - 1:
                triangles.append((a, b, rings * around))
                uv_triangles.append((ta, tb, len(uv) - 1))
                continue
            c, d, tc, td = a + around, b + around, ta + around + 1, tb + around + 1
            triangles += [(a, d, c), (a, b, d)]
            uv_triangles += [(ta, td, tc), (ta, tb, td)]
    return np.array(triangles), uv, np.array(uv_triangles)
