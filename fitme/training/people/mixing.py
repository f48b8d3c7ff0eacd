"""More people than were photographed: heads mixed from several, in any skin tone, on the fly.

Each draw takes a few people, mirrors some, brings all to one skin tone by the curves of `tone_curves`, and takes every
region of the head from one of them, blended band by band (Burt and Adelson, ACM Transactions on Graphics 1983). Relief
follows from the mixed albedo. All of it runs on the device of the maps.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as functional
from torch import Tensor

from fitme.color import linear_to_srgb, srgb_to_linear
from fitme.reflectance.layers import downsample, upsample
from fitme.skin.pigments import ITA_CLASSES
from fitme.training.data.encoding import SLOPE_LIMIT
from fitme.training.people.people_set import PeopleSet
from fitme.training.people.relief import blurred, with_relief

SOURCES = 3
"""People in one draw at most."""
WHOLE_SHARE = 0.35
"""Share of the draws that show one person's regions alone."""
TONE_JITTER = (1.5, 1.0, 1.2)
"""Standard deviations of a shift of the skin in CIELAB."""
TONE_REACH, TONE_FAR = 1.3, 0.02
"""Standard deviation, in classes, of the difference between a person's own skin tone and the drawn one, and weight of
everybody else."""
LEAST_SPECULAR = 0.3
"""Lower bound of the specular albedo of the head's surface: that of hair."""
DETAIL_LOG_SIGMA = 0.15
"""Standard deviation of the logarithm of the strength of the two finest octaves."""
DETAIL_OCTAVES, OCTAVES = 2, 6
SOFT_TEXELS = 3.0
"""Standard deviation of the Gaussian on unseen texels, texels of maps of 512 a side."""
CLASS_MARGIN = 0.45
"""How far tones reach beyond the middle of the outermost classes, in classes."""
_KNEE = 6.0 / 29.0
_WHITE = (0.9505, 1.0, 1.089)
_TO_XYZ = (
    (0.41239, 0.35758, 0.18048),
    (0.21264, 0.71517, 0.07219),
    (0.01933, 0.11919, 0.95053),
)
SMALLEST_ALBEDO, LARGEST_ALBEDO = 0.003, 0.95


@dataclass(frozen=True, eq=False)
class Draw:
    """Random heads."""

    maps: Tensor
    """(B, 6, R, R) as of `fitme.training.data.encoding`."""
    share: Tensor
    """(B, 1, R, R) share of photos in them, [0, 1]."""


class PeopleBank:
    """Maps of a `PeopleSet` on a device, from which heads are drawn."""

    def __init__(self, people: PeopleSet, device: torch.device | str = "cpu") -> None:
        def on(values: object) -> Tensor:
            return torch.as_tensor(values).to(device)

        self.device = torch.device(device)
        self.resolution = people.resolution
        diffuse = on(people.diffuse).permute(0, 3, 1, 2).contiguous()  # (N, 3, R, R)
        self._coarse = on(people.coarse).permute(0, 3, 1, 2).contiguous()  # (N, 3, r, r)
        masks = torch.stack([on(people.share), on(people.skin), on(people.between_hairs)], 1)
        self._masks = masks  # (N, 3, r, r)
        self._places, self._heights = on(people.places).float(), on(people.heights).float()
        self._darkening = on(people.darkening).float()
        self._regions = on(people.regions).float() / 255.0
        bounds = torch.tensor([low for low, _ in list(ITA_CLASSES.values())[:-1]], device=device)
        self._classes = (on(people.ita_deg)[:, None] < bounds).sum(1).float()  # (N,)
        self._lips = self._large(on(people.lips)[None, None].float() / 255.0)
        self._surface = self._large(on(people.surface)[None, None].float() / 255.0)
        self.weight = self._large(on(people.weight)[None, None].float() / 100.0)
        """(1, 1, R, R) of texels in training losses."""
        self._diffuse = torch.cat([self._softened(d, s) for d, s in zip(diffuse, on(people.share), strict=True)])
        self._to_xyz = torch.tensor(_TO_XYZ, device=device)
        self._to_rgb = torch.linalg.inv(self._to_xyz)
        self._white = torch.tensor(_WHITE, device=device)[:, None, None]

    @property
    def count(self) -> int:
        """N: people."""
        return len(self._diffuse)

    @torch.no_grad()
    def draw(self, batch: int, random: torch.Generator) -> Draw:
        """Random heads of all skin tones; `random` is on the bank's device."""
        classes = self._heights.shape[1]
        tone = (classes - 1 + 2.0 * CLASS_MARGIN) * self._uniform(random, batch) - CLASS_MARGIN
        jitter = self._normal(random, batch, 3) * torch.tensor(TONE_JITTER, device=self.device)
        # People of a similar tone are likelier: curves cannot give a beard's shade to every skin.
        distance = (self._classes - tone[:, None]) / TONE_REACH
        people = torch.multinomial((-0.5 * distance.square()).exp() + TONE_FAR, SOURCES, generator=random)
        mirrored = self._uniform(random, batch, SOURCES) < 0.5
        masks = self._region_masks(batch, random)  # (B, S, 1, R, R)
        diffuse = torch.stack(
            [self._toned(people[:, k], mirrored[:, k], tone, jitter) for k in range(SOURCES)], 1
        )  # (B, S, 3, R, R)
        coarse = torch.stack([self._smooth_maps(people[:, k], mirrored[:, k]) for k in range(SOURCES)], 1)
        small = _split(downsample(masks.flatten(0, 1), masks.shape[-1] // coarse.shape[-1]), batch)
        mixed = self._large((coarse * small).sum(1))  # (B, 5, R, R)
        strength = (DETAIL_LOG_SIGMA * self._normal(random, batch, 1, 1, 1)).exp()
        albedo = blend(diffuse, masks, strength).clamp(0.0, 1.0)
        specular, slopes, share, skin = mixed[:, :1], mixed[:, 1:3], mixed[:, 3:4], mixed[:, 4:5]
        specular = torch.maximum(specular, LEAST_SPECULAR * self._surface)
        return Draw(with_relief(albedo, specular, slopes, torch.maximum(skin, self._lips)), share)

    @torch.no_grad()
    def people(self, indices: Tensor) -> Draw:
        """People (B,) of the set as they are."""
        straight = torch.zeros(len(indices), dtype=torch.bool, device=self.device)
        albedo = self._diffuse[indices].float() / 255.0
        mixed = self._large(self._smooth_maps(indices, straight))
        specular = torch.maximum(mixed[:, :1], LEAST_SPECULAR * self._surface)
        maps = with_relief(albedo, specular, mixed[:, 1:3], torch.maximum(mixed[:, 4:5], self._lips))
        return Draw(maps, mixed[:, 3:4])

    def _toned(self, people: Tensor, mirrored: Tensor, tone: Tensor, jitter: Tensor) -> Tensor:
        """sRGB-encoded albedos (B, 3, R, R) of people (B,) in tones (B,), fractional classes, shifted by jitters (B, 3)
        in CIELAB."""
        # Curves and masks of each; between classes curves are interpolated.
        last = self._heights.shape[1] - 1
        below = tone.clamp(0.0, last).floor().long().clamp(max=max(last - 1, 0))
        above = (below + 1).clamp(max=last)
        part = tone - below  # beyond the outermost classes curves are extrapolated
        heights = torch.lerp(
            self._heights[people, below], self._heights[people, above], part[:, None, None, None]
        )  # (B, 2, 3, Q)
        darkening = torch.lerp(self._darkening[people, below], self._darkening[people, above], part[:, None])
        linear = srgb_to_linear(self._diffuse[people].float() / 255.0)
        masks = self._large(self._masks[people, 1:].float() / 255.0)
        skin, between = masks[:, :1], masks[:, 1:]

        lab = self._lab(linear)
        shift = jitter[:, :, None, None]
        places = self._places[people]
        changed = [self._linear(curve(lab, places[:, k], heights[:, k]) + shift) for k in range(2)]
        recolored = linear + skin * (changed[0] - linear) + between * darkening.clamp(max=0.0)[:, :, None, None]
        recolored = (recolored + self._lips * (changed[1] - recolored)).clamp(SMALLEST_ALBEDO, LARGEST_ALBEDO)
        encoded = linear_to_srgb(recolored)
        return torch.where(mirrored[:, None, None, None], encoded.flip(-1), encoded)

    def _smooth_maps(self, people: Tensor, mirrored: Tensor) -> Tensor:
        """Specular albedo, slopes, share and skin (B, 5, r, r) of people (B,)."""
        coarse, masks = self._coarse[people].float() / 255.0, self._masks[people, :2].float() / 255.0
        slopes = (2.0 * coarse[:, 1:] - 1.0) * SLOPE_LIMIT
        maps = torch.cat([coarse[:, :1], slopes, masks], 1)
        signs = maps.new_tensor([1.0, -1.0, 1.0, 1.0, 1.0])[:, None, None]
        return torch.where(mirrored[:, None, None, None], maps.flip(-1) * signs, maps)

    def _region_masks(self, batch: int, random: torch.Generator) -> Tensor:
        """Masks (B, S, 1, R, R), summing to one, of what each source contributes."""
        chosen = torch.randint(SOURCES, (batch, len(self._regions)), generator=random, device=self.device)
        whole = self._uniform(random, batch, 1) < WHOLE_SHARE
        chosen = torch.where(whole, 0, chosen)
        weights = functional.one_hot(chosen, SOURCES).float()  # (B, K, S)
        masks = torch.einsum("bks,khw->bshw", weights, self._regions)
        return self._large(masks / masks.sum(1, keepdim=True).clamp(min=1e-3))[:, :, None]

    def _softened(self, diffuse: Tensor, share: Tensor) -> Tensor:
        """(1, 3, R, R) bytes of an albedo (3, R, R) without fine detail where it is not the photo's, by share (r, r):
        there it is the start generator's, whose detail is not to be learned again."""
        fine = diffuse[None].float()
        smooth = blurred(fine, SOFT_TEXELS * self.resolution / 512)
        unseen = (1.0 - self._large(share[None, None].float() / 255.0)) * self._surface
        return torch.lerp(fine, smooth, unseen.clamp(0.0, 1.0)).round().to(torch.uint8)

    def _large(self, maps: Tensor) -> Tensor:
        if maps.shape[-1] == self.resolution:
            return maps
        return functional.interpolate(maps, size=(self.resolution,) * 2, mode="bilinear", align_corners=False)

    def _lab(self, linear: Tensor) -> Tensor:
        """CIELAB (B, 3, R, R) of linear sRGB, as `fitme.skin.cielab`."""
        xyz = torch.einsum("ij,bjhw->bihw", self._to_xyz, linear) / self._white
        f = torch.where(xyz > _KNEE**3, xyz.clamp(min=_KNEE**3).pow(1.0 / 3.0), xyz / (3.0 * _KNEE**2) + 4.0 / 29.0)
        x, y, z = f.unbind(1)
        return torch.stack([116.0 * y - 16.0, 500.0 * (x - y), 200.0 * (y - z)], 1)

    def _linear(self, lab: Tensor) -> Tensor:
        """Inverse of `_lab`."""
        y = (lab[:, 0] + 16.0) / 116.0
        f = torch.stack([y + lab[:, 1] / 500.0, y, y - lab[:, 2] / 200.0], 1)
        xyz = torch.where(f > _KNEE, f**3, 3.0 * _KNEE**2 * (f - 4.0 / 29.0)) * self._white
        return torch.einsum("ij,bjhw->bihw", self._to_rgb, xyz)

    def _uniform(self, random: torch.Generator, *shape: int) -> Tensor:
        return torch.rand(*shape, generator=random, device=self.device)

    def _normal(self, random: torch.Generator, *shape: int) -> Tensor:
        return torch.randn(*shape, generator=random, device=self.device)


def curve(values: Tensor, places: Tensor, heights: Tensor) -> Tensor:
    """Values (B, 3, H, W) after piecewise linear curves through `heights` (B, 3, Q) at rising `places` (B, 3, Q), of
    slope one beyond the ends."""
    flat = values.flatten(2).contiguous()  # (B, 3, N)
    last = places.shape[-1] - 1
    upper = torch.searchsorted(places.contiguous(), flat).clamp(1, last)
    x0, x1 = places.gather(2, upper - 1), places.gather(2, upper)
    y0, y1 = heights.gather(2, upper - 1), heights.gather(2, upper)
    part = ((flat - x0) / (x1 - x0).clamp(min=1e-4)).clamp(0.0, 1.0)
    beyond = (flat - places[..., :1]).clamp(max=0.0) + (flat - places[..., -1:]).clamp(min=0.0)
    return (torch.lerp(y0, y1, part) + beyond).reshape(values.shape)


def blend(
    images: Tensor,  # (B, S, C, R, R)
    masks: Tensor,  # (B, S, 1, R, R) summing to one
    detail: Tensor,  # (B, 1, 1, 1) strength of the finest octaves
) -> Tensor:
    """(B, C, R, R) sources blended by a Laplacian pyramid: each octave with a mask as smooth as itself."""
    batch = len(images)
    levels = min(OCTAVES, max(int(images.shape[-1]).bit_length() - 3, 1))
    flat, weights = images.flatten(0, 1), masks.flatten(0, 1)
    bands = []
    for _ in range(levels):
        below = downsample(flat)
        bands.append(_split((flat - upsample(below)) * weights, batch).sum(1))
        flat, weights = below, downsample(weights)
    result = _split(flat * weights, batch).sum(1)
    for index, band in reversed(list(enumerate(bands))):
        result = upsample(result) + (band * detail if index < DETAIL_OCTAVES else band)
    return result


def _split(flat: Tensor, batch: int) -> Tensor:
    """(B, S, C, H, W) of (B S, C, H, W)."""
    return flat.reshape(batch, -1, *flat.shape[1:])
