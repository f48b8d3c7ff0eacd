"""From a texture to full reflectance: a network that takes the light out of a baked texture and adds what a texture
does not tell, specular albedo and normals.

FitMe builds its training set so (Lattas et al., CVPR 2023, section 3.2), with image translation in the manner of
pix2pixHD (Wang et al., CVPR 2018). Here it is a U-Net (Ronneberger et al., MICCAI 2015) that works on blocks of two by
two texels, so that a CPU can train it: convolutions with skips from half the resolution down, the mean of the deepest
features told to every place, and a last pair of convolutions at full resolution. It need not learn what is known: it
sees the head's normals and occlusion in the layout, and the texture with the smooth light divided out that fits it best
in the least-squares sense. Outputs are departures from a mixture of both textures and from mean maps.
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
"""Side of the blocks of texels that convolutions work on."""
MEAN_RESOLUTION = 64
"""Texels a side of the mean maps that outputs depart from."""
COLOR_CHANNELS, POSITION_CHANNELS, COVERAGE_CHANNELS, GEOMETRY_CHANNELS = 3, 2, 1, 4
INPUTS = 2 * COLOR_CHANNELS + POSITION_CHANNELS + COVERAGE_CHANNELS + GEOMETRY_CHANNELS
"""Texture, texture without its smooth light, u and v, coverage, normals and occlusion."""
CHANNELS = sum(MODALITIES[name].raw_channels for name in CORE_NAMES)
"""Of the outputs: the core modalities as `encoding.encode_maps` orders them; others keep their defaults."""
OUTPUT_SCALE = (0.4, 0.4, 0.4, 0.2, 0.15, 0.15)
"""Departure of each of `CHANNELS` for an output of one."""
SMALLEST_ALBEDO, LARGEST_ALBEDO = 0.003, 0.95

LIGHT_RESOLUTION = 64
"""Texels a side at which smooth light is estimated."""
LIGHT_ROUNDS = 3
"""Solutions of the least squares; each trusts what disagreed with the last one less."""
LIGHT_TOLERANCE = 0.25
"""Disagreement, as a share of the mean light, at which a texel counts half."""
LIGHT_RIDGE = 0.01
"""Pull of every coefficient but the first towards zero, beside the texels' weight."""
SHADING_RANGE = (0.3, 3.0)
"""Smooth light beside its mean is believed within these bounds."""


@dataclass(frozen=True)
class TranslationConfig:
    """Sizes of the network."""

    channels: tuple[int, ...] = (32, 48, 80, 112, 128)
    """Features per resolution, from half of the maps' on, halving."""
    detail_channels: int = 16
    """Features at full resolution."""
    resolution: int = 256
    """Texels a side of the maps that it was trained on."""

    def __post_init__(self) -> None:
        if len(self.channels) < 2 or min(*self.channels, self.detail_channels) < 1:
            raise ConfigError(f"a translation network needs two resolutions of features or more, got {self.channels}")

    @property
    def divisor(self) -> int:
        """Maps must have a multiple of so many texels a side."""
        return int(BLOCK << (len(self.channels) - 1))


class _Pair(nn.Sequential):
    """Two convolutions."""

    def __init__(self, inputs: int, outputs: int) -> None:
        first, second = nn.Conv2d(inputs, outputs, 3, padding=1), nn.Conv2d(outputs, outputs, 3, padding=1)
        super().__init__(first, nn.LeakyReLU(LEAKY_SLOPE), second, nn.LeakyReLU(LEAKY_SLOPE))


class TextureTranslator(nn.Module):
    """Texture and what of it is known, to maps as the data set encodes them. Fully convolutional."""

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
        texture: Tensor,  # (B, 3, R, R) sRGB-encoded, anything where it is not known
        coverage: Tensor,  # (B, 1, R, R) 1 where the texture is known, 0 where it is not
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
    """Textures (B, 3, R, R), sRGB-encoded, with order-2 spherical-harmonics light divided out; their mean light stays.

    The light is that under which mean albedo would look most like the texture on the face's skin, each channel for
    itself: iteratively reweighted least squares, so that hair, lips and shadows count little.
    """
    resolution = texture.shape[-1]
    size = min(resolution, LIGHT_RESOLUTION)
    linear = srgb_to_linear(texture.float())
    small = functional.interpolate(linear, size=(size, size), mode="area")
    albedo = functional.interpolate(srgb_to_linear(mean.float()), size=(size, size), mode="area")
    seen = functional.interpolate(coverage.float(), size=(size, size), mode="area")
    surface = head_surface(size)
    basis = sh_basis(surface.normals).to(linear).flatten(0, 1)  # (N, 9)
    trusted = (seen[:, 0] * surface.face[..., 0].to(linear)).flatten(1)  # (B, N)
    light = (small / albedo.clamp(min=SMALLEST_ALBEDO)).flatten(2)  # (B, 3, N)
    usual = (light * trusted[:, None]).sum(2, keepdim=True) / trusted.sum(1).clamp(min=1.0)[:, None, None]
    light = light / usual.clamp(min=1e-3)
    ridge = torch.eye(SH_COUNT).to(linear) * LIGHT_RIDGE
    ridge[0, 0] = 1e-6
    weight = trusted[:, None].expand_as(light)
    coefficients = torch.zeros(len(texture), COLOR_CHANNELS, SH_COUNT).to(linear)
    for _ in range(LIGHT_ROUNDS):
        normal_matrix = torch.einsum("bcn,ni,nj->bcij", weight, basis, basis)
        total = weight.sum(2).clamp(min=1.0)[..., None]
        right = torch.einsum("bcn,ni->bci", weight * light, basis)
        coefficients = torch.linalg.solve(normal_matrix / total[..., None] + ridge, right / total)
        residual = (light - coefficients @ basis.transpose(0, 1)).abs() / LIGHT_TOLERANCE
        weight = trusted[:, None] / (1.0 + residual.square())
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
    """Full reflectance of textures; InputError when the network cannot work at their resolution."""
    divisor = network.config.divisor
    if texture.shape[1] != texture.shape[2] or texture.shape[1] % divisor:
        raise InputError(
            f"a texture of {texture.shape[2]} x {texture.shape[1]} texels cannot be translated: it must be square with"
            f" a multiple of {divisor} texels a side"
        )
    encoded = linear_to_srgb(texture).permute(0, 3, 1, 2)
    return maps_of(network(encoded, coverage[:, None].float()))


def maps_of(encoded: Tensor) -> ReflectanceMaps:
    """Maps of values (B, 6, R, R) as `encoding.decode_bytes` has them."""
    channels = encoded.permute(0, 2, 3, 1)
    slopes = channels[..., 4:]
    normals = functional.normalize(torch.cat([slopes, torch.ones_like(slopes[..., :1])], -1), dim=-1)
    diffuse = srgb_to_linear(channels[..., :3].clamp(0.0, 1.0)).clamp(SMALLEST_ALBEDO, LARGEST_ALBEDO)
    return ReflectanceMaps(diffuse, channels[..., 3:4].clamp(0.0, 1.0), normals)


def save_translator(network: TextureTranslator, path: Path, *, dtype: torch.dtype = torch.float16) -> None:
    """Write weights in `dtype` and the configuration. The file appears under its name only when it is complete."""
    tensors = {name: value.detach().to("cpu", dtype).contiguous() for name, value in network.state_dict().items()}
    metadata = {"format": FORMAT, "version": FORMAT_VERSION, "config": json.dumps(asdict(network.config))}
    with atomic_file(path) as partial:
        save_file(tensors, partial, metadata)


def load_translator(path: Path = DEFAULT_TRANSLATION) -> TextureTranslator:
    """A network in float32, in evaluation mode, as `save_translator` wrote it.

    ModelFileError when the file is missing, truncated, of another kind, or does not fit its own configuration.
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
    """The network that the package ships. Loaded once; treat its weights as constants."""
    return load_translator()


@cache
def _layout(resolution: int) -> Tensor:
    """(1, 6, R, R) u and v of texel centres in [-1, 1]; normals and occlusion of the mean head."""
    centres = (torch.arange(resolution) + 0.5) / resolution * 2.0 - 1.0
    v, u = torch.meshgrid(centres, centres, indexing="ij")
    surface = head_surface(resolution)
    return torch.cat([torch.stack([u, v]), surface.normals.permute(2, 0, 1), surface.occlusion.permute(2, 0, 1)])[None]


def _read_config(text: str, path: Path) -> TranslationConfig:
    try:
        values: dict[str, Any] = json.loads(text)
        lists: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in values.items()}
        return TranslationConfig(**lists)
    except (ValueError, TypeError, AttributeError, ConfigError) as error:
        raise ModelFileError(f"{path} holds no readable configuration of a translation network: {error}") from error
