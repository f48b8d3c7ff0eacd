"""De-lit texture of a portrait: the head fitted to one photo, its texels sampled and taken out of the light.

The fit is that of `fitme fit` up to the fused texture. Its texture still has what one photo cannot separate:
the studio's uneven light, shine, hair over the face. `fitme.training.people.portrait_maps` removes these.
"""

import io
import math
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from zipfile import BadZipFile

import cv2
import numpy as np

from fitme.arrays import Float32Array, UInt8Array
from fitme.atomic_file import atomic_file
from fitme.errors import InputError
from fitme.fit.fitter import IncrementalFitter
from fitme.fit.keyframe import Keyframe
from fitme.fit.settings import FitSettings
from fitme.ingest.photos import read_photo
from fitme.reflectance.generator import ReflectanceGenerator
from fitme.shape.expressions import EXPRESSION_NAMES
from fitme.shape.morphable_model import MorphableModel
from fitme.track.factory import DEFAULT_NETWORKS, landmark_backend
from fitme.track.observation import FaceObservation, FaceStatus
from fitme.track.tracker import FrameTracker

FACE_SIDE_TEXELS = 0.52
"""Side of the frontal face in the layout, as a share of the map's side."""
PIXELS_PER_TEXEL = 1.3
"""Pixels of a portrait per texel: larger portraits are reduced to it, so that no detail aliases."""
LARGEST_YAW_DEG = 20.0
"""Largest turn of the head to either side."""
CLOSED_EYES = 0.55
"""Activation of both blinks from which eyes count as closed."""
SMALLEST_FACE_PX = 160.0
"""Least side of the face."""
LEAST_SHARPNESS = 0.25
"""Least sharpness, see `fitme.track.observation.FrameQuality`."""
SMILING = 0.5
"""Activation of both smiles from which a face counts as not neutral: its folds would be in every expression."""
_SMILES = [EXPRESSION_NAMES.index(name) for name in ("mouthSmileLeft", "mouthSmileRight")]
_BLINKS = [EXPRESSION_NAMES.index(name) for name in ("eyeBlinkLeft", "eyeBlinkRight")]


class UnusablePortrait(InputError):
    """A portrait that gives no texture; the message is the reason."""


@dataclass(frozen=True, eq=False)
class PortraitTexture:
    """De-lit texture of a portrait in the model's layout."""

    observed: Float32Array
    """(R, R, 3) linear albedo where it was observed."""
    confidence: Float32Array
    """(R, R) in [0, 1), 0 where nothing was observed."""
    skin_probability: Float32Array
    """(R, R) in [0, 1]."""


class PortraitFitter:
    """Fitter of portraits of different people, each on its own, by shared networks."""

    def __init__(
        self, model: MorphableModel, generator: ReflectanceGenerator, resolution: int, *, neutral: bool = True
    ) -> None:
        """`neutral`: refuse faces that smile."""
        self._model, self._generator, self._resolution = model, generator, resolution
        self._neutral = neutral
        settings = FitSettings(map_resolution=resolution, skin_detail=False, expression_prior=False)
        # The texture needs neither hair nor a latent.
        inversion = replace(settings.inversion, coarse_steps=1, inversion_steps=0, tuning_steps=0)
        self._settings = replace(settings, hair=replace(settings.hair, enabled=False), inversion=inversion)
        self._tracker = FrameTracker(model, backend=landmark_backend(DEFAULT_NETWORKS))

    def close(self) -> None:
        """Release the networks."""
        self._tracker.close()

    def fit(self, path: Path) -> PortraitTexture:
        """Texture of the portrait in a file.

        :raises UnusablePortrait: if it does not show one frontal, sharp face with open eyes.
        :raises InputError: if the file is no image.
        """
        image = read_photo(path).image
        observation = self._observe(image)
        scale = PIXELS_PER_TEXEL * FACE_SIDE_TEXELS * self._resolution / observation.quality.face_size_px
        if scale < 1.0:
            size = (round(image.shape[1] * scale), round(image.shape[0] * scale))
            image = np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8)
            observation = self._observe(image)
        fitter = IncrementalFitter(self._model, self._generator, self._settings)
        with closing(fitter):
            fitter.add_keyframe(Keyframe(path.stem, image, observation, 0.0))
            while not fitter.converged:
                fitter.refine(0.0)
            table, texture = fitter.fused_texture()
        return PortraitTexture(
            table.to_filled_map(texture.observed),
            table.to_map(texture.confidence[:, None])[..., 0],
            table.to_filled_map(texture.skin_probability)[..., 0],
        )

    def expression(self, path: Path) -> Float32Array:
        """(52,) expression of the portrait in a file; raises as `fit`."""
        return self._observe(read_photo(path).image).expression

    def _observe(self, image: UInt8Array) -> FaceObservation:
        """The one face of an image (H, W, 3); UnusablePortrait if it is not usable."""
        observation = self._tracker.analyse(image)
        if observation is None or observation.status is FaceStatus.NO_FACE:
            raise UnusablePortrait("no face was found")
        if observation.status is not FaceStatus.OK:
            raise UnusablePortrait("several faces were found")
        for reason in _faults(observation, self._neutral):
            raise UnusablePortrait(reason)
        return observation


def _faults(observation: FaceObservation, neutral: bool) -> Iterator[str]:
    """Reasons why an observed face is not used; `neutral` ones must not smile."""
    quality = observation.quality
    if quality.face_size_px < SMALLEST_FACE_PX:
        yield f"the face is too small: {quality.face_size_px:.0f} pixels"
    if quality.sharpness < LEAST_SHARPNESS:
        yield "the face is blurred"
    yaw_deg = math.degrees(observation.pose.yaw_pitch_roll()[0])
    if abs(yaw_deg) > LARGEST_YAW_DEG:
        yield f"the head is turned by {yaw_deg:.0f} degrees"
    if observation.expression[_BLINKS].min() > CLOSED_EYES:
        yield "the eyes are closed"
    if neutral and observation.expression[_SMILES].min() > SMILING:
        yield "the face is not neutral"


def save_texture(texture: PortraitTexture, path: Path) -> None:
    """Write a texture atomically: colours in 16 bits, weights in 8."""
    buffer = io.BytesIO()
    np.savez_compressed(
        buffer,
        observed=texture.observed.astype(np.float16),
        confidence=np.rint(texture.confidence * 255.0).astype(np.uint8),
        skin_probability=np.rint(texture.skin_probability * 255.0).astype(np.uint8),
    )
    with atomic_file(path) as partial:
        partial.write_bytes(buffer.getvalue())


def load_texture(path: Path) -> PortraitTexture:
    """Inverse of `save_texture`; InputError for a missing or damaged file."""
    try:
        with np.load(path) as file:
            return PortraitTexture(
                file["observed"].astype(np.float32),
                file["confidence"].astype(np.float32) / 255.0,
                file["skin_probability"].astype(np.float32) / 255.0,
            )
    except (OSError, ValueError, KeyError, BadZipFile) as error:
        raise InputError(f"{path} holds no texture of a portrait ({error}): build it again") from error
