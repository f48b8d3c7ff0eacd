"""Extension of a generator and of its texture encoder by further maps of the linear model, each with a component of z
and of w of its own.

Nothing else of the networks changes: a latent whose new components are zero gives the maps that it gave before. So the
package holds the generator of painted skin once, and what people's skin has beyond it as an extension of few megabytes
(`fitme.training.people.residuals` fits it).
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from fitme.atomic_file import atomic_file
from fitme.errors import ModelFileError
from fitme.reflectance.generator import ReflectanceGenerator
from fitme.reflectance.layers import EqualLinear
from fitme.reflectance.mapping import QUANTILES, MappingNetwork
from fitme.reflectance.quantization import quantize
from fitme.reflectance.texture_encoder import TextureEncoder, mark_of

FORMAT, FORMAT_VERSION = "fitme-linear-extension", "1"
_MAPPING = "mapping."


@dataclass(frozen=True, eq=False)
class LinearExtension:
    """K further maps of a generator's linear model, and the distribution of their weights, which are independent."""

    components: Tensor
    """(K, C, r, r) raw outputs of the first C channels of all modalities; the others are not extended."""
    mean: Tensor
    """(K,) mean of the weights."""
    deviation: Tensor
    """(K,) standard deviation of the weights."""
    encoder_weight: Tensor
    """(K, H) of the texture encoder's features: prediction of the standardised weights."""
    encoder_bias: Tensor
    """(K,) of that prediction."""

    @property
    def count(self) -> int:
        """K."""
        return len(self.mean)


@torch.no_grad()
def extended_generator(generator: ReflectanceGenerator, extension: LinearExtension) -> ReflectanceGenerator:
    """New generator with K more components of z and w; the maps of both are the old ones for weights of zero."""
    old, count = generator.config, extension.count
    config = replace(
        old,
        noise_size=old.noise_size + count,
        latent_size=old.latent_size + count,
        linear_components=old.linear_components + count,
    )
    # Built without memory: every tensor is assigned below, and the large ones are shared with the old generator.
    with torch.device("meta"):
        result = ReflectanceGenerator(config)
    state = dict(generator.state_dict())
    layers = dict(generator.named_modules())
    for name, module in result.named_modules():
        if isinstance(module, EqualLinear) and not name.startswith(_MAPPING):
            source = layers[name]
            assert isinstance(source, EqualLinear)
            weight = torch.zeros(module.weight.shape)
            # Weights are scaled by the number of inputs at run time.
            weight[: len(source.weight), : old.latent_size] = source.weight * (source.gain / module.gain)
            state[f"{name}.weight"] = weight
    # The new components of w weight the new maps, one each.
    mixture = result.mixture
    state["mixture.weight"][old.linear_components :, old.latent_size :] = torch.eye(count) / mixture.gain
    state["mixture.bias"] = torch.cat([generator.mixture.bias, torch.zeros(count)])
    padded = torch.zeros(count, *generator.components.shape[1:])
    padded[:, : extension.components.shape[1]] = extension.components
    state["components"] = torch.cat([generator.components, padded])
    state["mean_w"] = torch.cat([generator.mean_w, extension.mean])
    state |= {_MAPPING + k: v for k, v in _mapping_state(generator.mapping, result.mapping, extension).items()}
    result.load_state_dict(state, assign=True)
    return result.eval()


@torch.no_grad()
def extended_encoder(
    encoder: TextureEncoder, generator: ReflectanceGenerator, extension: LinearExtension
) -> TextureEncoder:
    """Encoder for the extended `generator`, of an encoder for the generator before the extension."""
    count = extension.count
    result = TextureEncoder(encoder.config, generator.config, generator.num_layers, mark_of(generator))
    state = dict(encoder.state_dict())
    state |= {_MAPPING + k: v for k, v in _mapping_state(encoder.mapping, result.mapping, extension).items()}
    state["noise.weight"] = torch.cat([encoder.noise.weight, extension.encoder_weight])
    state["noise.bias"] = torch.cat([encoder.noise.bias, extension.encoder_bias])
    state["directions"] = torch.cat([encoder.directions, torch.zeros(*encoder.directions.shape[:2], count)], -1)
    result.load_state_dict(state)
    return result.eval().requires_grad_(False)


def _mapping_state(old: MappingNetwork, new: MappingNetwork, extension: LinearExtension) -> Mapping[str, Tensor]:
    """Tensors of a mapping network that maps K further components of z to those of w, and all others as the old one."""
    count = extension.count
    factors, size = old.factor.shape[0], old.direct.weight.shape[0]
    state = dict(old.state_dict())
    state["factor"] = torch.block_diag(old.factor, torch.eye(count))  # type: ignore[no-untyped-call]
    margin = 0.5 / QUANTILES
    normal = torch.special.ndtri(torch.linspace(0.0, 1.0, QUANTILES).clamp(margin, 1.0 - margin))
    state["knots"] = torch.cat([old.knots, normal.repeat(count, 1)])
    # Terms are one, factors, roots, gates: the latter two have moved.
    group = (old.pairs - 1.0).div(factors, rounding_mode="floor").clamp(min=0.0)
    state["pairs"] = old.pairs + group * count
    inputs = torch.cat([torch.arange(factors), torch.arange(factors + count, new.direct.weight.shape[1])])
    layers = {"direct": inputs, "blend": torch.arange(size)}
    layers |= {f"layers.{k}": inputs if k == 0 else torch.arange(size) for k in range(len(old.layers))}
    for name, columns in layers.items():
        module, source = new.get_submodule(name), old.get_submodule(name)
        assert isinstance(module, EqualLinear)
        assert isinstance(source, EqualLinear)
        weight = torch.zeros(module.weight.shape)
        weight[: len(source.weight), columns] = source.weight * (source.gain / module.gain)
        state[f"{name}.weight"], state[f"{name}.bias"] = weight, torch.cat([source.bias, torch.zeros(count)])
    direct = new.direct
    state["direct.weight"][size:, factors : factors + count] = torch.diag(extension.deviation) / direct.gain
    state["direct.bias"][size:] = extension.mean / direct.rate
    return state


def save_extension(extension: LinearExtension, path: Path) -> None:
    """Write an extension atomically: maps in 8 bits, all else in 32 or 16."""
    stored, scale = quantize(extension.components)
    tensors = {
        "components": stored,
        "components.scale": scale,
        "mean": extension.mean.float().contiguous(),
        "deviation": extension.deviation.float().contiguous(),
        "encoder_weight": extension.encoder_weight.half().contiguous(),
        "encoder_bias": extension.encoder_bias.float().contiguous(),
    }
    with atomic_file(path) as partial:
        save_file(tensors, partial, {"format": FORMAT, "version": FORMAT_VERSION})


def load_extension(path: Path) -> LinearExtension:
    """Extension in float32, as `save_extension` wrote it.

    :raises ModelFileError: if the file is missing, truncated, or not an extension's.
    """
    if not path.is_file():
        raise ModelFileError(f"there is no extension of a generator at {path}: check the path or fit one")
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name).float() for name in file.keys()}  # noqa: SIM118
        if (metadata.get("format"), metadata.get("version")) != (FORMAT, FORMAT_VERSION):
            raise ModelFileError(
                f"{path} holds {metadata.get('format', 'no format')} version {metadata.get('version', '-')}, expected"
                f" {FORMAT} version {FORMAT_VERSION}"
            )
        tensors["components"] = tensors["components"] * tensors.pop("components.scale")
        return LinearExtension(**tensors)
    except (SafetensorError, OSError, KeyError, TypeError) as error:
        raise ModelFileError(f"{path} is not a whole extension ({error}): fetch or fit it again") from error
