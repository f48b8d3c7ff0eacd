"""What a fit would see of given maps: texels of a few pictures under unknown light, partly hidden, blurred and noisy.

Two kinds of texture come out, as the encoder meets both: *lit* ones, sampled from one picture, and *fused* ones, whose
light a fit has divided out as well as it could and whose tone it has guessed from the pictures' brightness
(`fitme.fit.lighting.albedo_scale`). Both are in the layout of the default model.
"""

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as functional
from torch import Tensor

from fitme.arrays import Float32Array
from fitme.color import linear_to_srgb, srgb_to_linear
from fitme.fit.lighting.albedo_scale import AlbedoScaleSettings, expected_skin_albedo
from fitme.fit.lighting.spherical_harmonics import LIGHT_REGIONS, LUMINANCE, MINIMAL_SHADING
from fitme.fit.texture.fusion import MAXIMAL_ALBEDO, FusionSettings
from fitme.fit.texture.unprojection import texel_table, unproject
from fitme.fit.texture.visibility import AROUND_GROWTH, AROUND_WEIGHT
from fitme.geometry import Camera, transform
from fitme.render.rasterizer import RasterizerBackend
from fitme.render.reflection import HEMISPHERICAL_REFLECTANCE, SH_COUNT
from fitme.render.shading import sh_basis
from fitme.shape.expressions import EXPRESSION_NAMES, expression_index
from fitme.shape.morphable_model import MorphableModel
from fitme.shape.regions import Region
from fitme.synthetic.lights import smooth_lights
from fitme.track.oval import oval_mask

IMAGE_SIZE = 192
"""Pixels a side of the pictures whose view of the head is measured; they are never drawn."""
HEAD_DISTANCE_M = 0.5
FOCAL = 1.25
"""Focal length over the side of the picture."""
MOVING = {"jawOpen": 0.5, "mouthSmileLeft": 0.6, "mouthSmileRight": 0.6, "eyeBlinkLeft": 0.4, "eyeBlinkRight": 0.4}
"""Expressions that open and close what a view shows, and the largest amount of each."""
IDENTITY_SIGMA = 0.6
"""Standard deviations of identity coefficients of the heads that are looked at."""

OCCLUDER_SATURATION = 0.35
"""Most of what gets between camera and face, such as hair and glasses, is dull."""


@dataclass(frozen=True)
class CaptureSettings:
    """How pictures, and what a fit makes of them, vary. Angles are one standard deviation unless said otherwise."""

    yaw_deg: float = 28.0
    largest_yaw_deg: float = 60.0
    pitch_deg: float = 10.0
    roll_deg: float = 6.0
    largest_views: int = 8
    """Pictures that a fused texture may come from."""
    lit_share: float = 0.5
    """Textures that still carry the light of one picture; the others are fused."""
    mean_shading: float = 0.6
    """Brightness of the light on seen skin in a well exposed picture, median."""
    exposure_log_sigma: float = 0.4
    white_balance_log_sigma: float = 0.08
    """Error of the camera's white balance per channel."""
    light_tint_log_sigma: float = 0.1
    """Colour of single lights."""
    directional_share: tuple[float, float] = (0.1, 0.9)
    """Share of the light that comes from single directions."""
    residual_shading: float = 0.09
    """Light left in a fused texture: standard deviation of its logarithm's coefficients of order 1 and 2."""
    tone_log_sigma: float = 0.1
    """Error of a fused texture's brightness beyond that of the rule that chose it."""
    largest_blur: float = 1.2
    """Standard deviation in texels of a 64 map."""
    largest_noise: float = 0.03
    """Standard deviation of noise, sRGB-encoded."""
    largest_shift: float = 1.2
    """Misregistration in texels of a 64 map."""
    hole_share: float = 0.5
    """Textures of which something, such as a hand, hides a part."""
    occluder_share: float = 0.15
    """Textures that show something else than the face somewhere, such as a strand of hair, and do not know it."""


@dataclass(frozen=True, eq=False)
class Views:
    """What K random poses of random heads show of each texel."""

    weight: Tensor
    """(K, R, R) as `fitme.fit.texture.unprojection.TexelObservation.weight`."""
    normals: Tensor
    """(K, R, R, 3) unit, view space; zero where the layout has no texel."""
    mirror: Tensor
    """(K, R, R, 3) unit directions in which texels reflect the viewer's."""
    skin: Tensor
    """(R, R) bool: texels that tell of tone and light."""
    occlusion: Tensor
    """(R, R) share of the surroundings' light that reaches each texel."""


@dataclass(frozen=True, eq=False)
class TextureObservation:
    """Encoder inputs of a batch, and what they ask for."""

    texture: Tensor
    """(B, R, R, 3) sRGB-encoded; anything where nothing is seen."""
    visibility: Tensor
    """(B, R, R, 1) in [0, 1], 0 where nothing is seen."""
    delighted: Tensor
    """(B,) bool: fused textures."""
    wanted: Tensor
    """(B, 6, R, R) the maps that explain the texture, in its own unit of brightness: the true ones of lit textures;
    those of fused textures share its error of exposure, which no fit can tell from the light's."""


def random_yaws(count: int, settings: CaptureSettings, seed: int) -> Float32Array:
    """(count,) degrees that `settings` make likely."""
    yaws = np.random.default_rng(seed).normal(0.0, settings.yaw_deg, count)
    return np.clip(yaws, -settings.largest_yaw_deg, settings.largest_yaw_deg).astype(np.float32)


def measure_views(
    model: MorphableModel,
    backend: RasterizerBackend,
    yaws_deg: Float32Array,  # (K,)
    resolution: int,
    settings: CaptureSettings,
    seed: int,
) -> Views:
    """Turn random heads to the given yaws and measure what of them is seen, by the same code as a fit. Deterministic
    from the seed."""
    draw = np.random.default_rng(seed)
    table = texel_table(model, resolution)
    camera = Camera.centered(FOCAL * IMAGE_SIZE, IMAGE_SIZE, IMAGE_SIZE)
    blank = np.zeros((IMAGE_SIZE, IMAGE_SIZE, 3), np.uint8)
    ears = table.region == Region.EARS  # fusion leaves them out
    weights, normals, mirrors = [], [], []
    for yaw in yaws_deg:
        identity = IDENTITY_SIGMA * torch.from_numpy(draw.standard_normal((1, model.identity_count)).astype(np.float32))
        expression = torch.zeros(1, len(EXPRESSION_NAMES))
        for name, largest in MOVING.items():
            expression[0, expression_index(name)] = largest * draw.random() ** 2
        angles = np.radians([draw.normal(0.0, settings.pitch_deg), yaw, draw.normal(0.0, settings.roll_deg)])
        rotation = torch.from_numpy(angles.astype(np.float32))
        vertices = model.vertices(identity, expression)[0]
        posed = transform(rotation, torch.tensor([0.0, 0.0, -HEAD_DISTANCE_M]), vertices)
        landmarks = camera.project(model.landmarks(posed[None])[0]).numpy()
        face = oval_mask(landmarks, IMAGE_SIZE, IMAGE_SIZE).astype(np.float32)
        around = oval_mask(landmarks, IMAGE_SIZE, IMAGE_SIZE, grow=AROUND_GROWTH * draw.random())
        usable = np.maximum(face, AROUND_WEIGHT * around.astype(np.float32))
        view = unproject(table, model, posed, camera, blank, usable, backend)
        facing = (view.normals * view.toward_viewer).sum(-1, keepdims=True)
        weights.append(table.to_map(np.where(ears, 0.0, view.weight)[:, None].astype(np.float32))[..., 0])
        normals.append(table.to_map(view.normals))
        mirrors.append(table.to_map(2.0 * facing * view.normals - view.toward_viewer))
    skin = table.within(LIGHT_REGIONS)
    return Views(
        weight=torch.from_numpy(np.stack(weights)),
        normals=torch.from_numpy(np.stack(normals)),
        mirror=torch.from_numpy(np.stack(mirrors)),
        skin=torch.from_numpy(table.to_map(skin[:, None].astype(np.float32))[..., 0] > 0.5),
        occlusion=torch.from_numpy(table.to_map(table.occlusion)[..., 0]),
    )


def simulate_observations(
    maps: Tensor,  # (B, 6, R, R) as `MapDataset.batch`
    views: Views,
    settings: CaptureSettings,
    random: torch.Generator,
    chosen: Tensor | None = None,  # (B,) views
) -> TextureObservation:
    """Encoder inputs that maps give. `chosen` makes each a lit texture of that one view; else chance decides."""
    batch, resolution = len(maps), maps.shape[-1]
    fused = torch.zeros(batch, dtype=torch.bool)
    if chosen is None:
        fused = _uniform(random, batch) >= settings.lit_share
        first = torch.randint(len(views.weight), (batch,), generator=random)
        weight = views.weight[first]
        further = torch.floor((settings.largest_views - 1) * _uniform(random, batch)) * fused
        for index in range(settings.largest_views - 1):
            another = torch.randint(len(views.weight), (batch,), generator=random)
            weight = weight + views.weight[another] * (index < further)[:, None, None]
    else:
        first, weight = chosen, views.weight[chosen]
    visibility = weight / (weight + FusionSettings().confident_weight)  # (B, R, R)

    unit = resolution / 64.0
    albedo = srgb_to_linear(maps[:, :3].clamp(0.0, 1.0))
    moved = _displaced(torch.cat([albedo, maps[:, 3:4]], 1), settings.largest_shift * unit, random)
    albedo, specular = moved[:, :3].permute(0, 2, 3, 1), moved[:, 3:].permute(0, 2, 3, 1)
    seen_skin = (visibility * views.skin)[..., None]  # (B, R, R, 1)
    basis, mirrored = sh_basis(views.normals[first]), sh_basis(views.mirror[first])  # (B, R, R, 9)
    light = smooth_lights(batch, settings.directional_share, settings.light_tint_log_sigma, random)  # (B, 9, 3)
    shading = _evaluate_sh(basis, light).clamp(min=MINIMAL_SHADING / 2.0)
    exposure = settings.mean_shading * (settings.exposure_log_sigma * _normal(random, batch)).exp()
    exposure = exposure / (_mean_over(shading, seen_skin) @ torch.from_numpy(LUMINANCE)).clamp(min=1e-3)
    balance = (settings.white_balance_log_sigma * _normal(random, batch, 3)).exp() * exposure[:, None]
    shading, light = shading * balance[:, None, None], light * balance[:, None]
    specular_term = HEMISPHERICAL_REFLECTANCE * specular * _evaluate_sh(mirrored, light)
    occlusion = views.occlusion[..., None]
    lit = (occlusion * (albedo * shading + specular_term)).clamp(max=1.0)
    estimated_specular = occlusion * specular_term * (0.5 + 0.5 * _uniform(random, batch, 1, 1, 1))
    dull, known = (lit - estimated_specular).clamp(min=0.0), occlusion * shading
    delighted, scale = _view_albedos(lit, dull, known, basis, seen_skin, settings, random)
    texture = torch.where(fused[:, None, None, None], delighted, lit)
    scaled = linear_to_srgb((srgb_to_linear(maps[:, :3]) * scale[:, :, None, None]).clamp(0.0, MAXIMAL_ALBEDO))
    diffuse = torch.where(fused[:, None, None, None], scaled, maps[:, :3])

    texture = _with_occluders(texture, settings, random)
    visibility = visibility * (1.0 - _blobs(batch, resolution, settings.hole_share, random))
    encoded = linear_to_srgb(texture)
    encoded = _blurred(encoded.permute(0, 3, 1, 2), settings.largest_blur * unit, random).permute(0, 2, 3, 1)
    noise = settings.largest_noise * _uniform(random, batch, 1, 1, 1) * _normal(random, *encoded.shape)
    wanted = torch.cat([diffuse, maps[:, 3:]], 1)
    return TextureObservation((encoded + noise).clamp(0.0, 1.0), visibility[..., None], fused, wanted)


def _view_albedos(
    lit: Tensor,  # (B, R, R, 3)
    dull: Tensor,  # (B, R, R, 3) less the sheen as far as it is known
    shading: Tensor,  # (B, R, R, 3)
    basis: Tensor,  # (B, R, R, 9)
    seen_skin: Tensor,  # (B, R, R, 1)
    settings: CaptureSettings,
    random: torch.Generator,
) -> tuple[Tensor, Tensor]:
    """Textures (B, R, R, 3) as a fit leaves them: an estimate of the shading divided out, the tone guessed. Also their
    brightness (B, 3) in the unit of the true albedo."""
    batch = len(lit)
    colorful = 1.0 + 0.3 * _normal(random, batch, 1, 3)
    residual = settings.residual_shading * _normal(random, batch, SH_COUNT, 1) * colorful
    residual[:, 0] = 0.0
    flat = dull / shading.clamp(min=MINIMAL_SHADING) * torch.einsum("bhwk,bkc->bhwc", basis, residual).exp()
    color = _mean_over(lit, seen_skin)  # (B, 3)
    tone = torch.from_numpy(expected_skin_albedo(color.numpy(), AlbedoScaleSettings()))
    tone = tone * (settings.tone_log_sigma * _normal(random, batch, 1)).exp()
    scale = tone / _mean_over(flat, seen_skin).clamp(min=1e-3)
    return (flat * scale[:, None, None]).clamp(0.0, MAXIMAL_ALBEDO), scale


def _evaluate_sh(basis: Tensor, light: Tensor) -> Tensor:
    return torch.einsum("bhwk,bkc->bhwc", basis, light).clamp(min=0.0)


def _mean_over(values: Tensor, weight: Tensor) -> Tensor:
    """(B, C) weighted means of (B, R, R, C)."""
    return (values * weight).sum((1, 2)) / weight.sum((1, 2)).clamp(min=1e-3)


def _with_occluders(texture: Tensor, settings: CaptureSettings, random: torch.Generator) -> Tensor:
    batch, resolution = len(texture), texture.shape[1]
    blobs = _blobs(batch, resolution, settings.occluder_share, random)[..., None]
    gray = _uniform(random, batch, 1, 1, 1).square()
    color = torch.lerp(gray, _uniform(random, batch, 1, 1, 3).square(), OCCLUDER_SATURATION)
    return torch.lerp(texture, color, blobs)


def _blobs(batch: int, resolution: int, share: float, random: torch.Generator) -> Tensor:
    """(B, R, R) in [0, 1]: in some of them one soft-edged ellipse of a random size on the face."""
    centres = (torch.arange(resolution) + 0.5) / resolution
    v, u = torch.meshgrid(centres, centres, indexing="ij")
    centre = 0.2 + 0.6 * _uniform(random, batch, 2, 1, 1)
    angle = np.pi * _uniform(random, batch, 1, 1)
    du, dv = u - centre[:, 0], v - centre[:, 1]
    along, across = du * angle.cos() + dv * angle.sin(), dv * angle.cos() - du * angle.sin()
    radii = 0.03 + 0.17 * _uniform(random, batch, 2, 1, 1)
    distance = ((along / radii[:, 0]) ** 2 + (across / radii[:, 1]) ** 2).sqrt()
    sharpness = 3.0 + 17.0 * _uniform(random, batch, 1, 1)
    inside = torch.sigmoid((1.0 - distance) * sharpness)
    return inside * (_uniform(random, batch, 1, 1) < share)


def _displaced(maps: Tensor, largest: float, random: torch.Generator) -> Tensor:
    """Maps (B, C, R, R) smoothly shifted by up to about `largest` texels."""
    batch, resolution = len(maps), maps.shape[-1]
    knots = (2.0 * _uniform(random, batch, 2, 5, 5) - 1.0) * _uniform(random, batch, 1, 1, 1)
    shift = functional.interpolate(knots, size=(resolution, resolution), mode="bicubic", align_corners=True)
    identity = functional.affine_grid(torch.eye(2, 3).expand(batch, -1, -1), list(maps.shape), align_corners=False)
    grid = identity + shift.permute(0, 2, 3, 1) * (2.0 * largest / resolution)
    return functional.grid_sample(maps, grid, mode="bilinear", padding_mode="border", align_corners=False)


def _blurred(pictures: Tensor, largest: float, random: torch.Generator) -> Tensor:
    """Pictures (B, C, R, R), each under a Gaussian of its own width up to `largest` texels."""
    batch, channels = pictures.shape[:2]
    reach = max(1, int(np.ceil(2.0 * largest)))
    offsets = torch.arange(-reach, reach + 1, dtype=torch.float32)
    sigma = (largest * _uniform(random, batch, 1)).clamp(min=0.1)
    kernel = (-0.5 * (offsets / sigma) ** 2).exp()
    kernel = (kernel / kernel.sum(1, keepdim=True)).repeat_interleave(channels, 0)  # (B C, T)
    stacked = functional.pad(pictures.reshape(1, batch * channels, *pictures.shape[2:]), (reach,) * 4, mode="replicate")
    rows = functional.conv2d(stacked, kernel[:, None, :, None], groups=batch * channels)
    return functional.conv2d(rows, kernel[:, None, None, :], groups=batch * channels).reshape(pictures.shape)


def _uniform(random: torch.Generator, *shape: int) -> Tensor:
    return torch.rand(*shape, generator=random)


def _normal(random: torch.Generator, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=random)
