"""Extension of a trained generator by what people's skin has beyond it, in closed form.

What the generator's best guess of a head lacks is a residual; the principal components of the residuals of many heads
mixed from people become further maps of the generator's linear model, and further components of w. Nothing else of the
network changes: a latent whose new components are zero gives the maps that it gave before. The texture encoder learns
the new components by ridge regression on its features. All of it takes minutes on a CPU.
"""

from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from fitme.reflectance.generator import ReflectanceGenerator
from fitme.reflectance.layers import EqualLinear, downsample
from fitme.reflectance.mapping import MappingNetwork
from fitme.reflectance.modality import MODALITIES
from fitme.reflectance.raw_outputs import encode_raw
from fitme.reflectance.texture_encoder import TextureEncoder, mark_of
from fitme.training.encoder.simulated_textures import CaptureSettings, Views, simulate_observations
from fitme.training.people.mixing import Draw, PeopleBank

UNSEEN_WEIGHT = 0.2
"""Weight of texels that no photo shows, which are guesses of the generator itself."""
CHANNEL_WEIGHTS = {"diffuse": 1.0, "specular": 0.3, "normals": 0.0}
"""Weights of the raw outputs in principal components; a modality of weight 0 is not extended."""
RIDGE_SHARE = 0.02
"""Ridge of the encoder's regression over the mean variance of its features."""
BATCH = 8


@dataclass(frozen=True, eq=False)
class ResidualModel:
    """Linear model of what heads have beyond the generator's guess."""

    components: Tensor
    """(K, channels of all modalities, r, r) raw outputs: the mean residual first, then one standard deviation along
    each principal axis."""
    mean: Tensor
    """(K,) mean of the coefficients: 1 for the mean residual, 0 for all others."""
    deviation: Tensor
    """(K,) standard deviation of the coefficients."""
    explained: float
    """Share of the variance that the components explain."""


@torch.no_grad()
def residual_model(
    generator: ReflectanceGenerator, encoder: TextureEncoder, bank: PeopleBank, heads: int, count: int, seed: int = 0
) -> ResidualModel:
    """Residuals of `heads` random heads from the encoder's guess, and `count` components of them."""
    side = generator.config.linear_resolution
    random = torch.Generator(bank.device).manual_seed(seed)
    residuals, shares = [], []
    for _ in range(-(-heads // BATCH)):
        drawn = bank.draw(BATCH, random)
        residuals.append(_residual(generator, encoder, drawn, side))
        shares.append(downsample(drawn.share, drawn.share.shape[-1] // side))
    residual = torch.cat(residuals)  # (N, C, r, r)
    share = torch.cat(shares).mean(0)  # (1, r, r)
    texels = downsample(bank.weight, bank.resolution // side)[0] * (UNSEEN_WEIGHT + (1.0 - UNSEEN_WEIGHT) * share)
    weight = (_channel_weights(generator)[:, None, None] * texels.sqrt()).flatten()  # (C r r,)

    # The mean is a component of its own; the others are orthogonal to it in weighted maps.
    flat = residual.flatten(1) * weight
    mean = flat.mean(0)
    along = flat @ mean / mean.square().sum()
    rest = flat - along[:, None] * mean
    # Method of snapshots (Sirovich 1987): fewer heads than texels.
    values, vectors = torch.linalg.eigh((rest @ rest.T).double())
    chosen = vectors[:, -(count - 1) :].flip(1).float()  # (N, K - 1)
    axes = chosen.T @ rest / len(rest) ** 0.5  # (K - 1, C r r), one standard deviation each
    unweighted = torch.where(weight > 0.0, 1.0 / weight.clamp(min=1e-4), torch.zeros(()))
    components = torch.cat([mean[None], axes]) * unweighted
    total = float(rest.square().sum())
    explained = float(values[-(count - 1) :].sum()) / max(total, 1e-12)
    spread = torch.cat([along.std()[None], torch.ones(count - 1)])
    first = torch.zeros(count)
    first[0] = 1.0
    return ResidualModel(components.reshape(-1, *residual.shape[1:]), first, spread, explained)


@torch.no_grad()
def extended_generator(generator: ReflectanceGenerator, model: ResidualModel) -> ReflectanceGenerator:
    """Generator with the model's maps in its linear model and as many more components of z and w."""
    old, count = generator.config, len(model.components)
    config = replace(
        old, noise_size=old.noise_size + count, latent_size=old.latent_size + count,
        linear_components=old.linear_components + count,
    )  # fmt: skip
    result = ReflectanceGenerator(config)
    for name, module in result.named_modules():
        if isinstance(module, EqualLinear) and not name.startswith("mapping.") and name != "mixture":
            _copy_linear(module, _linear(generator, name))
    own = dict(result.named_parameters())
    for name, value in generator.named_parameters():
        if own[name].shape == value.shape:
            own[name].copy_(value)
    # The new components of w weight the new maps, one each.
    result.components[: old.linear_components].copy_(generator.components)
    result.components[old.linear_components :].copy_(model.components)
    _copy_linear(result.mixture, generator.mixture)
    new = torch.eye(count) / result.mixture.gain
    result.mixture.weight[old.linear_components :, old.latent_size :].copy_(new)
    extend_mapping(result.mapping, generator.mapping, model)
    result.measure_mean_w()
    return result.eval()


@torch.no_grad()
def extend_mapping(mapping: MappingNetwork, old: MappingNetwork, model: ResidualModel) -> None:
    """Set a mapping network to an old one that maps further independent components of z to those of w."""
    count = len(model.mean)
    factors, size = old.factor.shape[0], old.direct.weight.shape[0]
    mapping.factor.copy_(torch.eye(factors + count))
    mapping.factor[:factors, :factors].copy_(old.factor)
    mapping.knots[:factors].copy_(old.knots)  # those of new components stay normal
    # Terms are one, factors, roots, gates: the latter two have moved.
    group = (old.pairs - 1.0).div(factors, rounding_mode="floor").clamp(min=0.0)
    mapping.pairs.copy_(old.pairs + group * count)
    mapping.feature_mean.copy_(old.feature_mean)
    mapping.feature_scale.copy_(old.feature_scale)
    inputs = torch.cat([torch.arange(factors), torch.arange(factors + count, mapping.direct.weight.shape[1])])
    for module, source in ((mapping.direct, old.direct), (mapping.layers[0], old.layers[0])):
        assert isinstance(module, EqualLinear)
        assert isinstance(source, EqualLinear)
        _copy_linear(module, source, inputs)
    for module, source in (*zip(mapping.layers[1:], old.layers[1:], strict=True), (mapping.blend, old.blend)):
        assert isinstance(module, EqualLinear)
        assert isinstance(source, EqualLinear)
        _copy_linear(module, source)
    direct = mapping.direct
    direct.weight[size:, factors : factors + count] = torch.diag(model.deviation) / direct.gain
    direct.bias[size:] = model.mean / direct.rate


@torch.no_grad()
def extended_encoder(
    encoder: TextureEncoder,
    generator: ReflectanceGenerator,
    bank: PeopleBank,
    views: Views,
    model: ResidualModel,
    observations: int,
    capture: CaptureSettings,
    seed: int = 0,
) -> TextureEncoder:
    """Encoder of the extended `generator`: the old one, and a ridge regression from its features to the new components,
    on simulated observations of random heads.

    :param bank: at any resolution that is a multiple of the encoder's.
    """
    count, side = len(model.mean), encoder.config.resolution
    result = TextureEncoder(encoder.config, generator.config, generator.num_layers, mark_of(generator))
    own = result.state_dict()
    old = encoder.state_dict()
    for name, value in old.items():
        if own[name].shape == value.shape:
            own[name].copy_(value)
    extend_mapping(result.mapping, encoder.mapping, model)
    result.directions.zero_()
    result.directions[..., : encoder.directions.shape[-1]].copy_(encoder.directions)

    random = torch.Generator().manual_seed(seed)
    features, wanted = [], []
    components = model.components
    while components.shape[-1] > side:
        components = downsample(components)
    for _ in range(-(-observations // BATCH)):
        drawn = bank.draw(BATCH, random)
        maps = downsample(drawn.maps, drawn.maps.shape[-1] // side)
        seen = downsample(drawn.share, drawn.share.shape[-1] // side)
        observed = simulate_observations(maps, views, capture, random)
        found = encoder.features(observed.texture, observed.visibility, observed.delighted)
        guess = encoder.latents(found)[1]
        # New components are those that bring the old encoder's guess to the true maps.
        residual = _stacked(encode_raw(observed.target)) - _stacked_pyramid(generator, guess, side, count)
        wanted.append(coefficients(residual, components, bank_weight(bank, side) * (UNSEEN_WEIGHT + seen), generator))
        features.append(found)
    x, y = torch.cat(features).double(), torch.cat(wanted).double()
    y = (y - model.mean) / model.deviation
    middle, level = x.mean(0), y.mean(0)
    centred = x - middle
    ridge = RIDGE_SHARE * centred.square().mean() * len(x) * torch.eye(x.shape[1], dtype=torch.float64)
    slope = torch.linalg.solve(centred.T @ centred + ridge, centred.T @ (y - level))  # (H, K)
    head = result.noise
    _copy_plain(head, encoder.noise)
    head.weight[-count:].copy_(slope.T)
    head.bias[-count:].copy_(level - middle @ slope)
    return result.eval()


@torch.no_grad()
def coefficients(
    residual: Tensor,  # (B, C, r, r)
    components: Tensor,  # (K, C, r, r)
    weight: Tensor,  # (B|1, 1, r, r) of texels
    generator: ReflectanceGenerator,
) -> Tensor:
    """Coefficients (B, K) of residuals in the components, by weighted ridge regression with unit prior variance."""
    scale = _channel_weights(generator)[:, None, None]
    found = []
    for index in range(len(residual)):
        texels = weight[min(index, len(weight) - 1)].clamp(min=0.0).sqrt() * scale
        basis, wanted = (components * texels).flatten(1), (residual[index] * texels).flatten()
        noise = wanted.square().mean() * NOISE_SHARE
        normal = basis @ basis.T + noise * basis.shape[1] * 1e-2 * torch.eye(len(basis))
        found.append(torch.linalg.solve(normal, basis @ wanted))
    return torch.stack(found)


NOISE_SHARE = 0.1
"""Variance of what the components cannot explain, as a share of the residual's."""


def bank_weight(bank: PeopleBank, side: int) -> Tensor:
    """(1, 1, r, r) weights of texels of a bank at a lower resolution."""
    return downsample(bank.weight, bank.resolution // side)


def _residual(generator: ReflectanceGenerator, encoder: TextureEncoder, drawn: Draw, side: int) -> Tensor:
    """(B, C, r, r) raw outputs of drawn heads less those of the encoder's guess."""
    texture = drawn.maps[:, :3].permute(0, 2, 3, 1)
    w_plus = encoder.encode(texture, drawn.share.permute(0, 2, 3, 1), delighted=True)
    wanted = downsample(drawn.maps, drawn.maps.shape[-1] // side)
    *_, raw = generator.raw_pyramid(w_plus, side).values()
    return _stacked(encode_raw(wanted)) - _stacked(raw)


def _stacked_pyramid(generator: ReflectanceGenerator, guess: Tensor, side: int, count: int) -> Tensor:
    """Raw outputs (B, C, r, r) of an extended generator at an old latent (B, L, D)."""
    zeros = guess.new_zeros(*guess.shape[:2], count)
    *_, raw = generator.raw_pyramid(torch.cat([guess, zeros], -1), side).values()
    return _stacked(raw)


def _stacked(raw: dict[str, Tensor]) -> Tensor:
    return torch.cat([raw[m.name] for m in MODALITIES.generated], 1)


def _channel_weights(generator: ReflectanceGenerator) -> Tensor:
    """(C,) weights of the raw outputs' channels."""
    weights = [CHANNEL_WEIGHTS.get(m.name, 0.0) for m in generator.modalities for _ in range(m.raw_channels)]
    return torch.tensor(weights)


def _linear(network: nn.Module, name: str) -> EqualLinear:
    module = network.get_submodule(name)
    assert isinstance(module, EqualLinear)
    return module


def _copy_linear(module: EqualLinear, old: EqualLinear, inputs: Tensor | None = None) -> None:
    """Set a larger layer to an old one's function on its inputs, by default the first ones, and zero elsewhere."""
    outputs, columns = old.weight.shape
    chosen = torch.arange(columns) if inputs is None else inputs
    module.weight.zero_()
    module.bias.zero_()
    # Weights are scaled by the number of inputs at run time.
    module.weight[:outputs, chosen] = old.weight * (old.gain / module.gain)
    module.bias[:outputs] = old.bias * (old.rate / module.rate)


def _copy_plain(module: nn.Linear, old: nn.Linear) -> None:
    module.weight[: len(old.weight)].copy_(old.weight)
    module.bias[: len(old.bias)].copy_(old.bias)
