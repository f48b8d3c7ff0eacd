"""Pictures of maps: grids to judge a generator by. `python -m fitme.reflectance.sheets --out DIR` writes them."""

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Annotated

import numpy as np
import numpy.typing as npt
import torch
import typer
from PIL import Image

from fitme.color import linear_to_bytes
from fitme.geometry import Camera
from fitme.reflectance.generator import ReflectanceGenerator
from fitme.reflectance.maps import ReflectanceMaps
from fitme.reflectance.weights import load_default_generator, load_generator
from fitme.render.light import Light
from fitme.render.renderer import render
from fitme.shape.model_file import load_default_model
from fitme.shape.morphable_model import MorphableModel

Picture = npt.NDArray[np.uint8]

BACKGROUND = 0.12
"""Linear grey behind rendered heads."""
DISTANCE_M, FOCAL_IN_WIDTHS, RAISE_M = 0.9, 2.6, 0.03
"""Camera of the portraits: distance, focal length in picture widths, how far the head is lifted to be centred."""


@torch.no_grad()
def sample_maps(generator: ReflectanceGenerator, count: int, seed: int = 0, truncation: float = 1.0) -> ReflectanceMaps:
    """Maps (count, ...) of random z, w pulled towards its mean where `truncation` is below 1."""
    noise = torch.randn(count, generator.latent_size, generator=torch.Generator().manual_seed(seed))
    w = generator.mean_w + truncation * (generator.mapping(noise) - generator.mean_w)
    parts = [generator.synthesize(generator.broadcast(one[None])) for one in w]
    return ReflectanceMaps(
        torch.cat([p.diffuse for p in parts]),
        torch.cat([p.specular for p in parts]),
        torch.cat([p.normals for p in parts]),
    )


def one_of(maps: ReflectanceMaps, index: int) -> ReflectanceMaps:
    """One map of a batch, as a batch of one."""
    chosen = slice(index, index + 1)
    return ReflectanceMaps(maps.diffuse[chosen], maps.specular[chosen], maps.normals[chosen])


def map_sheet(maps: ReflectanceMaps) -> Picture:
    """Rows of diffuse albedo (sRGB), specular albedo and normals; a column per head."""
    diffuse = linear_to_bytes(maps.diffuse.numpy())
    specular = np.rint(maps.specular.numpy() * 255.0).astype(np.uint8).repeat(3, -1)
    normals = np.rint((maps.normals.numpy() * 0.5 + 0.5) * 255.0).astype(np.uint8)
    return np.concatenate([np.concatenate(list(row), 1) for row in (diffuse, specular, normals)], 0)


def studio_lights() -> tuple[Light, Light]:
    """A soft frontal light, and a hard one from the side with little fill."""
    soft, hard = Light.ambient(0.7).sh, Light.ambient(0.12).sh
    key = torch.nn.functional.normalize(torch.tensor([[[0.4, 0.5, 0.8]], [[-0.95, 0.35, 0.35]]]), dim=-1)
    return (
        Light(soft, key[:1], torch.full((1, 1, 3), 0.45)),
        Light(hard, key[1:], torch.full((1, 1, 3), 1.1)),
    )


@torch.no_grad()
def portrait(
    model: MorphableModel, maps: ReflectanceMaps, light: Light, *, yaw_rad: float = 0.3, size: int = 256
) -> Picture:
    """The mean head with these maps (batch of one), (size, size, 3)."""
    vertices = model.mean[None]
    rotation = torch.tensor([[0.0, yaw_rad, 0.0]])
    translation = torch.tensor([[0.0, RAISE_M, -DISTANCE_M]])
    camera = Camera.centered(FOCAL_IN_WIDTHS * size, size, size)
    drawn = render(model, vertices, rotation, translation, camera, maps, light)
    picture = drawn.image + (1.0 - drawn.mask) * BACKGROUND
    return linear_to_bytes(picture[0].numpy())


def portrait_sheet(model: MorphableModel, maps: ReflectanceMaps, columns: int, size: int = 256) -> Picture:
    """Every head of a batch under both studio lights: two rows of pictures per row of heads."""
    rows = []
    for first in range(0, len(maps.diffuse), columns):
        heads = [one_of(maps, index) for index in range(first, min(first + columns, len(maps.diffuse)))]
        for light in studio_lights():
            row = [portrait(model, head, light, size=size) for head in heads]
            row += [np.zeros_like(row[0])] * (columns - len(row))
            rows.append(np.concatenate(row, 1))
    return np.concatenate(rows, 0)


def interpolation(generator: ReflectanceGenerator, seeds: Sequence[int], between: int) -> ReflectanceMaps:
    """Maps on straight lines through w from seed to seed, `between` new ones on each."""
    noise = torch.cat([
        torch.randn(1, generator.latent_size, generator=torch.Generator().manual_seed(seed)) for seed in seeds
    ])  # fmt: skip
    with torch.no_grad():
        w = generator.mapping(noise)
        steps = torch.linspace(0.0, 1.0, between + 2)[:-1]
        line = [torch.lerp(a, b, t) for a, b in pairwise(w) for t in steps]
        parts = [generator.synthesize(generator.broadcast(one[None])) for one in [*line, w[-1]]]
    return ReflectanceMaps(
        torch.cat([p.diffuse for p in parts]),
        torch.cat([p.specular for p in parts]),
        torch.cat([p.normals for p in parts]),
    )


def write_picture(picture: Picture, path: Path) -> None:
    """As PNG."""
    Image.fromarray(picture).save(path)


def main(
    out: Annotated[Path, typer.Option(help="Folder for the pictures.")],
    weights: Annotated[Path | None, typer.Option(help="Generator weights; by default the package's own.")] = None,
    columns: Annotated[int, typer.Option(help="Heads per row.")] = 6,
    rows: Annotated[int, typer.Option(help="Rows of heads.")] = 6,
    seed: Annotated[int, typer.Option(help="Of the random latents.")] = 0,
) -> None:
    """Write `maps.png`, `portraits.png` and `interpolation.png` of random samples."""
    out.mkdir(parents=True, exist_ok=True)
    generator = load_default_generator() if weights is None else load_generator(weights)
    model = load_default_model()
    maps = sample_maps(generator, columns * rows, seed)
    first = ReflectanceMaps(maps.diffuse[:columns], maps.specular[:columns], maps.normals[:columns])
    write_picture(map_sheet(first), out / "maps.png")
    write_picture(portrait_sheet(model, maps, columns), out / "portraits.png")
    between = interpolation(generator, (seed + 1, seed + 2, seed + 3), 2)
    write_picture(portrait_sheet(model, between, len(between.diffuse)), out / "interpolation.png")


if __name__ == "__main__":
    typer.run(main)
