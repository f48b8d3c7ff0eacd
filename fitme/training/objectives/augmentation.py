"""Adaptive discriminator augmentation (Karras et al., "Training Generative Adversarial Networks with Limited Data",
NeurIPS 2020) for maps in a fixed UV layout.

Real and generated maps pass through random changes before the discriminator, each change with probability p. When the
discriminator overfits (scores real maps too surely), p rises; otherwise p falls. Every change is differentiable in the
maps and leaves the distribution of the originals recoverable (section 2.2 of the paper), as long as p stays below
`HIGHEST_PROBABILITY`.

Maps are (B, 6, R, R): sRGB-encoded diffuse albedo (3), specular albedo (1), slopes along u and up the layout (2).
Positions are (B|1, 2, R, R): u and v of each texel in [-1, 1], u = 0 on the face's axis of symmetry.
"""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as functional
from torch import Tensor

from fitme.geometry import rotation_matrix

HIGHEST_PROBABILITY = 0.8
"""Largest p: above it changes begin to leak into the generator's outputs (Karras et al. 2020, figure 4)."""
UPDATES_PER_ADJUSTMENT = 4
"""Batches of real scores per adjustment of p."""
TRANSLATION_SHARE = 0.125
"""Largest translation in sides of the maps."""
CUTOUT_SHARE = 0.5
"""Side of a cutout's square in sides of the maps."""
BRIGHTNESS_DEVIATION = 0.1
"""Standard deviation of the summand on sRGB-encoded diffuse albedo, which is in [0, 1]."""
CONTRAST_DEVIATION_OCTAVES, SATURATION_DEVIATION_OCTAVES = 0.35, 0.6
"""Standard deviations of the base-two logarithms of the factors."""
HUE_LIMIT_RAD = math.pi / 6.0
"""Largest rotation about the grey axis."""
SPECULAR_DEVIATION_OCTAVES, SLOPE_DEVIATION_OCTAVES = 0.3, 0.4
"""Standard deviations of the base-two logarithms of the factors on specular albedo and slopes."""
NOISE_DEVIATIONS = (0.04, 0.04, 0.04, 0.04, 0.015, 0.015)
"""Standard deviations, per channel, of the amplitude of the white noise, which is drawn per map; slopes are small."""
BLANK = (0.5, 0.5, 0.5, 0.5, 0.0, 0.0)
"""Values inside a cutout, per channel."""
_MIDDLE_GREY = 0.5


@dataclass(frozen=True)
class Changes:
    """Changes of a batch: a row per map, neutral where a change was not drawn."""

    mirrored: Tensor
    """(B,) bool."""
    shift: Tensor
    """(B, 2) int64 texels down and to the right."""
    color: Tensor
    """(B, 3, 4) affine map of diffuse albedo."""
    gain: Tensor
    """(B, 3) factors of specular albedo and of both slopes."""
    noise: Tensor | None
    """(B, 6, R, R) summand; None where no map has any."""
    cutout: Tensor
    """(B, 4) int64 first row, first column, rows and columns that are blanked; no rows where nothing is."""


class AdaptiveAugmentation:
    """Augmentation whose probability is controlled by the discriminator's scores of real maps.

    Not a module: its state is a few numbers, in `state_dict`.
    """

    def __init__(self, target: float = 0.6, speed_images: int = 500_000, probability: float = 0.0) -> None:
        """:param target: value of r_t = E[sign(D(real))] to which p is controlled.
        :param speed_images: real maps over which p can rise from 0 to 1.
        :param probability: initial p.
        """
        self.target = target
        self.speed_images = speed_images
        self.p = probability
        self.statistic = 0.0
        """r_t of the last adjustment, in [-1, 1]."""
        self._sign_sum = 0.0
        self._images = 0
        self._updates = 0

    def update(self, real_scores: Tensor) -> None:
        """Accumulate the discriminator's scores of real maps, any shape, and adjust p every `UPDATES_PER_ADJUSTMENT`
        calls."""
        self._sign_sum += float(real_scores.detach().sign().sum())
        self._images += real_scores.numel()
        self._updates += 1
        if self._updates < UPDATES_PER_ADJUSTMENT or self._images == 0:
            return
        self.statistic = self._sign_sum / self._images
        step = self._images / self.speed_images
        change = math.copysign(step, self.statistic - self.target) if self.statistic != self.target else 0.0
        self.p = min(max(self.p + change, 0.0), HIGHEST_PROBABILITY)
        self._sign_sum, self._images, self._updates = 0.0, 0, 0

    def __call__(
        self,
        maps: Tensor,  # (B, 6, R, R)
        position: Tensor,  # (B|1, 2, R, R)
        generator: torch.Generator,
    ) -> tuple[Tensor, Tensor]:
        """Maps and positions after random changes; the arguments themselves where p = 0."""
        if self.p <= 0.0:
            return maps, position
        return change(maps, position, draw_changes(self.p, len(maps), maps.shape[-1], generator))

    def state_dict(self) -> dict[str, float]:
        """State, for `load_state_dict`."""
        return {
            "p": self.p, "statistic": self.statistic,
            "sign_sum": self._sign_sum, "images": self._images, "updates": self._updates,
        }  # fmt: skip

    def load_state_dict(self, state: dict[str, float]) -> None:
        """Continue from `state_dict`."""
        self.p, self.statistic = float(state["p"]), float(state["statistic"])
        self._sign_sum = float(state["sign_sum"])
        self._images, self._updates = int(state["images"]), int(state["updates"])


def draw_changes(p: float, batch: int, resolution: int, generator: torch.Generator) -> Changes:
    """Random changes of a batch of maps of `resolution` texels a side, each kind with probability `p` for each map, on
    the generator's device."""
    device = generator.device

    def chosen() -> Tensor:
        return torch.rand(batch, generator=generator, device=device) < p

    def uniform(low: float, high: float) -> Tensor:
        return low + (high - low) * torch.rand(batch, generator=generator, device=device)

    def normal(deviation: float) -> Tensor:
        return deviation * torch.randn(batch, generator=generator, device=device)

    def factor(deviation_octaves: float) -> Tensor:
        return torch.where(chosen(), torch.exp2(normal(deviation_octaves)), 1.0)

    zero = torch.zeros(batch, device=device)
    mirrored = chosen() & (uniform(0.0, 1.0) < 0.5)
    farthest = TRANSLATION_SHARE * resolution
    moved = chosen()[:, None]
    shift = torch.stack([uniform(-farthest, farthest), uniform(-farthest, farthest)], 1).round().long()
    brightness = torch.where(chosen(), normal(BRIGHTNESS_DEVIATION), zero)
    contrast, saturation = factor(CONTRAST_DEVIATION_OCTAVES), factor(SATURATION_DEVIATION_OCTAVES)
    hue = torch.where(chosen(), uniform(-HUE_LIMIT_RAD, HUE_LIMIT_RAD), zero)
    specular, slopes = factor(SPECULAR_DEVIATION_OCTAVES), factor(SLOPE_DEVIATION_OCTAVES)
    noisy = chosen()
    noise = None
    if bool(noisy.any()):
        deviations = torch.tensor(NOISE_DEVIATIONS, device=device)
        amplitude = torch.where(noisy, normal(1.0).abs(), zero)[:, None, None, None] * deviations[:, None, None]
        shape = (batch, len(NOISE_DEVIATIONS), resolution, resolution)
        noise = torch.randn(shape, generator=generator, device=device) * amplitude
    side = max(round(CUTOUT_SHARE * resolution), 1)
    first = torch.stack([uniform(0.0, resolution), uniform(0.0, resolution)], 1).floor().long() - side // 2
    size = torch.where(chosen(), side, 0)[:, None].expand(-1, 2)
    return Changes(
        mirrored,
        torch.where(moved, shift, 0),
        color_transform(brightness, contrast, saturation, hue),
        torch.stack([specular, slopes, slopes], 1),
        noise,
        torch.cat([first, size], 1),
    )


def color_transform(
    brightness: Tensor,  # (B,) summand
    contrast: Tensor,  # (B,) factor about middle grey
    saturation: Tensor,  # (B,) factor of the distance from the grey axis
    hue: Tensor,  # (B,) radians about the grey axis
) -> Tensor:
    """Affine map (B, 3, 4) of colours: rotation about the grey axis, scaling of the distance from it, scaling about
    middle grey, addition, in this order. Exactly the identity for neutral arguments."""
    grey = brightness.new_full((3, 3), 1.0 / 3.0)  # projection on the grey axis
    identity = torch.eye(3, device=brightness.device, dtype=brightness.dtype)
    # The rotation leaves the grey axis as it is; the part orthogonal to it is scaled by the saturation.
    rotation = rotation_matrix(math.sqrt(1.0 / 3.0) * hue[:, None].expand(-1, 3))
    orthogonal = saturation[:, None, None] * (rotation - grey)
    linear = contrast[:, None, None] * (grey + orthogonal)
    untouched = ((saturation == 1.0) & (hue == 0.0) & (contrast == 1.0))[:, None, None]
    linear = torch.where(untouched, identity, linear)
    offset = brightness + _MIDDLE_GREY * (1.0 - contrast)
    return torch.cat([linear, offset[:, None, None].expand(-1, 3, 1)], 2)


def change(maps: Tensor, position: Tensor, changes: Changes) -> tuple[Tensor, Tensor]:
    """Maps (B, 6, R, R) and positions (B, 2, R, R) after changes, in the maps' precision; ValueError for changes that
    were drawn for another shape."""
    if changes.noise is not None and changes.noise.shape != maps.shape:
        raise ValueError(f"the changes were drawn for maps {tuple(changes.noise.shape)}, not {tuple(maps.shape)}")
    position = position.expand(len(maps), -1, -1, -1)
    mirrored = changes.mirrored.to(maps.device)[:, None, None, None]
    maps = torch.where(mirrored, mirror(maps), maps)
    position = torch.where(mirrored, mirror_position(position), position)
    maps, position = _translate(maps, changes.shift), _translate(position, changes.shift)
    color, gain = changes.color.to(maps), changes.gain.to(maps)
    diffuse = torch.einsum("bij,bjhw->bihw", color[:, :, :3], maps[:, :3]) + color[:, :, 3, None, None]
    maps = torch.cat([diffuse, maps[:, 3:] * gain[:, :, None, None]], 1)
    if changes.noise is not None:
        maps = maps + changes.noise.to(maps)
    return _cut_out(maps, changes.cutout), position


def mirror(maps: Tensor) -> Tensor:
    """Mirror images (B, 6, R, R) of maps: columns reversed, slopes along u negated."""
    signs = maps.new_tensor([1.0, 1.0, 1.0, 1.0, -1.0, 1.0])
    return maps.flip(-1) * signs[:, None, None]


def mirror_position(position: Tensor) -> Tensor:
    """Positions (B, 2, R, R) of mirrored maps: a texel of u = 0.3 lies at u = -0.3. The positions of a whole map are
    their own mirror image, the positions of a crop are not."""
    return position.flip(-1) * position.new_tensor([-1.0, 1.0])[:, None, None]


def _translate(x: Tensor, shift: Tensor) -> Tensor:
    """Maps (B, C, R, R) translated by whole texels (B, 2), borders repeated."""
    farthest = int(shift.abs().max())
    if farthest == 0:
        return x
    height, width = x.shape[-2:]
    padded = functional.pad(x, (farthest,) * 4, mode="replicate")
    corners = (farthest - shift).tolist()
    moved = [one[:, top : top + height, left : left + width] for one, (top, left) in zip(padded, corners, strict=True)]
    return torch.stack(moved)


def _cut_out(maps: Tensor, cutout: Tensor) -> Tensor:
    """Maps (B, 6, R, R) with rectangles (B, 4) set to `BLANK`."""
    top, left, rows, columns = cutout.to(maps.device).unbind(1)
    row = torch.arange(maps.shape[-2], device=maps.device)
    column = torch.arange(maps.shape[-1], device=maps.device)
    within_rows = (row >= top[:, None]) & (row < (top + rows)[:, None])  # (B, R)
    within_columns = (column >= left[:, None]) & (column < (left + columns)[:, None])
    within = (within_rows[:, :, None] & within_columns[:, None])[:, None]  # (B, 1, R, R)
    return torch.where(within, maps.new_tensor(BLANK)[:, None, None], maps)
