"""Encoder of a partly observed texture to the generator's W+: initialisation of a fit, in one forward pass.

A convolutional network maps the texture and its mirror image (a face's other half is the best predictor of a hidden
one) to z, and a copy of the generator's mapping network z to w, so that predictions stay in the generator's
distribution; offsets of W+ from w are combinations of few learned directions. Predicting W+ by a network
follows Richardson et al., "Encoding in Style: a StyleGAN Encoder for Image-to-Image Translation" (CVPR 2021).
"""

import hashlib
import json
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, cast

import torch
import torch.nn.functional as functional
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from fitme.atomic_file import atomic_file
from fitme.color import srgb_to_linear
from fitme.errors import ConfigError, InputError, ModelFileError
from fitme.reflectance.generator import ReflectanceGenerator
from fitme.reflectance.generator_config import GeneratorConfig
from fitme.reflectance.layers import activate
from fitme.reflectance.mapping import MappingNetwork
from fitme.reflectance.quantization import packed, unpacked

PAINTED_ENCODER = Path(__file__).parent / "weights" / "encoder_256.safetensors"
"""Encoder of the generator of painted skin."""
FORMAT = "fitme-texture-encoder"
FORMAT_VERSION = "3"
_READ_VERSIONS = ("2", FORMAT_VERSION)
"""Readable versions; 2 has the widths of the generator's branches in one setting for each modality."""
DARKEST = 0.02
"""Linear albedo added before the logarithm of the inputs."""
MIDDLE_LOG = -1.6
"""Approximate mean over faces of the logarithm of the inputs, which is subtracted."""
COLOR_CHANNELS = 3
OFFSET_RATE = 0.1
"""Scale of the offsets' coefficients, which are small at the start of training."""


@dataclass(frozen=True)
class TextureEncoderConfig:
    """Sizes of the encoder."""

    resolution: int = 64
    """Texels a side of the input; finer textures are averaged down."""
    positional_maps: int = 6
    """Learned maps, further inputs: position in the layout, on which convolutions alone do not depend."""
    channels: tuple[int, ...] = (40, 80, 112, 128)
    """Channels at each halving of the resolution."""
    narrow_channels: int = 32
    """Channels of the coarsest features before they are flattened."""
    hidden_size: int = 384
    """H: features of a head."""
    offset_directions: int = 32
    """Directions in W+ that offsets combine."""


class TextureEncoder(nn.Module):
    """Network from texture and visibility to W+."""

    def __init__(
        self, config: TextureEncoderConfig, generator: GeneratorConfig, num_layers: int, generator_mark: str
    ) -> None:
        """Encoder for a generator of these sizes with L layers, whose mark (`mark_of`) is `generator_mark`."""
        super().__init__()
        self.config, self.generator_config = config, generator
        self.num_layers, self.generator_mark = num_layers, generator_mark
        inputs = 2 * (COLOR_CHANNELS + 1) + 1 + config.positional_maps
        side = config.resolution >> len(config.channels)
        self.body = nn.ModuleDict({
            "halvings": nn.ModuleList(
                nn.Conv2d(a, b, 3, 2, 1) for a, b in pairwise((inputs, *config.channels))
            ),
            "residuals": nn.ModuleList(nn.Conv2d(width, width, 3, 1, 1) for width in config.channels),
            "narrow": nn.Conv2d(config.channels[-1], config.narrow_channels, 1),
            "flat": nn.Linear(config.narrow_channels * side * side, config.hidden_size),
            "mix": nn.Linear(config.hidden_size, config.hidden_size),
        })  # fmt: skip
        self.positions = nn.Parameter(
            torch.randn(1, config.positional_maps, config.resolution, config.resolution) * 0.5
        )
        self.noise = nn.Linear(config.hidden_size, generator.noise_size)
        self.mapping = MappingNetwork(
            generator.noise_size, generator.feature_count, generator.latent_size, generator.mapping_layers
        )
        self.coefficients = nn.Linear(config.hidden_size, config.offset_directions)
        self.directions = nn.Parameter(torch.zeros(config.offset_directions, num_layers, generator.latent_size))

    def features(self, texture: Tensor, visibility: Tensor, delighted: Tensor) -> Tensor:
        """(B, H) features of textures (B, R, R, 3), sRGB-encoded, with visibility (B, R, R, 1) in [0, 1]; `delighted`
        (B,) bool marks de-lit ones.

        :raises InputError: if shapes do not match or R is no multiple of the network's resolution.
        """
        x = self._inputs(texture, visibility, delighted)
        for halving, residual in zip(self._layers("halvings"), self._layers("residuals"), strict=True):
            x = activate(halving(x))
            x = x + activate(residual(x))
        x = activate(self.body["narrow"](x)).flatten(1)
        x = activate(self.body["flat"](x))
        return x + activate(self.body["mix"](x))

    def latents(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """z (B, Z) and W+ (B, L, D) of features (B, H)."""
        z = self.noise(features)
        offsets = torch.einsum("br,rld->bld", OFFSET_RATE * self.coefficients(features), self.directions)
        return z, self.mapping(z)[:, None] + offsets

    def forward(self, texture: Tensor, visibility: Tensor, delighted: Tensor) -> Tensor:
        """W+ (B, L, D); see `features`."""
        return self.latents(self.features(texture, visibility, delighted))[1]

    @torch.no_grad()
    def encode(
        self,
        texture: Tensor,  # (B, R, R, 3) sRGB-encoded
        visibility: Tensor,  # (B, R, R, 1) in [0, 1]; texels of visibility 0 are ignored
        *,
        delighted: bool = False,
    ) -> Tensor:
        """Predicted W+ (B, L, D) of the generator that the encoder was trained for. Errors as `features`.

        Of a lit texture the most likely albedo is predicted, its level from colour and contrast; of a de-lit one
        (`delighted`) the level is kept, so that observed and unobserved texels agree.
        """
        return cast("Tensor", self(texture, visibility, torch.full((len(texture),), delighted, device=texture.device)))

    def _layers(self, name: str) -> nn.ModuleList:
        return cast("nn.ModuleList", self.body[name])

    def _inputs(self, texture: Tensor, visibility: Tensor, delighted: Tensor) -> Tensor:
        """(B, C, R', R') inputs: logarithms of colour, in which light adds to albedo; visibility; both mirrored;
        whether the texture is de-lit; positional maps."""
        resolution = self.config.resolution
        expected = (*texture.shape[:3], 1)
        if texture.dim() != 4 or texture.shape[3] != COLOR_CHANNELS or visibility.shape != expected:
            raise InputError(
                f"a texture of shape {tuple(texture.shape)} with visibility {tuple(visibility.shape)} cannot be"
                " encoded: give (B, R, R, 3) and (B, R, R, 1)"
            )
        side = texture.shape[1]
        if side != texture.shape[2] or side % resolution:
            raise InputError(
                f"a texture of {side} x {texture.shape[2]} texels cannot be encoded: give a square one whose side is"
                f" a multiple of {resolution}"
            )
        weight = visibility.permute(0, 3, 1, 2)
        color = ((srgb_to_linear(texture) + DARKEST).log() - MIDDLE_LOG).permute(0, 3, 1, 2) * weight
        if side > resolution:
            weight, color = (functional.avg_pool2d(x, side // resolution) for x in (weight, color))
        observed = torch.cat([color, weight], 1)
        known = delighted.to(observed.dtype)[:, None, None, None].expand_as(weight)
        return torch.cat([observed, observed.flip(-1), known, self.positions.expand(len(observed), -1, -1, -1)], 1)


def encoder_for(generator: ReflectanceGenerator, config: TextureEncoderConfig | None = None) -> TextureEncoder:
    """Untrained encoder of the generator's sizes, with a copy of its mapping network."""
    encoder = TextureEncoder(
        config or TextureEncoderConfig(), generator.config, generator.num_layers, mark_of(generator)
    )
    encoder.mapping.load_state_dict(generator.mapping.state_dict())
    return encoder


def mark_of(generator: ReflectanceGenerator) -> str:
    """Digest of a generator's weights in half precision, hexadecimal."""
    digest = hashlib.blake2b(digest_size=16)
    for name, value in sorted(generator.state_dict().items()):
        digest.update(name.encode())
        digest.update(value.detach().half().contiguous().cpu().numpy().tobytes())
    return digest.hexdigest()


def save_encoder(encoder: TextureEncoder, path: Path, *, exact: bool = False) -> None:
    """Write weights, sizes and the generator's mark atomically: in half precision, the mapping network as in the
    generator's file; with `exact`, in float32."""
    tensors = packed(encoder.state_dict(), in_bytes=("mapping.",), exact=exact)
    metadata = {
        "format": FORMAT,
        "version": FORMAT_VERSION,
        "config": json.dumps(asdict(encoder.config)),
        "generator": encoder.generator_mark,
        "generator_config": json.dumps(asdict(encoder.generator_config)),
        "layers": str(encoder.num_layers),
    }
    with atomic_file(path) as partial:
        save_file(tensors, partial, metadata)


def load_encoder(path: Path) -> TextureEncoder:
    """Encoder in float32, in evaluation mode, as `save_encoder` wrote it.

    :raises ModelFileError: if the file is missing, truncated, not an encoder's, or does not fit its configuration.
    """
    metadata, tensors = _read(path)
    try:
        encoder = TextureEncoder(
            TextureEncoderConfig(**_fields(metadata["config"])),
            GeneratorConfig.from_stored(json.loads(metadata["generator_config"])),
            int(metadata["layers"]),
            metadata["generator"],
        )
        encoder.load_state_dict(tensors)
    except (KeyError, ValueError, TypeError, AttributeError, RuntimeError, ConfigError) as error:
        raise ModelFileError(f"{path} holds no encoder of the sizes that it names: {error}") from error
    return encoder.eval().requires_grad_(False)


def load_body(path: Path) -> dict[str, Tensor]:
    """Tensors of a saved encoder that do not depend on its generator.

    :raises ModelFileError: if the file is missing, truncated or not an encoder's.
    """
    return {name: value for name, value in _read(path)[1].items() if is_body(name)}


def is_body(name: str) -> bool:
    """Whether a tensor of an encoder does not depend on its generator."""
    return name.startswith("body.") or name == "positions"


def _read(path: Path) -> tuple[dict[str, str], dict[str, Tensor]]:
    """Metadata and float32 tensors of an encoder's file."""
    if not path.is_file():
        raise ModelFileError(f"there is no texture encoder at {path}: check the path or train one")
    try:
        with safe_open(path, framework="pt") as file:
            metadata: dict[str, str] = file.metadata() or {}
            tensors = unpacked({name: file.get_tensor(name) for name in file.keys()})  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise ModelFileError(f"{path} is not a whole safetensors file ({error}): fetch or train it again") from error
    if metadata.get("format") != FORMAT or metadata.get("version") not in _READ_VERSIONS:
        raise ModelFileError(
            f"{path} holds {metadata.get('format', 'no format')} version {metadata.get('version', '-')}, expected"
            f" {FORMAT} version {FORMAT_VERSION}: it was not written by this program's trainer"
        )
    return metadata, tensors


def _fields(text: str) -> dict[str, Any]:
    values: dict[str, Any] = json.loads(text)
    return {name: tuple(value) if isinstance(value, list) else value for name, value in values.items()}
