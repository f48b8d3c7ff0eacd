"""A small set of people: synthetic heads in place of portraits."""

import numpy as np
import pytest

from fitme.color import bytes_to_linear
from fitme.skin.skin_tone_classes import skin_ita_deg
from fitme.skin.texel_geometry import default_texel_geometry
from fitme.training.data.dataset import MapDataset
from fitme.training.people.people_set import PeopleSet, layout_arrays
from fitme.training.people.tone_curves import class_histograms, histogram, tone_curves


@pytest.fixture(scope="session")
def few_people(few_skins: MapDataset) -> PeopleSet:
    geometry = default_texel_geometry(64)
    diffuse = np.array(few_skins.maps[..., :3])
    linear = [bytes_to_linear(maps) for maps in diffuse]
    ita_deg = np.array([skin_ita_deg(maps, geometry) for maps in linear], np.float32)
    histograms = [histogram(maps, geometry) for maps in linear]
    classes = class_histograms(histograms, list(ita_deg), geometry)
    curves = [tone_curves(maps, own, classes, geometry) for maps, own in zip(linear, histograms, strict=True)]
    return PeopleSet(
        names=tuple(f"head_{index}" for index in range(len(diffuse))),
        diffuse=diffuse,
        coarse=np.full((len(diffuse), 64, 64, 3), 127, np.uint8),
        share=np.where(geometry.covered, 255, 0)[None].repeat(len(diffuse), 0).astype(np.uint8),
        skin=np.stack([np.rint(255.0 * c.skin).astype(np.uint8) for c in curves]),
        between_hairs=np.stack([np.rint(255.0 * c.between_hairs).astype(np.uint8) for c in curves]),
        places=np.stack([c.places for c in curves]),
        heights=np.stack([c.heights for c in curves]),
        darkening=np.stack([c.darkening for c in curves]),
        ita_deg=ita_deg,
        **layout_arrays(geometry),
    )
