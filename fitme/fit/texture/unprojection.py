"""Unprojection of images into UV: colours at the texels, weighted by visibility and viewing angle."""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property, lru_cache

import cv2
import numpy as np
from scipy.sparse import csr_array
from torch import Tensor, from_numpy

from fitme.arrays import BoolArray, Float32Array, IndexArray, Int32Array, Int64Array, UInt8Array
from fitme.fit.lighting.key_light import PosedSurface
from fitme.fit.texture.texel_sampling import sample_texels
from fitme.geometry import Camera
from fitme.render.cpu.depth import depth_image
from fitme.render.occlusion import head_occlusion
from fitme.shape.morphable_model import MorphableModel
from fitme.shape.normals import vertex_normals
from fitme.shape.raster import uv_raster
from fitme.shape.regions import Region


@dataclass(frozen=True)
class TexelTable:
    """N texels that the mesh covers, and their places on it."""

    resolution: int
    rows: IndexArray
    """(N,) row in the map, 0 at its top."""
    columns: IndexArray
    """(N,) column in the map."""
    weights: csr_array
    """(N, V) float32 barycentric coordinates: texel values are `weights @ vertex attributes`."""
    region: Int64Array
    """(N,) `fitme.shape.regions.Region` of each texel."""
    nearest: Int32Array
    """(2, R, R) row and column of the covered texel nearest to each texel."""
    occlusion: Float32Array
    """(N, 1) ambient occlusion: share of the surroundings' light that reaches each texel, [0, 1]."""

    def interpolate(self, attributes: Tensor) -> Tensor:
        """Vertex attributes (V, C) at the texels (N, C)."""
        return from_numpy(self.weights @ attributes.numpy())

    def to_map(self, values: Float32Array) -> Float32Array:
        """Texel values (N, C) as a map (R, R, C), zero where the mesh has no texel."""
        image = self._spread(values)
        image[self._uncovered] = 0.0
        return image.reshape(self.resolution, self.resolution, -1)

    def to_filled_map(self, values: Float32Array) -> Float32Array:
        """Map (R, R, C) extended by the nearest covered texel's value, so that filtering at seams finds no holes."""
        return self._spread(values).reshape(self.resolution, self.resolution, -1)

    def within(self, regions: Iterable[Region]) -> BoolArray:
        """(N,) mask of the texels of the regions."""
        wanted = np.zeros(len(Region), bool)
        wanted[[int(region) for region in regions]] = True
        return wanted[self.region]

    def from_map(self, image: Float32Array) -> Float32Array:
        """Texel values (N, C) of a map (R, R, C)."""
        return np.take(image.reshape(self.resolution**2, *image.shape[2:]), self._places, axis=0)

    def texels_at(self, rows: IndexArray, columns: IndexArray) -> IndexArray:
        """(M,) texels nearest to places (M,) of the map."""
        return np.asarray(self._nearest_texels[rows * self.resolution + columns])

    @property
    def corners(self) -> Int32Array:
        """(N, 3) vertices of the triangle on which each texel lies."""
        return np.asarray(self.weights.indices, np.int32).reshape(-1, 3)

    @property
    def barycentric(self) -> Float32Array:
        """(N, 3) barycentric coordinates of each texel."""
        return np.asarray(self.weights.data, np.float32).reshape(-1, 3)

    @cached_property
    def _places(self) -> IndexArray:
        """(N,) place of each texel in the map's rows one after the other."""
        return np.asarray(self.rows * self.resolution + self.columns)

    @cached_property
    def _nearest_texels(self) -> IndexArray:
        """(R * R,) texel nearest to each place of the map."""
        texels = np.zeros(self.resolution**2, np.int64)
        texels[self._places] = np.arange(len(self.rows))
        return np.asarray(texels[(self.nearest[0].astype(np.int64) * self.resolution + self.nearest[1]).ravel()])

    @cached_property
    def _uncovered(self) -> IndexArray:
        """Places of the map where the mesh has no texel."""
        return np.setdiff1d(np.arange(self.resolution**2), self._places, assume_unique=True)

    def _spread(self, values: Float32Array) -> Float32Array:
        """(R * R, C) value of the nearest texel at each place of the map, by gathering: scattering takes six times as
        long."""
        return np.take(np.asarray(values, np.float32), self._nearest_texels, axis=0)

    def mirrored(self, values: Float32Array) -> Float32Array:
        """Texel values (N, C) from the other side of the head: the layout is symmetric."""
        image = self.to_map(values).reshape(self.resolution**2, -1)
        return np.take(image, self.rows * self.resolution + (self.resolution - 1) - self.columns, axis=0)


@dataclass(frozen=True)
class TexelObservation:
    """One keyframe's view of the texels."""

    color: Float32Array
    """(N, 3) linear sRGB colours of the image, light included."""
    weight: Float32Array
    """(N,) 0 where hidden, oblique, outside the image or occluded, towards 1 where viewed frontally."""
    normals: Float32Array
    """(N, 3) unit geometric normals in view space."""
    toward_viewer: Float32Array
    """(N, 3) unit vectors to the camera in view space."""
    geometry: PosedSurface | None = None
    """The posed head, on which shadows are cast; None: no key light is searched for."""
    occlusion: Float32Array | None = None
    """(N, 1) share of the surroundings' light that reaches each texel with the frame's opening of the lips; None: as
    with a mouth that is wide open, `TexelTable.occlusion`."""


@lru_cache(maxsize=4)
def texel_table(model: MorphableModel, resolution: int) -> TexelTable:
    """The texels that the model's UV layout covers at a resolution; cached."""
    coverage = uv_raster(model, resolution)
    rows, columns = np.nonzero(coverage.triangle >= 0)
    triangle = coverage.triangle[rows, columns]
    corners = model.triangles.numpy()[triangle]  # (N, 3)
    barycentric = coverage.barycentric[rows, columns].astype(np.float32)
    starts = np.arange(0, corners.size + 1, corners.shape[1])
    shape = (len(triangle), len(model.mean))
    weights = csr_array((barycentric.ravel(), corners.ravel(), starts), shape=shape)
    occlusion = weights @ head_occlusion(model).numpy()[:, None]
    region, nearest = model.triangle_region.numpy()[triangle], _nearest(rows, columns, resolution)
    return TexelTable(resolution, rows, columns, weights, region, nearest, occlusion)


def _nearest(rows: IndexArray, columns: IndexArray, resolution: int) -> Int32Array:
    """(2, R, R) row and column of the covered texel nearest to each texel, to a fifth of a texel."""
    empty = np.ones((resolution, resolution), np.uint8)
    empty[rows, columns] = 0
    _, label = cv2.distanceTransformWithLabels(empty, cv2.DIST_L2, cv2.DIST_MASK_5, labelType=cv2.DIST_LABEL_PIXEL)
    places = np.zeros((2, label.max() + 1), np.int32)
    places[:, label[rows, columns]] = rows, columns
    nearest: Int32Array = places[:, label]
    return nearest


def unproject(
    table: TexelTable,
    model: MorphableModel,
    view_vertices: Tensor,  # (V, 3) metres
    camera: Camera,
    image: UInt8Array,  # (H, W, 3) sRGB
    usable: Float32Array,  # (H, W) in [0, 1]
) -> TexelObservation:
    """Sample an image at every texel that it shows.

    :param view_vertices: posed mesh in view space.
    :param camera: of `image`.
    :param usable: weights of pixels, 0 off the head and where something covers it.
    """
    surface = depth_image(view_vertices, model.triangles, camera)
    # Visibility: the farthest of the neighbouring depths, so that rounding at a silhouette hides no visible texel.
    surface = np.asarray(cv2.dilate(surface, np.ones((3, 3), np.uint8)), np.float32)
    vertices = view_vertices.numpy()
    normals = vertex_normals(view_vertices[None], model.triangles)[0].numpy()
    seen = sample_texels(table.corners, table.barycentric, vertices, normals, camera, surface, image, usable)
    geometry = PosedSurface(vertices, model.triangles.numpy(), seen.positions, seen.normals)
    return TexelObservation(seen.color, seen.weight, seen.normals, seen.toward_viewer, geometry)


def sample_image(image: Float32Array, pixels: Float32Array, interpolation: int) -> Float32Array:
    """Values (N,) or (N, C) of an image at pixel coordinates (N, 2); zero outside."""
    # remap counts from pixel centres, and takes no more than 32767 rows or columns: fold the list into a rectangle.
    width = 4096
    count = len(pixels)
    height = -(-count // width)
    folded = np.full((height * width, 2), -10.0, np.float32)
    folded[:count] = pixels - 0.5
    folded = folded.reshape(height, width, 2)
    sampled = cv2.remap(image, folded[..., 0], folded[..., 1], interpolation, borderMode=cv2.BORDER_CONSTANT)
    return np.asarray(sampled, np.float32).reshape(height * width, *image.shape[2:])[:count]
