"""Generators and texture encoders of the package, by the names of `fitme.reflectance.model_names`.

The generator of people is that of painted skin with an extension (`fitme.reflectance.linear_extension`).
"""

import copy
from functools import cache
from pathlib import Path

from fitme.reflectance.generator import ReflectanceGenerator
from fitme.reflectance.linear_extension import extended_encoder, extended_generator, load_extension
from fitme.reflectance.model_names import DEFAULT_MODEL, ReflectanceModel
from fitme.reflectance.texture_encoder import PAINTED_ENCODER, TextureEncoder, load_encoder, mark_of
from fitme.reflectance.weights import PAINTED_WEIGHTS, load_generator

PEOPLE_EXTENSION = Path(__file__).parent / "weights" / "people_128.safetensors"
"""Extension of the generator of painted skin by people's."""


def packaged_generator(name: ReflectanceModel = DEFAULT_MODEL) -> ReflectanceGenerator:
    """Generator of the package: a new copy at each call, so that a fit may tune it."""
    return copy.deepcopy(_original(name))


def packaged_encoder(generator: ReflectanceGenerator) -> TextureEncoder | None:
    """Encoder of the package if it was trained for this generator; None for any other generator, whose W+ differs."""
    mark = mark_of(generator)
    if _encoder("painted").generator_mark == mark:
        return _encoder("painted")
    # The other generator is only built where its sizes fit.
    if not PEOPLE_EXTENSION.is_file() or generator.config != _original("people").config:
        return None
    encoder = _encoder("people")
    return encoder if encoder.generator_mark == mark else None


@cache
def _original(name: ReflectanceModel) -> ReflectanceGenerator:
    if name == "painted":
        return load_generator(PAINTED_WEIGHTS)
    return extended_generator(_original("painted"), load_extension(PEOPLE_EXTENSION))


@cache
def _encoder(name: ReflectanceModel) -> TextureEncoder:
    if name == "painted":
        return load_encoder(PAINTED_ENCODER)
    return extended_encoder(_encoder("painted"), _original("people"), load_extension(PEOPLE_EXTENSION))
