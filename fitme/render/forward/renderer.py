"""The forward-only renderer for streaming: the image of `fitme.render.renderer`, without gradients."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from torch import Tensor

from fitme.arrays import Float32Array, Int32Array, UInt8Array
from fitme.color import linear_to_bytes
from fitme.geometry import Camera, HeadPose, rotation_matrix
from fitme.reflectance.maps import ReflectanceMaps
from fitme.reflectance.modality import MODALITIES
from fitme.render.cpu.antialias import mark_silhouettes
from fitme.render.cpu.mesh_adjacency import cached_opposite_vertices
from fitme.render.cpu.rasterize import rasterize_rows
from fitme.render.environment.reflections import Reflections, roughness_of, split_sum_table
from fitme.render.forward.geometry import frame_vertices, tangent_weights
from fitme.render.forward.shading import (
    ENCODING_STEPS,
    LOBE_STEPS,
    SH_SCALE,
    TEXEL_CHANNELS,
    finish_rows,
    shade_rows,
)
from fitme.render.light import Light
from fitme.render.occlusion import MouthOcclusion
from fitme.render.reflection import DEFAULT_SHININESS, NORMAL_REFLECTANCE, blinn_phong_factor
from fitme.render.renderer import TexturedMesh
from fitme.render.shadows import shadow_maps

MAX_SHININESS_VALUES = 256
"""Largest number of different exponents, one lobe table each."""


class ForwardRenderer:
    """Renderer of one mesh at one image size, with reused buffers.

    One instance serves one thread at a time; bands of rows run on `threads` threads of its own, without the interpreter
    lock.

    :param model: topology and layout.
    :param resolution: pixels of a side, or (H, W).
    :param shininess: Blinn-Phong exponent: a number, or one per triangle (F,).
    :param occlusion: (V,) share of the surroundings' light that reaches each vertex, in [0, 1]; 1 if None.
    :param mouth: occlusion and culling of the mouth's interior by the opening of the lips; none if None.
    :param shadows: let directional lights cast shadows, at some 3 ms for each light and render of 512x512 pixels.
    :param threads: rows are drawn in this many bands at once.
    :raises ValueError: more than `MAX_SHININESS_VALUES` different exponents.
    """

    def __init__(
        self,
        model: TexturedMesh,
        resolution: int | tuple[int, int],
        *,
        shininess: float | Tensor = DEFAULT_SHININESS,
        occlusion: Tensor | None = None,
        mouth: MouthOcclusion | None = None,
        shadows: bool = False,
        threads: int = 2,
    ) -> None:
        self._height, self._width = (resolution, resolution) if isinstance(resolution, int) else resolution
        self._triangles = model.triangles.int().contiguous().numpy()
        self._casting = self._triangles
        self._uv_triangles = model.uv_triangles.int().contiguous().numpy()
        self._uv = model.uv.float().contiguous().numpy()
        self._opposite = cached_opposite_vertices(model.triangles.int())
        self._tangent_weights = tangent_weights(model.uv, model.uv_triangles)
        self._occlusion = None if occlusion is None else occlusion.float().contiguous()
        self._mouth = mouth
        self._shadows = shadows
        self._lobes, self._lobe_of_triangle, self._roughness = _lobe_tables(shininess, len(self._triangles))
        self._reflections: Reflections | None = None
        self._encoding = linear_to_bytes(np.linspace(0.0, 1.0, ENCODING_STEPS, dtype=np.float32))
        self._tangents = np.zeros((len(self._uv), 3), np.float32)
        self._flags = np.zeros(len(self._triangles), np.uint8)
        self._rast = np.zeros((self._height, self._width, 4), np.float32)
        self._color = np.zeros((self._height, self._width, 4), np.float32)
        self._folds = np.zeros((self._height, self._width), np.uint8)
        edges = np.linspace(0, self._height, threads + 1).round().astype(int)
        self._bands = list(zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True))
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="forward-renderer") if threads > 1 else None
        self.set_maps(ReflectanceMaps.grey())

    def close(self) -> None:
        """End the threads; nothing can be drawn afterwards."""
        if self._pool is not None:
            self._pool.shutdown()

    def set_maps(self, maps: ReflectanceMaps) -> None:
        """Set the reflectance maps, the first of their batch, from the next render on."""
        height, width = maps.diffuse.shape[1:3]
        by_name = maps.by_name()
        shaded = [by_name[modality.name][0].detach().cpu().numpy() for modality in MODALITIES.shaded]
        packed = np.concatenate(shaded, -1)
        self._map_rows = height
        self._texels = np.zeros((height, width, TEXEL_CHANNELS), np.float32)
        self._texels[..., : packed.shape[-1]] = packed

    def set_reflections(self, reflections: Reflections | None) -> None:
        """Mirror these surroundings from the next render on; the light's harmonics alone if None.

        The light of the same surroundings, `Environment.light` with the same turn, is to be given to `render`.
        """
        self._reflections = reflections

    def set_diffuse(self, diffuse: Float32Array) -> None:
        """Replace the diffuse map (H, W, 3), linear, from the next render on. ValueError if the size differs."""
        texels = self._texels[: self._map_rows]
        if diffuse.shape[:2] != texels.shape[:2]:
            raise ValueError(f"a diffuse map {diffuse.shape[:2]} does not go with maps {texels.shape[:2]}")
        texels[..., :3] = diffuse

    def render(
        self,
        vertices: Float32Array,
        pose: HeadPose,
        camera: Camera,
        light: Light,
        background: Sequence[float] | Float32Array = (0.0, 0.0, 0.0),
    ) -> UInt8Array:
        """Draw a head, sRGB-encoded.

        :param vertices: (V, 3) model space, metres.
        :param camera: its image size is this renderer's.
        :param light: batch of 1.
        :param background: linear RGB.
        :returns: (H, W, 3) uint8 sRGB.
        :raises ValueError: the camera's image size differs from the renderer's.
        """
        return self.render_with_mask(vertices, pose, camera, light, background)[0]

    def render_with_mask(
        self,
        vertices: Float32Array,
        pose: HeadPose,
        camera: Camera,
        light: Light,
        background: Sequence[float] | Float32Array = (0.0, 0.0, 0.0),
    ) -> tuple[UInt8Array, UInt8Array]:
        """Draw a head as `render` does; also returns its coverage (H, W) uint8, 255 where full."""
        if (camera.height, camera.width) != (self._height, self._width):
            raise ValueError(
                f"the camera's image is {camera.width}x{camera.height}, this renderer's {self._width}x{self._height}"
            )
        # Geometry once per render: attributes of vertices, silhouette flags, culling, depth maps of the lights.
        view, clip = _project(vertices, pose, camera)
        normals = np.empty_like(view)
        frame_vertices(
            view, self._triangles, self._uv_triangles, self._tangent_weights.weights, normals, self._tangents
        )
        mark_silhouettes(clip, self._triangles, self._opposite, self._flags)
        triangles = self._triangles if self._mouth is None else self._mouth.cull_back_faces(view, self._triangles)
        unoccluded = torch.ones(len(view)) if self._occlusion is None else self._occlusion
        if self._mouth is not None:
            unoccluded = self._mouth.apply(unoccluded, torch.from_numpy(vertices))
        occlusion = unoccluded.numpy()
        sh, directions, colors = (_single(v[0]) for v in (light.sh, light.directions, light.colors))
        sh = sh * SH_SCALE[:, None]
        casting = directions if self._shadows else directions[:0]
        cast = shadow_maps(view, self._casting, casting)
        backdrop = np.asarray(background, np.float32)
        around = _NO_REFLECTIONS if self._reflections is None else self._reflections
        image = np.empty((self._height, self._width, 3), np.uint8)
        mask = np.empty((self._height, self._width), np.uint8)

        def draw(begin: int, end: int) -> None:
            self._rast[begin:end] = 0.0
            rasterize_rows(clip, triangles, self._rast, begin, end)
            shade_rows(
                self._rast, self._triangles, self._uv_triangles, view, normals, occlusion, self._uv, self._tangents,
                self._tangent_weights.handedness, self._texels, self._lobes, self._lobe_of_triangle, sh, directions,
                colors, cast.depth, cast.frame, around.texels, around.levels, around.turn,
                split_sum_table(), self._roughness, backdrop, self._flags, self._color, self._folds, begin, end,
            )  # fmt: skip

        def finish(begin: int, end: int) -> None:
            finish_rows(
                self._color, self._folds, self._rast, clip, self._triangles, self._flags, self._encoding, backdrop,
                image, mask, begin, end,
            )  # fmt: skip

        # Antialiasing reads neighbouring rows, so all bands are shaded before any is finished.
        self._each_band(draw)
        self._each_band(finish)
        return image, mask

    def _each_band(self, work: Callable[[int, int], None]) -> None:
        if self._pool is None:
            for begin, end in self._bands:
                work(begin, end)
        else:
            for done in [self._pool.submit(work, begin, end) for begin, end in self._bands]:
                done.result()


def _project(vertices: Float32Array, pose: HeadPose, camera: Camera) -> tuple[Float32Array, Float32Array]:
    """View-space (V, 3) and clip-space (V, 4) positions."""
    rotation = rotation_matrix(torch.from_numpy(pose.rotation).double()).float()
    translation = torch.from_numpy(pose.translation).float()
    view = torch.from_numpy(np.ascontiguousarray(vertices, np.float32)) @ rotation.T + translation
    return view.numpy(), camera.clip(view).contiguous().numpy()


def _single(values: Tensor) -> Float32Array:
    return np.ascontiguousarray(values.detach().cpu().numpy(), np.float32)


_NO_REFLECTIONS = Reflections(np.zeros((0, 3), np.float32), np.zeros((2, 3), np.int32), 0.0)


def _lobe_tables(shininess: float | Tensor, triangle_count: int) -> tuple[Float32Array, Int32Array, Float32Array]:
    """Blinn-Phong lobes times `NORMAL_REFLECTANCE` over the cosine (N, `LOBE_STEPS` + 1), indices (F,) of them, and the
    roughness (N,) of GGX lobes as broad."""
    exponents = np.full(triangle_count, shininess) if isinstance(shininess, float) else np.asarray(shininess, float)
    values, index = np.unique(np.broadcast_to(exponents, triangle_count), return_inverse=True)
    if len(values) > MAX_SHININESS_VALUES:
        raise ValueError(f"at most {MAX_SHININESS_VALUES} different exponents can be tabulated, got {len(values)}")
    cosines = np.linspace(0.0, 1.0, LOBE_STEPS + 1)
    tables = [NORMAL_REFLECTANCE * float(blinn_phong_factor(s)) * cosines**s for s in values]
    return np.stack(tables).astype(np.float32), index.astype(np.int32), roughness_of(values).astype(np.float32)
