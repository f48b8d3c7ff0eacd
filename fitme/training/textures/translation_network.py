"""Translation network from a texture to full reflectance: it removes the light from a baked texture and estimates
specular albedo and normals.

FitMe translates its training set in a similar way (Lattas et al., CVPR 2023, section 3.2) with pix2pixHD (Wang et al.,
CVPR 2018). The network here is a U-Net (Ronneberger et al., MICCAI 2015) on blocks of two by two texels, so that a CPU
can train it: convolutions with skips from half the resolution down, global average features added everywhere, and a
last pair of convolutions at full resolution. Its inputs include the known parts of the problem: the head's normals and
occlusion in the layout, and the texture divided by the smooth light that fits it best in the least-squares sense.
Outputs are residuals over a mixture of both textures and over mean maps.
"""

import json
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as functional
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from fitme.atomic_file import atomic_file
from fitme.color import linear_to_srgb, srgb_to_linear
from fitme.errors import ConfigError, InputError, ModelFileError
from fitme.reflectance.layers import LEAKY_SLOPE, downsample, upsample
from fitme.reflectance.maps import ReflectanceMaps
from fitme.reflectance.modality import CORE_NAMES, MODALITIES
from fitme.render.reflection import SH_COUNT
from fitme.render.shading import sh_basis
from fitme.training.textures.baked_textures import head_surface

DEFAULT_TRANSLATION = Path(__file__).with_name("translation_256.safetensors")
FORMAT, FORMAT_VERSION = "fitme-texture-translation", "1"

BLOCK = 2
"""Side, in texels, of the blocks that convolutions take as one pixel."""
MEAN_RESOLUTION = 64
"""Texels a side of the mean maps."""
COLOR_CHANNELS, POSITION_CHANNELS, COVERAGE_CHANNELS, GEOMETRY_CHANNELS = 3, 2, 1, 4
INPUTS = 2 * COLOR_CHANNELS + POSITION_CHANNELS + COVERAGE_CHANNELS + GEOMETRY_CHANNELS
"""Input channels: texture, texture without smooth light, u and v, coverage, normals and occlusion."""
CHANNELS = sum(MODALITIES[name].raw_channels for name in CORE_NAMES)
"""Of the outputs: the core modalities as `encoding.encode_maps` orders them; others keep their defaults."""
OUTPUT_SCALE = (0.4, 0.4, 0.4, 0.2, 0.15, 0.15)
"""Departure of each of `CHANNELS` for an output of one."""
SMALLEST_ALBEDO, LARGEST_ALBEDO = 0.003, 0.95

LIGHT_RESOLUTION = 64
"""Texels a side at which smooth light is estimated."""
LIGHT_ROUNDS = 3
"""Rounds of iteratively reweighted least squares."""
LIGHT_TOLERANCE = 0.25
"""Residual, as a share of the mean light, at which a texel has half its weight."""
LIGHT_RIDGE = 0.01
"""Ridge of every coefficient but the first, relative to the texels' weight."""
SHADING_RANGE = (0.3, 3.0)
"""Bounds of the smooth light relative to its mean."""


@dataclass(frozen=True)
class TranslationConfig:
    """Sizes of the network."""

    channels: tuple[int, ...] = (32, 48, 80, 112, 128)
    """Features per resolution, halving from half of the maps' resolution on."""
    detail_channels: int = 16
    """Features at full resolution."""
    resolution: int = 256
    """Texels a side of the training maps."""

    def __post_init__(self) -> None:
        if len(self.channels) < 2 or min(*self.channels, self.detail_channels) < 1:
            raise ConfigError(f"a translation network needs two resolutions of features or more, got {self.channels}")

    @property
    def divisor(self) -> int:
        """Divisor of the texels a side of valid maps."""
        return int(BLOCK << (len(self.channels) - 1))


class _Pair(nn.Sequential):
    """Two convolutions, each with a leaky ReLU."""

    def __init__(self, inputs: int, outputs: int) -> None:
        first, second = nn.Conv2d(inputs, outputs, 3, padding=1), nn.Conv2d(outputs, outputs, 3, padding=1)
        super().__init__(first, nn.LeakyReLU(LEAKY_SLOPE), second, nn.LeakyReLU(LEAKY_SLOPE))


class TextureTranslator(nn.Module):
    """Fully convolutional network from a texture and its coverage to encoded maps (`encoding.encode_maps`)."""

    mean: Tensor
    output_scale: Tensor

    def __init__(self, config: TranslationConfig | None = None) -> None:
        super().__init__()
        self.config = config = config or TranslationConfig()
        widths = config.channels
        self.down = nn.ModuleList(
            _Pair(INPUTS * BLOCK**2 if k == 0 else widths[k - 1], width) for k, width in enumerate(widths)
        )
        self.everywhere = nn.Linear(widths[-1], widths[-1])
        self.lit = nn.Linear(widths[-1], 1)
        self.up = nn.ModuleList(_Pair(widths[k] + widths[k + 1], widths[k]) for k in reversed(range(len(widths) - 1)))
        self.blocks = nn.Conv2d(widths[0], (CHANNELS + config.detail_channels) * BLOCK**2, 1)
        self.detail = nn.Conv2d(2 * COLOR_CHANNELS + config.detail_channels, config.detail_channels, 3, padding=1)
        self.detail_output = nn.Conv2d(config.detail_channels, CHANNELS, 3, padding=1)
        self.register_buffer("mean", torch.zeros(CHANNELS, MEAN_RESOLUTION, MEAN_RESOLUTION))
        self.register_buffer("output_scale", torch.tensor(OUTPUT_SCALE)[:, None, None], persistent=False)
        for layer in (self.blocks, self.detail_output):
            nn.init.normal_(layer.weight, std=1e-2)
            nn.init.zeros_(layer.bias)  # type: ignore[arg-type]

    def forward(
        self,
        texture: Tensor,  # (B, 3, R, R) sRGB-encoded, arbitrary where it is not covered
        coverage: Tensor,  # (B, 1, R, R) in [0, 1]
    ) -> Tensor:
        """(B, 6, R, R) as `encoding.decode_bytes` has them, slopes in their own unit; not clamped."""
        mean = functional.interpolate(self.mean[None], size=texture.shape[-2:], mode="bilinear", align_corners=False)
        known = torch.lerp(mean[:, :COLOR_CHANNELS], texture, coverage)
        flat = without_smooth_light(known, coverage, self.mean[None, :COLOR_CHANNELS])
        place = _layout(texture.shape[-1]).to(texture).expand(len(texture), -1, -1, -1)
        colors = torch.cat([2.0 * known - 1.0, 2.0 * flat - 1.0], 1)
        x = functional.pixel_unshuffle(torch.cat([colors, coverage, place], 1), BLOCK)
        skips = []
        for index, pair in enumerate(self.down):
            x = pair(x if index == 0 else downsample(x))
            skips.append(x)
        summary = x.mean((2, 3))
        x = x + self.everywhere(summary)[..., None, None]
        for pair, skip in zip(self.up, reversed(skips[:-1]), strict=True):
            x = pair(torch.cat([upsample(x), skip], 1))
        shuffled = functional.pixel_shuffle(self.blocks(x), BLOCK)
        coarse, features = shuffled[:, :CHANNELS], shuffled[:, CHANNELS:]
        fine = functional.leaky_relu(self.detail(torch.cat([colors, features], 1)), LEAKY_SLOPE)
        departure = (coarse + self.detail_output(fine)).float() * self.output_scale
        lit = torch.sigmoid(self.lit(summary).float())[..., None, None]
        others = mean[:, COLOR_CHANNELS:].expand(len(texture), -1, -1, -1)
        result: Tensor = torch.cat([torch.lerp(known, flat, lit), others], 1) + departure
        return result


@torch.no_grad()
def without_smooth_light(
    texture: Tensor,  # (B, 3, R, R) sRGB-encoded
    coverage: Tensor,  # (B, 1, R, R)
    mean: Tensor,  # (1, 3, M, M) mean albedo, sRGB-encoded
) -> Tensor:
    """Textures (B, 3, R, R), sRGB-encoded, divided by order-2 spherical-harmonics light of mean one.

    The light is fitted, per channel, to the ratio of the texture to the mean albedo on the face's skin by iteratively
    reweighted least squares with Cauchy weights, so that hair, lips and shadows have little influence.
    """
    resolution = texture.shape[-1]
    size = min(resolution, LIGHT_RESOLUTION)
    linear = srgb_to_linear(texture.float())
    small = functional.interpolate(linear, size=(size, size), mode="area")
    albedo = functional.interpolate(srgb_to_linear(mean.float()), size=(size, size), mode="area")
    covered_share = functional.interpolate(coverage.float(), size=(size, size), mode="area")
    surface = head_surface(size)
    basis = sh_basis(surface.normals).to(linear).flatten(0, 1)  # (N, 9)
    prior_weight = (covered_share[:, 0] * surface.face[..., 0].to(linear)).flatten(1)  # (B, N)
    light = (small / albedo.clamp(min=SMALLEST_ALBEDO)).flatten(2)  # (B, 3, N)
    mean_light = (light * prior_weight[:, None]).sum(2, keepdim=True) / prior_weight.sum(1).clamp(min=1.0)[
        :, None, None
    ]
    light = light / mean_light.clamp(min=1e-3)
    ridge = torch.eye(SH_COUNT).to(linear) * LIGHT_RIDGE
    ridge[0, 0] = 1e-6
    weight = prior_weight[:, None].expand_as(light)
    coefficients = torch.zeros(len(texture), COLOR_CHANNELS, SH_COUNT).to(linear)
    # Each round solves the normal equations, then lowers the weight of texels with large residuals.
    for _ in range(LIGHT_ROUNDS):
        normal_matrix = torch.einsum("bcn,ni,nj->bcij", weight, basis, basis)
        total = weight.sum(2).clamp(min=1.0)[..., None]
        right = torch.einsum("bcn,ni->bci", weight * light, basis)
        coefficients = torch.linalg.solve(normal_matrix / total[..., None] + ridge, right / total)
        residual = (light - coefficients @ basis.transpose(0, 1)).abs() / LIGHT_TOLERANCE
        weight = prior_weight[:, None] / (1.0 + residual.square())
    whole = sh_basis(head_surface(resolution).normals).to(linear)  # (R, R, 9)
    shading = torch.einsum("bck,hwk->bchw", coefficients, whole).clamp(*SHADING_RANGE)
    covered = head_surface(resolution).covered.to(linear.device)
    return linear_to_srgb(linear / torch.where(covered, shading, torch.ones_like(shading)))


@torch.no_grad()
def translate(
    network: TextureTranslator,
    texture: Tensor,  # (B, R, R, 3) linear colour, lit or albedo, in the model's layout
    coverage: Tensor,  # (B, R, R) in [0, 1]
) -> ReflectanceMaps:
    """Full reflectance of textures; InputError if their resolution does not fit the network."""
    divisor = network.config.divisor
    if texture.shape[1] != texture.shape[2] or texture.shape[1] % divisor:
        raise InputError(
            f"a texture of {texture.shape[2]} x {texture.shape[1]} texels cannot be translated: it must be square with"
            f" a multiple of {divisor} texels a side"
        )
    encoded = linear_to_srgb(texture).permute(0, 3, 1, 2)
    return maps_of(network(encoded, coverage[:, None].float()))


def maps_of(encoded: Tensor) -> ReflectanceMaps:
    """Reflectance of encoded maps (B, 6, R, R), clamped to valid values."""
    channels = encoded.permute(0, 2, 3, 1)
    slopes = channels[..., 4:]
    normals = functional.normalize(torch.cat([slopes, torch.ones_like(slopes[..., :1])], -1), dim=-1)
    diffuse = srgb_to_linear(channels[..., :3].clamp(0.0, 1.0)).clamp(SMALLEST_ALBEDO, LARGEST_ALBEDO)
    return ReflectanceMaps(diffuse, channels[..., 3:4].clamp(0.0, 1.0), normals)


def save_translator(network: TextureTranslator, path: Path, *, dtype: torch.dtype = torch.float16) -> None:
    """Write weights in `dtype` and the configuration, atomically."""
    tensors = {name: value.detach().to("cpu", dtype).contiguous() for name, value in network.state_dict().items()}
    metadata = {"format": FORMAT, "version": FORMAT_VERSION, "config": json.dumps(asdict(network.config))}
    with atomic_file(path) as partial:
        save_file(tensors, partial, metadata)


def load_translator(path: Path = DEFAULT_TRANSLATION) -> TextureTranslator:
    """Network in float32, in evaluation mode, from a file of `save_translator`.

    :raises ModelFileError: if the file is missing, truncated, of another kind, or inconsistent with its configuration.
    """
    if not path.is_file():
        raise ModelFileError(
            f"there is no translation weight file at {path}: check the path, or `fitme train translation`"
        )
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name).float() for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise ModelFileError(f"{path} is not a whole safetensors file ({error}): fetch or train it again") from error
    if metadata.get("format") != FORMAT or metadata.get("version") != FORMAT_VERSION:
        raise ModelFileError(
            f"{path} holds {metadata.get('format', 'no format')} version {metadata.get('version', '-')}, expected"
            f" {FORMAT} version {FORMAT_VERSION}: train it with `fitme train translation`"
        )
    network = TextureTranslator(_read_config(metadata.get("config", ""), path))
    try:
        network.load_state_dict(tensors)
    except RuntimeError as error:
        raise ModelFileError(f"the tensors of {path} do not fit its own configuration: {error}") from error
    return network.eval()


@cache
def default_translator() -> TextureTranslator:
    """Network that the package ships. Loaded once; treat its weights as constants."""
    return load_translator()


@cache
def _layout(resolution: int) -> Tensor:
    """Layout channels (1, 6, R, R): u and v of texel centres in [-1, 1], normals and occlusion of the mean head."""
    centres = (torch.arange(resolution) + 0.5) / resolution * 2.0 - 1.0
    v, u = torch.meshgrid(centres, centres, indexing="ij")
    surface = head_surface(resolution)
    return torch.cat([torch.stack([u, v]), surface.normals.permute(2, 0, 1), surface.occlusion.permute(2, 0, 1)])[None]


def _read_config(text: str, path: Path) -> TranslationConfig:
    """Configuration in a file's metadata; ModelFileError if it is damaged."""
    try:
        values: dict[str, Any] = json.loads(text)
        lists: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in values.items()}
        return TranslationConfig(**lists)
    except (ValueError, TypeError, AttributeError, ConfigError) as error:
        raise ModelFileError(f"{path} holds no readable configuration of a translation network: {error}") from error
