"""What people's skin has beyond a trained generator, in closed form: minutes on a CPU.

What the generator's best guess of a head lacks is a residual; the mean and the principal components of the residuals of
many heads mixed from people become an extension of its linear model (`fitme.reflectance.linear_extension`). The texture
encoder predicts the new components by ridge regression on its features.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from scipy.ndimage import gaussian_filter
from torch import Tensor

from fitme.reflectance.generator import ReflectanceGenerator
from fitme.reflectance.layers import downsample
from fitme.reflectance.linear_extension import LinearExtension
from fitme.reflectance.modality import MODALITIES
from fitme.reflectance.raw_outputs import encode_raw
from fitme.reflectance.texture_encoder import TextureEncoder
from fitme.shape.regions import Region
from fitme.skin.texel_geometry import default_texel_geometry
from fitme.training.encoder.simulated_textures import CaptureSettings, Views, simulate_observations
from fitme.training.people.mixing import Draw, PeopleBank

UNSEEN_WEIGHT = 0.2
"""Weight of texels that no photo shows, which are guesses of the generator itself."""
CHANNEL_WEIGHTS = (1.0, 1.0, 1.0, 0.3)
"""Weights of the raw outputs of diffuse and specular albedo, which are extended; relief is not."""
SPREAD = 0.75
"""Standard deviation of random weights over that of the residuals': independent weights make heads that are less likely
than the residuals, and samples look better nearer to the mean."""
SKIN_EDGE = 0.008
"""Standard deviation of the Gaussian at the border of the scalp, whose hair stays painted, as a share of the side."""
NOISE_SHARE = 1e-3
"""Variance of what the components cannot explain, as a share of the residual's."""
RIDGE_SHARE = 0.02
"""Ridge of the encoder's regression over the mean variance of its features."""
BATCH = 8

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class ExtensionSettings:
    """Settings of `fitme train extension`."""

    seed: int = 0
    heads: int = 280
    """Random heads whose residuals are analysed."""
    components: int = 65
    """Further maps: the mean residual and principal components."""
    observations: int = 960
    """Simulated observations from which the encoder learns."""


@torch.no_grad()
def fit_extension(
    generator: ReflectanceGenerator,
    encoder: TextureEncoder,
    bank: PeopleBank,
    small_bank: PeopleBank,
    views: Views,
    settings: ExtensionSettings,
    capture: CaptureSettings,
    progress: Progress = lambda done, total: None,
) -> LinearExtension:
    """Extension of a generator and of its encoder, all on the CPU.

    :param bank: of people, at least at the resolution of the generator's linear model.
    :param small_bank: of the same people, at least at the encoder's resolution.
    """
    total = settings.heads + settings.observations
    extension = residual_components(generator, encoder, bank, settings, lambda done: progress(done, total))
    weight, bias = encoder_regression(
        generator, encoder, small_bank, views, extension, settings, capture,
        lambda done: progress(settings.heads + done, total),
    )  # fmt: skip
    return LinearExtension(extension.components, extension.mean, extension.deviation, weight, bias)


@torch.no_grad()
def residual_components(
    generator: ReflectanceGenerator,
    encoder: TextureEncoder,
    bank: PeopleBank,
    settings: ExtensionSettings,
    progress: Callable[[int], None] = lambda done: None,
) -> LinearExtension:
    """Extension, not yet known to the encoder, by the residuals of random heads from the encoder's guesses: their mean
    first, then one standard deviation along each principal axis."""
    side, count = generator.config.linear_resolution, settings.components
    random = torch.Generator(bank.device).manual_seed(settings.seed)
    residuals, shares = [], []
    for done in range(0, settings.heads, BATCH):
        drawn = bank.draw(BATCH, random)
        residuals.append(_residual(generator, encoder, drawn, side))
        shares.append(downsample(drawn.share, drawn.share.shape[-1] // side))
        progress(done + BATCH)
    residual = torch.cat(residuals)  # (N, C, r, r)
    share = torch.cat(shares).mean(0)  # (1, r, r)
    texels = downsample(bank.weight, bank.resolution // side)[0] * (UNSEEN_WEIGHT + (1.0 - UNSEEN_WEIGHT) * share)
    weight = (_channel_weights()[:, None, None] * texels.sqrt()).flatten()  # (C r r,)

    # The mean is a component of its own; the others are orthogonal to it in weighted maps.
    flat = residual.flatten(1) * weight
    mean = flat.mean(0)
    along = flat @ mean / mean.square().sum().clamp(min=1e-12)
    rest = flat - along[:, None] * mean
    # Method of snapshots (Sirovich 1987): fewer heads than texels.
    _, vectors = torch.linalg.eigh((rest @ rest.T).double())
    chosen = vectors[:, -(count - 1) :].flip(1).float()  # (N, K - 1)
    axes = chosen.T @ rest / len(rest) ** 0.5  # (K - 1, C r r), one standard deviation each
    components = torch.cat([mean[None], axes]) / weight.clamp(min=1e-4)
    components = components.reshape(-1, *residual.shape[1:]) * _skin(side)
    first = torch.zeros(count)
    first[0] = 1.0
    spread = SPREAD * torch.cat([along.std()[None], torch.ones(count - 1)])
    unknown = torch.zeros(count, encoder.config.hidden_size)
    return LinearExtension(components, first, spread, unknown, torch.zeros(count))


@torch.no_grad()
def encoder_regression(
    generator: ReflectanceGenerator,
    encoder: TextureEncoder,
    bank: PeopleBank,
    views: Views,
    extension: LinearExtension,
    settings: ExtensionSettings,
    capture: CaptureSettings,
    progress: Callable[[int], None] = lambda done: None,
) -> tuple[Tensor, Tensor]:
    """Weight (K, H) and bias (K,) of the prediction of an extension's standardised weights from the encoder's features
    of simulated observations of random heads."""
    side = encoder.config.resolution
    components = downsample(extension.components, extension.components.shape[-1] // side)
    random = torch.Generator().manual_seed(settings.seed + 1)
    texels = downsample(bank.weight, bank.resolution // side)
    features, wanted = [], []
    for done in range(0, settings.observations, BATCH):
        drawn = bank.draw(BATCH, random)
        maps, seen = (downsample(x, bank.resolution // side) for x in (drawn.maps, drawn.share))
        observed = simulate_observations(maps, views, capture, random)
        found = encoder.features(observed.texture, observed.visibility, observed.delighted)
        # The weights that bring the encoder's guess to the true maps.
        *_, raw = generator.raw_pyramid(encoder.latents(found)[1], side).values()
        residual = _stacked(encode_raw(observed.target)) - _stacked(raw)
        wanted.append(coefficients(residual, components, texels * (UNSEEN_WEIGHT + (1.0 - UNSEEN_WEIGHT) * seen)))
        features.append(found)
        progress(done + BATCH)
    x, y = torch.cat(features).double(), torch.cat(wanted).double()
    y = (y - extension.mean) / extension.deviation
    middle, level = x.mean(0), y.mean(0)
    centred = x - middle
    ridge = RIDGE_SHARE * centred.square().mean() * len(x) * torch.eye(x.shape[1], dtype=torch.float64)
    slope = torch.linalg.solve(centred.T @ centred + ridge, centred.T @ (y - level))  # (H, K)
    return slope.T.float(), (level - middle @ slope).float()


@torch.no_grad()
def coefficients(
    residual: Tensor,  # (B, C, r, r)
    components: Tensor,  # (K, C, r, r)
    weight: Tensor,  # (B, 1, r, r) of texels
) -> Tensor:
    """Weights (B, K) of components that explain residuals, by ridge regression with a prior of unit variance."""
    found = []
    for own, texels in zip(residual, weight, strict=True):
        scale = texels.clamp(min=0.0).sqrt() * _channel_weights()[:, None, None]
        basis, wanted = (components * scale).flatten(1), (own * scale).flatten()
        noise = NOISE_SHARE * wanted.square().sum()
        normal = basis @ basis.T + noise * torch.eye(len(basis))
        found.append(torch.linalg.solve(normal, basis @ wanted))
    return torch.stack(found)


def _residual(generator: ReflectanceGenerator, encoder: TextureEncoder, drawn: Draw, side: int) -> Tensor:
    """(B, C, r, r) raw outputs of drawn heads less those of the encoder's guess."""
    texture, seen = drawn.maps[:, :3].permute(0, 2, 3, 1), drawn.share.permute(0, 2, 3, 1)
    w_plus = encoder.encode(texture, seen, delighted=True)
    *_, raw = generator.raw_pyramid(w_plus, side).values()
    return _stacked(encode_raw(downsample(drawn.maps, drawn.maps.shape[-1] // side))) - _stacked(raw)


def _skin(side: int) -> Tensor:
    """(r, r) in [0, 1] the surface of the head without the scalp."""
    geometry = default_texel_geometry(side)
    bare = geometry.skin_like & ~geometry.is_region(Region.SCALP)
    return torch.from_numpy(gaussian_filter(bare.astype(np.float32), SKIN_EDGE * side) * geometry.skin_like)


def _stacked(raw: dict[str, Tensor]) -> Tensor:
    """(B, C, r, r) raw outputs of the extended channels."""
    return torch.cat([raw[m.name] for m in MODALITIES.generated], 1)[:, : len(CHANNEL_WEIGHTS)]


def _channel_weights() -> Tensor:
    return torch.tensor(CHANNEL_WEIGHTS)
