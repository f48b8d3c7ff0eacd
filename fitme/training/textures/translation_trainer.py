"""Trainer and score of the translation network from textures to full reflectance."""

import math
import time
from collections.abc import Iterator
from copy import deepcopy
from dataclasses import dataclass, field

import numpy as np
import torch
import torch.nn.functional as functional
from torch import Tensor

from fitme.errors import ConfigError
from fitme.metrics.similarity import psnr
from fitme.reflectance.layers import downsample
from fitme.reflectance.maps import ReflectanceMaps
from fitme.skin.painter import synthesize_skin
from fitme.skin.texel_geometry import default_texel_geometry
from fitme.training.data.dataset import HELD_OUT_SEED, MapDataset, texel_weight
from fitme.training.data.encoding import decode_bytes, encode_maps
from fitme.training.textures.baked_textures import BakingSettings, bake
from fitme.training.textures.translation_network import MEAN_RESOLUTION, TextureTranslator, TranslationConfig, maps_of

CHANNEL_WEIGHTS = (1.0, 1.0, 1.0, 2.0, 6.0, 6.0)
"""Loss weights of the channels of an encoded map; slopes are small."""
COARSE_FACTOR = 16
"""Downsampling factor of the coarse loss term, which weighs the colour level against texture."""
SECONDS_PER_MINUTE = 60.0


@dataclass(frozen=True)
class TranslationTraining:
    """Settings of a run. Equal settings on equal software give equal weights, up to `bfloat16`'s rounding."""

    steps: int = 1100
    batch: int = 4
    coarse_share: float = 0.8
    """Share of the steps, at the beginning, at half the resolution, where a step takes a quarter of the time."""
    minutes: float | None = None
    """Wall time of a run, which shortens all schedules accordingly; None for `steps`."""
    learning_rate: float = 8e-4
    adam_betas: tuple[float, float] = (0.9, 0.99)
    warm_up_steps: int = 60
    final_rate: float = 0.02
    """Learning rate at the end as a share of the highest; cosine between."""
    gradient_weight: float = 1.0
    """Weight of the L1 on differences between neighbouring texels."""
    coarse_weight: float = 1.0
    """Weight of the L1 on maps downsampled by `COARSE_FACTOR`."""
    ema_decay: float = 0.995
    gradient_limit: float = 1.0
    """Largest norm of the gradient (clipping)."""
    seed: int = 0
    bfloat16: bool = True
    """Mixed precision, on CPU and CUDA alike."""
    baking: BakingSettings = field(default_factory=BakingSettings)


@dataclass(frozen=True)
class TranslationStep:
    """Loss of a step."""

    step: int
    loss: float


class TranslationTrainer:
    """Trainer of a network on a set of maps: iterate `run`, then call `finished`."""

    def __init__(
        self,
        dataset: MapDataset,
        settings: TranslationTraining,
        config: TranslationConfig | None = None,
        start: TextureTranslator | None = None,
    ) -> None:
        """`start` is a network to continue from; `config` is the configuration of a new one."""
        config = start.config if start else config or TranslationConfig(resolution=dataset.resolution)
        if dataset.resolution % (2 * config.divisor):
            raise ConfigError(
                f"maps of {dataset.resolution} texels do not fit the network: use {2 * config.divisor} or more"
            )
        self.settings, self._dataset = settings, dataset
        self._device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        torch.manual_seed(settings.seed)
        self.network = TextureTranslator(config)
        factor = max(dataset.resolution // MEAN_RESOLUTION, 1)
        mean = functional.interpolate(downsample(dataset.mean()[None], factor), size=(MEAN_RESOLUTION,) * 2)
        self.network.mean.copy_(mean[0])
        if start:
            self.network.load_state_dict(start.state_dict())
        self.network.to(self._device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self._average = deepcopy(self.network).requires_grad_(False)
        self._optimizer = torch.optim.AdamW(
            self.network.parameters(), lr=settings.learning_rate, betas=settings.adam_betas, weight_decay=1e-4
        )
        self._weight = texel_weight(default_texel_geometry(dataset.resolution)).to(self._device)
        self._channel_weight = torch.tensor(CHANNEL_WEIGHTS, device=self._device)[:, None, None]
        self._random = torch.Generator().manual_seed(settings.seed)
        self._draw = np.random.default_rng(settings.seed)

    def run(self) -> Iterator[TranslationStep]:
        """Train; yields the loss of every step."""
        started = time.monotonic()
        for step in range(self.settings.steps):
            progress = step / self.settings.steps
            if self.settings.minutes is not None:
                progress = max(progress, (time.monotonic() - started) / SECONDS_PER_MINUTE / self.settings.minutes)
            if progress >= 1.0:
                return
            for group in self._optimizer.param_groups:
                group["lr"] = self.settings.learning_rate * self._rate(step, progress)
            indices = np.sort(self._draw.integers(len(self._dataset.maps), size=self.settings.batch))
            maps = self._dataset.batch(indices, self._draw.random(self.settings.batch) < 0.5)
            if progress < self.settings.coarse_share:
                maps = downsample(maps)
            texture, coverage = bake(maps, self.settings.baking, self._random)
            texture, coverage, maps = (x.to(self._device) for x in (texture, coverage, maps))
            with torch.autocast(self._device.type, torch.bfloat16, enabled=self.settings.bfloat16):
                found = self.network(texture.contiguous(memory_format=torch.channels_last), coverage)
            loss = self._loss(found.float(), maps)
            self._optimizer.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            torch.nn.utils.clip_grad_norm_(self.network.parameters(), self.settings.gradient_limit)
            self._optimizer.step()
            decay = min(self.settings.ema_decay, (1.0 + step) / (10.0 + step))
            for slow, fast in zip(self._average.parameters(), self.network.parameters(), strict=True):
                slow.lerp_(fast.detach(), 1.0 - decay)
            yield TranslationStep(step + 1, float(loss.detach()))

    def finished(self) -> TextureTranslator:
        """Network with averaged weights, on the CPU, in evaluation mode."""
        copy = TextureTranslator(self._average.config)
        copy.load_state_dict(self._average.state_dict())
        return copy.eval()

    def _rate(self, step: int, progress: float) -> float:
        """Share of the learning rate: warm-up times cosine."""
        warm = min(1.0, (step + 1) / max(self.settings.warm_up_steps, 1))
        cosine = 0.5 + 0.5 * math.cos(math.pi * progress)
        return warm * (self.settings.final_rate + (1.0 - self.settings.final_rate) * cosine)

    def _loss(self, found: Tensor, wanted: Tensor) -> Tensor:
        """Weighted L1 of texels, of differences between neighbours, and of coarse maps."""
        difference = (found - wanted) * self._channel_weight
        weight = downsample(self._weight, self._weight.shape[-1] // found.shape[-1])
        weight = weight / weight.mean()
        texels = (difference.abs() * weight).mean()
        gradients = sum(
            ((difference.diff(dim=d)).abs() * weight.narrow(d, 1, weight.shape[d] - 1)).mean() for d in (2, 3)
        )
        coarse = downsample(difference * weight, COARSE_FACTOR).abs().mean()
        total: Tensor = texels + self.settings.gradient_weight * gradients + self.settings.coarse_weight * coarse
        return total


@dataclass(frozen=True)
class TranslationScore:
    """Means over held-out heads and covered texels, with simpler predictors for comparison."""

    heads: int
    lit_psnr_db: float
    """Diffuse albedo from lit textures, sRGB-encoded."""
    plain_psnr_db: float
    """Diffuse albedo from textures without light."""
    lit_texture_psnr_db: float
    """Lit texture as the albedo."""
    plain_texture_psnr_db: float
    """Unlit texture, with its noise, as the albedo."""
    mean_psnr_db: float
    """Mean maps as the albedo."""
    specular_error: float
    """Mean absolute error of specular albedo, from lit textures."""
    mean_specular_error: float
    """Mean absolute error of the mean map."""
    normal_error_deg: float
    """Mean angle between normals, from lit textures, on skin."""
    mean_normal_error_deg: float
    """Mean angle for mean maps."""
    flat_normal_error_deg: float
    """Mean angle for flat normals."""


def held_out_maps(count: int, resolution: int) -> Tensor:
    """Encoded maps (N, 6, R, R) of held-out synthetic heads."""
    rows = []
    for seed in range(HELD_OUT_SEED, HELD_OUT_SEED + count):
        skin = synthesize_skin(seed, resolution)
        rows.append(torch.from_numpy(encode_maps(skin.arrays)))
    return decode_bytes(torch.stack(rows))


@torch.no_grad()
def score_translation(network: TextureTranslator, maps: Tensor, *, seed: int = 0) -> TranslationScore:
    """Score of a network on maps (N, 6, R, R). Textures are complete, with the default blur, noise and light."""
    settings = BakingSettings(without_eyes_and_mouth_share=0.0, front_only_share=0.0, hole_share=0.0)
    texel_geometry = default_texel_geometry(maps.shape[-1])
    covered, skin = (
        torch.from_numpy(mask.astype(np.float32)) for mask in (texel_geometry.covered, texel_geometry.skin_like)
    )
    mean = functional.interpolate(network.mean[None], size=maps.shape[-2:], mode="bilinear", align_corners=False)
    random = torch.Generator().manual_seed(seed)
    rows: list[dict[str, float]] = []
    for index in range(len(maps)):
        one = maps[index : index + 1]
        wanted, usual = maps_of(one), maps_of(mean)
        row = {"mean_psnr_db": float(psnr(usual.diffuse, wanted.diffuse, covered))}
        for name, lit in (("lit", True), ("plain", False)):
            texture, coverage = bake(one, settings, random, lit=lit)
            found = maps_of(network(texture, coverage))
            taken = maps_of(torch.cat([texture, one[:, 3:]], 1))
            row[f"{name}_psnr_db"] = float(psnr(found.diffuse, wanted.diffuse, covered))
            row[f"{name}_texture_psnr_db"] = float(psnr(taken.diffuse, wanted.diffuse, covered))
            if lit:
                row["specular_error"] = _specular_error(found, wanted, covered)
                row["normal_error_deg"] = _angle(found.normals, wanted.normals, skin * covered)
        row["mean_specular_error"] = _specular_error(usual, wanted, covered)
        row["mean_normal_error_deg"] = _angle(usual.normals, wanted.normals, skin * covered)
        flat = torch.tensor([0.0, 0.0, 1.0]).expand_as(wanted.normals)
        row["flat_normal_error_deg"] = _angle(flat, wanted.normals, skin * covered)
        rows.append(row)
    means = {name: float(np.mean([row[name] for row in rows])) for name in rows[0]}
    return TranslationScore(heads=len(maps), **means)


def _specular_error(found: ReflectanceMaps, wanted: ReflectanceMaps, mask: Tensor) -> float:
    """Mean absolute error of specular albedo over a mask (R, R)."""
    error = (found.specular - wanted.specular).abs()[..., 0]
    return float((error * mask).sum() / mask.sum())


def _angle(found: Tensor, wanted: Tensor, mask: Tensor) -> float:
    """Mean angle, degrees, between unit vectors (1, R, R, 3) over a mask (R, R)."""
    chord = (found - wanted).norm(dim=-1)
    angle = torch.rad2deg(2.0 * torch.asin((chord / 2.0).clamp(max=1.0)))
    return float((angle * mask).sum() / mask.sum())
