"""Measures the skin-tone prior of the default generator: `python -m fitme.build.skin_tone_prior`.

Draws random heads, takes the median albedos of their faces, sorts them by the first principal component of their
logarithms, and writes the means of equal groups, from light to dark, as `fitme/fit/lighting/skin_tone_prior.json`.
Reads the default model and generator; five minutes.
"""

import argparse
import json
from pathlib import Path

import cv2
import numpy as np

from fitme.arrays import Float64Array
from fitme.atomic_file import atomic_file
from fitme.fit.lighting.albedo_scale import SKIN_TONE_PRIOR_PATH
from fitme.fit.lighting.spherical_harmonics import LIGHT_REGIONS
from fitme.fit.texture.unprojection import texel_table
from fitme.reflectance.packaged_models import packaged_generator
from fitme.shape.model_file import load_default_model
from fitme.training.contact_sheets import sample_maps

HEADS = 1500
TONES = 20
"""Number of groups."""
BATCH = 50
TABLE_RESOLUTION = 128
"""Side of the maps on which medians are taken."""


def face_medians(heads: int) -> tuple[Float64Array, Float64Array]:
    """Median linear albedos (heads, 3) and median specular albedos (heads,) over the skin and lips of random heads."""
    table, generator = texel_table(load_default_model(), TABLE_RESOLUTION), packaged_generator()
    face = table.within(LIGHT_REGIONS)
    diffuse: list[Float64Array] = []
    specular: list[Float64Array] = []
    for seed in range(-(-heads // BATCH)):
        maps = sample_maps(generator, min(BATCH, heads - seed * BATCH), seed)
        for images, medians in ((maps.diffuse, diffuse), (maps.specular, specular)):
            for image in images.numpy():
                small = cv2.resize(image, (TABLE_RESOLUTION, TABLE_RESOLUTION), interpolation=cv2.INTER_AREA)
                values = table.from_map(small.reshape(TABLE_RESOLUTION, TABLE_RESOLUTION, -1))[face]
                medians.append(np.median(values.astype(np.float64), 0))
    return np.stack(diffuse), np.stack(specular)[:, 0]


def tones_of(albedos: Float64Array, count: int) -> Float64Array:
    """(count, 3) geometric means, from light to dark, of equal groups of albedos (N, 3) sorted by the first principal
    component of their logarithms."""
    logarithms = np.log(albedos)
    _, _, directions = np.linalg.svd(logarithms - logarithms.mean(0), full_matrices=False)
    lightness = logarithms @ (directions[0] * np.sign(directions[0].sum()))
    groups = np.array_split(np.argsort(-lightness), count)
    return np.asarray(np.exp(np.stack([logarithms[group].mean(0) for group in groups])))


def main() -> None:
    """Command line of the builder."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--heads", type=int, default=HEADS)
    parser.add_argument("--out", type=Path, default=SKIN_TONE_PRIOR_PATH, help="where to write the prior (.json)")
    arguments = parser.parse_args()
    out: Path = arguments.out
    albedos, specular = face_medians(arguments.heads)
    rows = ",\n".join(f"    {json.dumps(tone.round(4).tolist())}" for tone in tones_of(albedos, TONES))
    with atomic_file(out) as partial:
        partial.write_text(f'{{\n  "albedos": [\n{rows}\n  ],\n  "specular": {specular.mean():.2f}\n}}\n')
    print(
        f"{out}: {TONES} tones of {arguments.heads} heads; specular albedo {specular.mean():.3f} ± {specular.std():.3f}"
    )


if __name__ == "__main__":
    main()
