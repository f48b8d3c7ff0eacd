"""Contact sheets: grids of maps and of renders of heads, to judge a generator by eye.

`python -m fitme.training.contact_sheets --out DIR` writes them.
"""

import io
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import typer
from PIL import Image
from torch import Tensor

from fitme.arrays import Float32Array, UInt8Array
from fitme.atomic_file import atomic_file
from fitme.color import bytes_to_linear, linear_to_bytes
from fitme.export.portrait import BACKGROUND, portrait_light, portrait_pose
from fitme.export.textures import texture_codes
from fitme.geometry import Camera, rotation_matrix
from fitme.reflectance.generator import ReflectanceGenerator
from fitme.reflectance.maps import ReflectanceMaps
from fitme.reflectance.modality import MODALITIES
from fitme.reflectance.packaged_models import packaged_generator
from fitme.reflectance.weights import load_generator
from fitme.render.forward.renderer import ForwardRenderer
from fitme.render.light import Light
from fitme.render.materials import head_shininess
from fitme.render.occlusion import head_occlusion
from fitme.render.supersampling import SUPERSAMPLING, averaged_samples
from fitme.shape.model_file import load_default_model
from fitme.shape.morphable_model import MorphableModel

YAW_RAD = 0.3
"""Yaw of the heads, to the viewer's right."""
HEAD_PX = (224, 176)
"""Height and width of one head's render."""
FOCAL_OVER_HEIGHT = 3.3
"""Focal length over the render's height: the face fills the render."""
CENTER_SHIFT = (0.01, 0.03)
"""Offset of the head's pivot from the middle of the render, to the right and down, in heights of the render."""
SIDE_FILL = 0.1
"""Ambient light besides the hard key light."""
SIDE_KEY = ((0.9, 0.35, 0.3), (1.5, 1.4, 1.3))
"""Direction in the view frame and linear colour."""
LARGEST_IMAGE_BYTES = 600_000
QUALITIES = range(93, 40, -4)
"""JPEG qualities, best first."""
_BATCH = 4


@torch.no_grad()
def sample_latents(generator: ReflectanceGenerator, count: int, seed: int = 0, truncation: float = 1.0) -> Tensor:
    """Latents w (count, D) of random z, truncated towards their mean (StyleGAN's truncation trick)."""
    noise = torch.randn(count, generator.latent_size, generator=torch.Generator().manual_seed(seed))
    latents: Tensor = generator.mean_w + truncation * (generator.mapping(noise) - generator.mean_w)
    return latents


def sample_maps(
    generator: ReflectanceGenerator, count: int, seed: int = 0, truncation: float = 1.0, resolution: int | None = None
) -> ReflectanceMaps:
    """Maps (count, R, R, ...) of random z, at the full resolution or a lower one."""
    return synthesize_all(generator, sample_latents(generator, count, seed, truncation), resolution)


@torch.no_grad()
def synthesize_all(generator: ReflectanceGenerator, w: Tensor, resolution: int | None = None) -> ReflectanceMaps:
    """Maps (N, R, R, ...) of latents w (N, D), synthesised in small batches."""
    parts = [generator.synthesize(generator.broadcast(some), resolution) for some in torch.split(w, _BATCH)]
    return ReflectanceMaps.concatenated(parts)


def map_sheet(maps: ReflectanceMaps) -> UInt8Array:
    """A row per modality, as its texture has it; a column per head."""
    heads = [maps.one(index) for index in range(len(maps.diffuse))]
    rows = [[_rgb(texture_codes(modality, head)) for head in heads] for modality in MODALITIES]
    return np.concatenate([np.concatenate(row, 1) for row in rows], 0)


def _rgb(codes: UInt8Array) -> UInt8Array:
    """(H, W, 3) of a texture (H, W) or (H, W, 3)."""
    return codes if codes.ndim > 2 else codes[..., None].repeat(3, -1)


def front_light() -> Light:
    """Soft key light from above the camera's shoulder, with fill and rim light."""
    return portrait_light(0.45, 0.5, 0.85)


def side_light() -> Light:
    """Hard key light from the viewer's right that grazes the face, and little ambient light."""
    direction, color = (torch.tensor([[value]]) for value in SIDE_KEY)
    return Light(Light.ambient(SIDE_FILL).sh, torch.nn.functional.normalize(direction, dim=-1), color)


class HeadRenderer:
    """Renderer of the mean head with any maps; keeps the renderer's buffers."""

    def __init__(self, model: MorphableModel, size: tuple[int, int] = HEAD_PX) -> None:
        self._size = size
        height, width = (side * SUPERSAMPLING for side in size)
        shininess, occlusion = head_shininess(model), head_occlusion(model)
        self._renderer = ForwardRenderer(model, (height, width), shininess=shininess, occlusion=occlusion, threads=1)
        self._vertices = model.mean.numpy()
        self._landmarks = model.landmarks(model.mean[None])[0]
        across, down = (shift * height for shift in CENTER_SHIFT)
        self._camera = Camera(FOCAL_OVER_HEIGHT * height, width / 2 + across, height / 2 + down, width, height)

    def render(self, maps: ReflectanceMaps, light: Light, yaw_rad: float = YAW_RAD) -> UInt8Array:
        """Render (height, width, 3), sRGB bytes, of the head with the first of the maps."""
        self._renderer.set_maps(maps)
        render = self._renderer.render(self._vertices, portrait_pose(yaw_rad), self._camera, light, BACKGROUND)
        return linear_to_bytes(averaged_samples(bytes_to_linear(render)))

    def landmarks(self, yaw_rad: float = YAW_RAD) -> Float32Array:
        """MediaPipe's landmarks (478, 2) of the head in a render, pixels."""
        pose = portrait_pose(yaw_rad)
        rotation = rotation_matrix(torch.from_numpy(pose.rotation))
        view = self._landmarks @ rotation.T + torch.from_numpy(pose.translation)
        return np.asarray(self._camera.project(view).numpy() / SUPERSAMPLING, np.float32)

    def sheet(self, maps: ReflectanceMaps, columns: int, light: Light) -> UInt8Array:
        """Renders of every head of a batch under one light, row by row, in one image."""
        renders = [self.render(maps.one(index), light) for index in range(len(maps.diffuse))]
        renders += [np.zeros_like(renders[0])] * (-len(renders) % columns)
        rows = [np.concatenate(renders[first : first + columns], 1) for first in range(0, len(renders), columns)]
        return np.concatenate(rows, 0)


def interpolation(generator: ReflectanceGenerator, seeds: Sequence[int], between: int) -> ReflectanceMaps:
    """Maps on straight lines in W from seed to seed, `between` new ones on each line."""
    w = torch.cat([sample_latents(generator, 1, seed) for seed in seeds])
    steps = torch.linspace(0.0, 1.0, between + 2)[:-1]
    line = [torch.lerp(a, b, t) for a, b in pairwise(w) for t in steps]
    return synthesize_all(generator, torch.stack([*line, w[-1]]))


def write_image(image: UInt8Array, path: Path) -> None:
    """Write an image (H, W, 3), sRGB bytes, atomically, in the format of the name's suffix; JPEGs at the best quality
    that keeps within `LARGEST_IMAGE_BYTES`."""
    content = io.BytesIO()
    if path.suffix.lower() in (".jpg", ".jpeg"):
        for quality in QUALITIES:
            content = io.BytesIO()
            Image.fromarray(image).save(content, "JPEG", quality=quality, optimize=True)
            if content.tell() <= LARGEST_IMAGE_BYTES:
                break
    else:
        Image.fromarray(image).save(content, Image.registered_extensions()[path.suffix.lower()])
    with atomic_file(path) as partial:
        partial.write_bytes(content.getvalue())


def main(
    out: Annotated[Path, typer.Option(help="Folder for the images.")],
    weights: Annotated[Path | None, typer.Option(help="Generator weights; by default the package's own.")] = None,
    columns: Annotated[int, typer.Option(help="Heads per row.")] = 6,
    rows: Annotated[int, typer.Option(help="Rows of heads.")] = 6,
    seed: Annotated[int, typer.Option(help="Of the random latents.")] = 0,
) -> None:
    """Write random samples on the mean head under two lights (`samples_front.jpg`, `samples_side.jpg`), an
    interpolation in W under both (`interpolation.jpg`), and the maps of the first row (`maps.jpg`)."""
    out.mkdir(parents=True, exist_ok=True)
    generator = packaged_generator() if weights is None else load_generator(weights)
    renderer = HeadRenderer(load_default_model())
    maps = sample_maps(generator, columns * rows, seed)
    write_image(renderer.sheet(maps, columns, front_light()), out / "samples_front.jpg")
    write_image(renderer.sheet(maps, columns, side_light()), out / "samples_side.jpg")
    line = interpolation(generator, (seed + 1, seed + 2, seed + 3), 2)
    strips = [renderer.sheet(line, len(line.diffuse), light) for light in (front_light(), side_light())]
    write_image(np.concatenate(strips), out / "interpolation.jpg")
    write_image(
        map_sheet(ReflectanceMaps.concatenated([maps.one(index) for index in range(columns)])), out / "maps.jpg"
    )


if __name__ == "__main__":
    typer.run(main)
