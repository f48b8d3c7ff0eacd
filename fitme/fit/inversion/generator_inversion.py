"""Inversion and tuning of the generator: its W+ latent by gradient descent, then its weights around that latent.

FitMe (Lattas et al., CVPR 2023), section 3.4: the reflectance of a face is found as a latent of the generator under the
photometric, identity and landmark terms, then the generator itself is tuned with the latent held, after Roich et al.,
"Pivotal Tuning for Latent-based Editing of Real Images" (2022).
"""

import copy
import math
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property

import torch
import torch.nn.functional as functional
from torch import Tensor

from fitme.arrays import Float32Array
from fitme.color import linear_to_srgb
from fitme.fit.device import model_on, network_on
from fitme.fit.inversion.adam import Adam, Group
from fitme.fit.inversion.keyframe_loss import KeyframeTarget, SceneParameters, keyframe_loss
from fitme.fit.inversion.losses import encoded_l1, gradient_l1
from fitme.fit.inversion.settings import InversionSettings
from fitme.fit.texture.mouth_interior import OpenMouth, open_mouth
from fitme.reflectance.generator import ReflectanceGenerator
from fitme.reflectance.maps import ReflectanceMaps
from fitme.reflectance.texture_encoder import TextureEncoder
from fitme.render.occlusion import head_occlusion
from fitme.render.rasterizer import RasterizerBackend
from fitme.shape.morphable_model import MorphableModel
from fitme.track.identity import DlibEmbedder

LATENT_SAMPLES = 512
"""Random latents whose standard deviation scales the prior on W+."""
SMALLEST_DEVIATION = 1e-3
"""Lower bound of a component's standard deviation, so that a component which hardly varies does not dominate."""


@dataclass(frozen=True)
class TextureTarget:
    """The fused texture that the generator's diffuse albedo is compared with."""

    encoded: Tensor
    """(1, R, R, 3) sRGB-encoded albedo."""
    weight: Tensor
    """(1, R, R, 1) confidence in [0, 1]."""

    def to(self, device: torch.device) -> "TextureTarget":
        """The target with its tensors on a device."""
        return TextureTarget(self.encoded.to(device), self.weight.to(device))

    def at(self, resolution: int) -> "TextureTarget":
        """Target at a lower resolution: mean weighted by confidence."""
        factor = self.encoded.shape[1] // resolution
        if factor == 1:
            return self
        weight = functional.avg_pool2d(self.weight.permute(0, 3, 1, 2), factor)
        encoded = functional.avg_pool2d((self.encoded * self.weight).permute(0, 3, 1, 2), factor)
        encoded = encoded / weight.clamp(min=1e-4)
        return TextureTarget(encoded.permute(0, 2, 3, 1), weight.permute(0, 2, 3, 1))


class ReflectanceFit:
    """Latent and weights of the generator under optimisation; state is kept between rounds.

    Everything that a step needs is on the device of the backend. What the other stages take is copied to the CPU.
    """

    def __init__(
        self,
        generator: ReflectanceGenerator,
        model: MorphableModel,
        backend: RasterizerBackend,
        settings: InversionSettings,
        encoder_for: Callable[[ReflectanceGenerator], TextureEncoder | None] = lambda generator: None,
    ) -> None:
        """An encoder trained for the generator predicts the latent that inversion starts from and is drawn to; without
        one that is the mean latent. `encoder_for` is called at the first inversion: the first avatar needs none.

        :param generator: on the CPU, as `model`.
        """
        self.device = backend.device
        """Device of scenes and targets."""
        self._given, self._encoder_for = generator, encoder_for
        self._original = network_on(generator, self.device).eval().requires_grad_(False)
        self._tuned: ReflectanceGenerator | None = None
        self._model = model
        self._rendered_model = model_on(model, self.device)
        self._backend = backend
        self._settings = settings
        self._mean = self._original.mean_w.detach().clone()  # (D,)
        self._w_plus: Tensor | None = None
        self._step = 0
        self._initial_specular: ReflectanceMaps | None = None
        self._pivot: ReflectanceMaps | None = None
        self._coarse_step = 0
        self._adam_states: defaultdict[str, Adam] = defaultdict(Adam)
        self._expected: tuple[TextureTarget, Tensor] | None = None
        self._texture: tuple[TextureTarget, TextureTarget] | None = None
        self._current: ReflectanceMaps | None = None
        # Seeded for each fit, so that equal keyframes give equal avatars.
        self._neighbours = torch.Generator().manual_seed(0)

    @property
    def w_plus(self) -> Float32Array | None:
        """(L, D) latent, None before inversion."""
        return None if self._w_plus is None else self._w_plus.detach()[0].cpu().numpy().copy()

    @property
    def resolution(self) -> int:
        """Side of the maps at which the generator is fitted."""
        return min(self._original.config.resolution, self._settings.largest_resolution)

    @property
    def generator(self) -> ReflectanceGenerator:
        """The generator as tuned so far."""
        return self._tuned or self._original

    def restore(self, w_plus: Float32Array | None, tuned: Mapping[str, Float32Array]) -> None:
        """Set latent (L, D) and tuned weights by name, as `w_plus` and `tuned_weights` gave them. Those of a generator
        of other sizes are dropped: the next keyframe begins an inversion."""
        self._current = None
        sizes = (self._original.num_layers, self._original.config.latent_size)
        if w_plus is not None and w_plus.shape != sizes:
            return
        if w_plus is not None:
            self._w_plus = torch.from_numpy(w_plus.copy())[None].to(self.device)
        if tuned:
            self._tuned = copy.deepcopy(self._original)
            weights = {name: torch.from_numpy(value.copy()) for name, value in tuned.items()}
            self._tuned.load_state_dict(weights, strict=False)

    def tuned_weights(self) -> dict[str, Float32Array]:
        """Weights that differ from the original generator's."""
        if self._tuned is None:
            return {}
        original = self._original.state_dict()
        return {
            name: value.cpu().numpy().copy()
            for name, value in self._tuned.state_dict().items()
            if not torch.equal(value, original[name])
        }

    @torch.no_grad()
    def maps(self) -> ReflectanceMaps:
        """Maps (1, R, R, C) on the CPU of the current latent and weights, with a dark mouth interior; of the mean
        latent before inversion."""
        if self._current is None:
            self._current = self._mouth.over(self.generator.synthesize(self._latent()).to("cpu"))
        return self._current

    def invert_coarsely(self, texture: TextureTarget, steps: int) -> float:
        """Fit the latent to the fused texture at rising resolutions; the loss at the end.

        Resolutions and rates follow the settings' `coarse_steps`, counted over the life of the fit.
        """
        texture = self._on_device(texture)
        expected = self._expected_latent(texture)
        latent = (expected if self._w_plus is None else self._w_plus).clone().requires_grad_()
        loss = torch.zeros(())
        for _ in range(steps):
            side = self._coarse_side()
            maps = self.generator.synthesize(latent, resolution=side)
            loss = self._texture_loss(maps, texture.at(side)) + self._latent_prior(latent, expected)
            loss.backward()  # type: ignore[no-untyped-call]
            self._adam_states["coarse"].step([Group([latent], self._coarse_rate())])
            self._coarse_step += 1
        self._w_plus, self._pivot, self._current = latent.detach(), None, None
        return float(loss.detach())

    def invert(
        self, texture: TextureTarget, scene: SceneParameters, targets: list[KeyframeTarget],
        embedder: DlibEmbedder | None, steps: int,
    ) -> dict[str, float]:  # fmt: skip
        """Optimise latent, geometry and lights for the texture and one keyframe a step; values of the last step's
        terms by name. FitMe, section 3.4."""
        texture = self._on_device(texture)
        expected = self._expected_latent(texture)
        latent = (expected if self._w_plus is None else self._w_plus).clone().requires_grad_()
        groups = [Group([latent], self._settings.latent_rate), *scene.groups(self._settings)]
        values: dict[str, Tensor] = {}
        if self._initial_specular is None:
            with torch.no_grad():
                self._initial_specular = self.generator.synthesize(latent, self.resolution)
        for _ in range(steps):
            maps = self.generator.synthesize(latent, self.resolution)
            texture_loss = self._texture_loss(maps, texture)
            index = self._step % len(targets)
            total, values = self._keyframe_loss(index, targets[index], scene, maps, embedder)
            specular = self._settings.specular_weight * _specular_distance(maps, self._initial_specular)
            prior = self._latent_prior(latent, expected)
            (total + texture_loss + specular + prior).backward()  # type: ignore[no-untyped-call]
            self._adam_states["inversion"].step(groups)
            scene.clamp()
            self._step += 1
            values["texture"] = texture_loss.detach()
        self._w_plus, self._pivot, self._current = latent.detach(), None, None
        return _numbers(values)

    def tune(
        self, texture: TextureTarget, scene: SceneParameters, targets: list[KeyframeTarget],
        embedder: DlibEmbedder | None, steps: int,
    ) -> dict[str, float]:  # fmt: skip
        """Optimise the generator's weights and the lights at a fixed latent (pivotal tuning); values of the last step's
        terms by name."""
        settings, texture = self._settings, self._on_device(texture)
        if self._tuned is None:
            self._tuned = copy.deepcopy(self._original)
        generator = self._tuned.requires_grad_(True)
        parameters = [parameter for name, parameter in generator.named_parameters() if not name.startswith("mapping")]
        groups = [
            Group(parameters, settings.tuning_rate),
            Group([scene.lights], settings.light_rate),
        ]
        latent = self._latent()
        if self._pivot is None:
            with torch.no_grad():
                self._pivot = self._original.synthesize(latent, self.resolution)
        pivot = self._pivot
        values: dict[str, Tensor] = {}
        for _ in range(steps):
            maps = generator.synthesize(latent, self.resolution)
            texture_loss = self._texture_loss(maps, texture)
            index = self._step % len(targets)
            total, values = self._keyframe_loss(index, targets[index], scene, maps, embedder)
            locality = self._locality(generator, latent)
            specular = _specular_distance(maps, pivot)
            loss = total + texture_loss + settings.locality_weight * locality + settings.specular_weight * specular
            loss.backward()  # type: ignore[no-untyped-call]
            self._adam_states["tuning"].step(groups)
            self._step += 1
            values |= {"texture": texture_loss.detach(), "locality": locality.detach()}
        generator.requires_grad_(False)
        self._current = None
        return _numbers(values)

    def _keyframe_loss(
        self, index: int, target: KeyframeTarget, scene: SceneParameters, maps: ReflectanceMaps,
        embedder: DlibEmbedder | None,
    ) -> tuple[Tensor, dict[str, Tensor]]:  # fmt: skip
        return keyframe_loss(
            index, target, scene, maps, self._rendered_model, embedder, self._backend, self._settings, self._occlusion
        )

    def _on_device(self, texture: TextureTarget) -> TextureTarget:
        """A texture on the device; the copy of the last one is kept."""
        if self._texture is None or self._texture[0] is not texture:
            self._texture = texture, texture.to(self.device)
        return self._texture[1]

    def _coarse_side(self) -> int:
        """Side of the maps at the next coarse step."""
        passed = 0.0
        for factor, share in self._settings.coarse_stages:
            passed += share
            if self._coarse_step < round(passed * self._settings.coarse_steps):
                return self.resolution // factor
        return self.resolution // self._settings.coarse_stages[-1][0]

    def _coarse_rate(self) -> float:
        settings = self._settings
        done = min(self._coarse_step / max(settings.coarse_steps, 1), 1.0)
        falling = 0.5 * (1.0 + math.cos(math.pi * done))
        return settings.coarse_rate * (settings.coarse_final_rate + (1.0 - settings.coarse_final_rate) * falling)

    @cached_property
    def _occlusion(self) -> Tensor:
        return head_occlusion(self._model).to(self.device)

    @cached_property
    def _mouth(self) -> OpenMouth:
        return open_mouth(self._model, self._original.config.resolution)

    def _latent(self) -> Tensor:
        if self._w_plus is None:
            return self._mean.expand(1, self._original.num_layers, -1)
        return self._w_plus

    @cached_property
    def _latent_deviation(self) -> Tensor:
        """(D,) standard deviation of w over random z."""
        with torch.no_grad():
            # Drawn on the CPU, so that all devices draw the same.
            noise = torch.randn(LATENT_SAMPLES, self._original.latent_size, generator=torch.Generator().manual_seed(0))
            latents = self._original.mapping(noise.to(self.device))
        deviation: Tensor = latents.std(0).clamp(min=SMALLEST_DEVIATION)
        return deviation

    @cached_property
    def _encoder(self) -> TextureEncoder | None:
        encoder = self._encoder_for(self._given) if self._settings.encoder else None
        return None if encoder is None else network_on(encoder, self.device)

    def _expected_latent(self, texture: TextureTarget) -> Tensor:
        """(1, L, D) the encoder's prediction from a texture; the mean latent without an encoder."""
        if self._encoder is None:
            return self._mean.expand(1, self._original.num_layers, -1)
        if self._expected is None or self._expected[0] is not texture:
            self._expected = (texture, self._encoder.encode(texture.encoded, texture.weight, delighted=True))
        return self._expected[1]

    def _latent_prior(self, latent: Tensor, expected: Tensor) -> Tensor:
        distance: Tensor = ((latent - expected) / self._latent_deviation).square().mean()
        return self._settings.latent_prior_weight * distance

    def _texture_loss(self, maps: ReflectanceMaps, texture: TextureTarget) -> Tensor:
        color = encoded_l1(maps.diffuse, texture.encoded, texture.weight)
        edges = gradient_l1(maps.diffuse, texture.encoded, texture.weight)
        return self._settings.texture_weight * color + self._settings.gradient_weight * edges

    def _locality(self, generator: ReflectanceGenerator, latent: Tensor) -> Tensor:
        """Locality regularisation (Roich et al. 2022, eq. 5): change by tuning of the maps of a latent near the pivot,
        at low resolution."""
        with torch.no_grad():
            noise = torch.randn(1, self._original.latent_size, generator=self._neighbours)
            random = self._original.mapping(noise.to(self.device))[:, None]
            near = latent + self._settings.locality_radius * (random - latent)
            before = self._original.synthesize(near, resolution=self._settings.coarse_resolution)
        after = generator.synthesize(near, resolution=self._settings.coarse_resolution)
        return (linear_to_srgb(after.diffuse) - linear_to_srgb(before.diffuse)).abs().mean() + _specular_distance(
            after, before
        )


def _numbers(values: Mapping[str, Tensor]) -> dict[str, float]:
    """Values of 0-dimensional tensors: read once for all steps, since each reading waits for the device."""
    return {name: float(value) for name, value in values.items()}


def _specular_distance(a: ReflectanceMaps, b: ReflectanceMaps) -> Tensor:
    """Mean absolute difference of specular albedo and normals.

    Images under one soft light hardly constrain either, and tuning would use them to explain residual shading.
    """
    return (a.specular - b.specular).abs().mean() + (a.normals - b.normals).abs().mean()
