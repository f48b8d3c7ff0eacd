"""Simulated observations of reflectance maps: textures as a fit unprojects them from images, partly hidden, under
random light, blurred and noisy. They are the inputs that the texture encoder is trained on.

Textures are of two kinds, as in a fit: *lit* ones, sampled from one image, and *fused* ones, whose light a fit has
divided out with an error and whose albedo scale it has estimated from the brightness of the images
(`fitme.fit.lighting.albedo_scale`). Both are in the layout of the default model.
"""

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as functional
from torch import Tensor

from fitme.arrays import Float32Array
from fitme.color import LUMINANCE, linear_to_srgb, srgb_to_linear
from fitme.fit.lighting.albedo_scale import AlbedoScaleSettings, expected_skin_albedo
from fitme.fit.lighting.spherical_harmonics import LIGHT_REGIONS, MINIMAL_SHADING
from fitme.fit.texture.divided_light import MAXIMAL_ALBEDO
from fitme.fit.texture.settings import FusionSettings
from fitme.fit.texture.unprojection import texel_table, unproject
from fitme.fit.texture.visibility import AROUND_GROWTH, AROUND_WEIGHT
from fitme.geometry import Camera, transform
from fitme.render.reflection import HEMISPHERICAL_REFLECTANCE, SH_COUNT
from fitme.render.shading import sh_basis
from fitme.shape.expressions import EXPRESSION_NAMES, expression_index
from fitme.shape.morphable_model import MorphableModel
from fitme.shape.regions import Region
from fitme.synthetic.lights import smooth_lights
from fitme.track.oval import oval_mask

IMAGE_SIZE = 192
"""Pixels a side of the images whose visible texels are computed; the images themselves are never rendered."""
HEAD_DISTANCE_M = 0.5
FOCAL = 1.25
"""Focal length over the side of the image."""
MOVING = {"jawOpen": 0.5, "mouthSmileLeft": 0.6, "mouthSmileRight": 0.6, "eyeBlinkLeft": 0.4, "eyeBlinkRight": 0.4}
"""Expressions that change the visible texels, and the largest coefficient of each."""
IDENTITY_SIGMA = 0.6
"""Standard deviation of the identity coefficients of the simulated heads."""

OCCLUDER_SATURATION = 0.35
"""Colourfulness, in [0, 1], of objects between camera and face, such as hair and glasses: most are grey."""


@dataclass(frozen=True)
class CaptureSettings:
    """Distribution of the simulated images and of the errors of a fit. Angles are standard deviations unless named
    largest."""

    yaw_deg: float = 28.0
    largest_yaw_deg: float = 60.0
    pitch_deg: float = 10.0
    roll_deg: float = 6.0
    largest_views: int = 8
    """Largest number of images that a fused texture combines."""
    lit_share: float = 0.5
    """Share of lit textures, which still contain the light of one image; the others are fused."""
    mean_shading: float = 0.6
    """Median shading of the visible skin in a well exposed image."""
    exposure_log_sigma: float = 0.4
    """Standard deviation of the logarithm of the exposure."""
    white_balance_log_sigma: float = 0.08
    """Standard deviation of the logarithm of the camera's white-balance error per channel."""
    light_tint_log_sigma: float = 0.1
    """Standard deviation of the logarithm of the colour of single lights, warm to cold."""
    directional_share: tuple[float, float] = (0.1, 0.9)
    """Range of the share of directional light in all light."""
    residual_shading: float = 0.09
    """Light left in a fused texture: standard deviation of the order-1 and order-2 spherical-harmonic coefficients of
    its logarithm."""
    albedo_scale_log_sigma: float = 0.1
    """Standard deviation of the logarithm of a fused texture's albedo scale beyond the estimator's own error."""
    largest_blur: float = 1.2
    """Largest standard deviation of the blur, texels of maps of 64 a side."""
    largest_noise: float = 0.03
    """Largest standard deviation of the noise, sRGB-encoded."""
    largest_shift: float = 1.2
    """Largest misregistration, texels of maps of 64 a side."""
    hole_share: float = 0.5
    """Share of textures of which an object, such as a hand, hides a part that is marked invisible."""
    occluder_share: float = 0.15
    """Share of textures with an undetected occluder, such as a strand of hair, that is marked visible."""


@dataclass(frozen=True, eq=False)
class Views:
    """Visibility and directions of each texel in K random poses of random heads."""

    weight: Tensor
    """(K, R, R) as `fitme.fit.texture.unprojection.TexelObservation.weight`, in [0, 1]."""
    normals: Tensor
    """(K, R, R, 3) unit, view space; zero where the layout has no texel."""
    mirror: Tensor
    """(K, R, R, 3) unit mirror directions of the direction to the viewer, view space."""
    skin: Tensor
    """(R, R) bool: texels from which a fit estimates light and albedo scale."""
    occlusion: Tensor
    """(R, R) ambient occlusion: share of the surroundings' light that reaches each texel."""

    def to(self, device: torch.device) -> "Views":
        """The views on a device."""
        return Views(**{name: tensor.to(device) for name, tensor in vars(self).items()})


@dataclass(frozen=True, eq=False)
class TextureObservation:
    """Simulated inputs of the encoder, and the maps that it is to estimate."""

    texture: Tensor
    """(B, R, R, 3) sRGB-encoded; arbitrary where nothing is visible."""
    visibility: Tensor
    """(B, R, R, 1) in [0, 1], 0 where nothing is visible."""
    delighted: Tensor
    """(B,) bool: whether a texture is fused."""
    target: Tensor
    """(B, 6, R, R) maps that explain the texture: the true ones for lit textures; those of fused textures are scaled by
    the texture's error of albedo scale, which is ambiguous with the light's brightness."""


def random_yaws(count: int, settings: CaptureSettings, seed: int) -> Float32Array:
    """Yaw angles (count,), degrees, from the distribution of the settings."""
    yaws = np.random.default_rng(seed).normal(0.0, settings.yaw_deg, count)
    return np.clip(yaws, -settings.largest_yaw_deg, settings.largest_yaw_deg).astype(np.float32)


def measure_views(
    model: MorphableModel,
    yaws_deg: Float32Array,  # (K,)
    resolution: int,
    settings: CaptureSettings,
    seed: int,
) -> Views:
    """Visibility of random heads turned to the given yaws, degrees, computed by the fit's own unprojection.
    Deterministic from the seed."""
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
        view = unproject(table, model, posed, camera, blank, usable)
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
    """Encoder inputs of maps, on the device of maps, views and `random`. With `chosen`, every texture is a lit one of
    its view; otherwise views and kinds are drawn at random."""
    batch, resolution = len(maps), maps.shape[-1]
    if chosen is None:
        fused, first, weight = _draw_views(batch, views, settings, random)
    else:
        fused, first, weight = torch.zeros(batch, dtype=torch.bool, device=maps.device), chosen, views.weight[chosen]
    visibility = weight / (weight + FusionSettings().confident_weight)  # (B, R, R)
    visible_skin = (visibility * views.skin)[..., None]  # (B, R, R, 1)

    # Misregistration comes before the light: the image has shaded the true texels.
    unit = resolution / 64.0
    albedo = srgb_to_linear(maps[:, :3].clamp(0.0, 1.0))
    moved = _displaced(torch.cat([albedo, maps[:, 3:4]], 1), settings.largest_shift * unit, random)
    lit = _illuminate(moved, views, first, visible_skin, settings, random)

    # A fit would divide out the light that it estimates; both variants are computed, as a batch mixes them.
    delighted, scale = _view_albedos(lit, visible_skin, settings, random)
    texture = torch.where(fused[:, None, None, None], delighted, lit.texture)
    scaled = linear_to_srgb((srgb_to_linear(maps[:, :3]) * scale[:, :, None, None]).clamp(0.0, MAXIMAL_ALBEDO))
    diffuse = torch.where(fused[:, None, None, None], scaled, maps[:, :3])

    # Occluders and the camera's own errors come last.
    texture = _with_occluders(texture, settings, random)
    visibility = visibility * (1.0 - _blobs(batch, resolution, settings.hole_share, random))
    encoded = linear_to_srgb(texture)
    encoded = _blurred(encoded.permute(0, 3, 1, 2), settings.largest_blur * unit, random).permute(0, 2, 3, 1)
    noise = settings.largest_noise * _uniform(random, batch, 1, 1, 1) * _normal(random, *encoded.shape)
    target = torch.cat([diffuse, maps[:, 3:]], 1)
    return TextureObservation((encoded + noise).clamp(0.0, 1.0), visibility[..., None], fused, target)


@dataclass(frozen=True, eq=False)
class _LitTexture:
    """Textures under random light, and the estimates of a fit that divides the light out. Linear."""

    texture: Tensor
    """(B, R, R, 3)."""
    diffuse: Tensor
    """(B, R, R, 3) less the specular term as far as a fit estimates it."""
    shading: Tensor
    """(B, R, R, 3)."""
    basis: Tensor
    """(B, R, R, 9) spherical harmonics of the normals."""


def _draw_views(
    batch: int, views: Views, settings: CaptureSettings, random: torch.Generator
) -> tuple[Tensor, Tensor, Tensor]:
    """Whether textures are fused (B,), the first view of each (B,), and the summed weight of all its views (B, R,
    R)."""
    fused = _uniform(random, batch) >= settings.lit_share
    first = torch.randint(len(views.weight), (batch,), generator=random, device=random.device)
    weight = views.weight[first]
    further = torch.floor((settings.largest_views - 1) * _uniform(random, batch)) * fused
    for index in range(settings.largest_views - 1):
        another = torch.randint(len(views.weight), (batch,), generator=random, device=random.device)
        weight = weight + views.weight[another] * (index < further)[:, None, None]
    return fused, first, weight


def _illuminate(
    moved: Tensor,  # (B, 4, R, R) linear diffuse and specular albedo
    views: Views,
    first: Tensor,  # (B,)
    visible_skin: Tensor,  # (B, R, R, 1)
    settings: CaptureSettings,
    random: torch.Generator,
) -> _LitTexture:
    """Shade albedos under a random light each, exposed for the visible skin."""
    batch = len(moved)
    albedo, specular = moved[:, :3].permute(0, 2, 3, 1), moved[:, 3:].permute(0, 2, 3, 1)
    basis, mirrored = sh_basis(views.normals[first]), sh_basis(views.mirror[first])  # (B, R, R, 9)
    # Lights are few numbers, drawn on the CPU.
    drawing = random if random.device.type == "cpu" else torch.Generator().manual_seed(_seed(random))
    light = smooth_lights(batch, settings.directional_share, settings.light_tint_log_sigma, drawing).to(moved)
    shading = _evaluate_sh(basis, light).clamp(min=MINIMAL_SHADING / 2.0)
    # Exposure and white balance scale the light such that skin has a usual brightness.
    exposure = settings.mean_shading * (settings.exposure_log_sigma * _normal(random, batch)).exp()
    exposure = exposure / (_mean_over(shading, visible_skin) @ torch.from_numpy(LUMINANCE).to(shading)).clamp(min=1e-3)
    balance = (settings.white_balance_log_sigma * _normal(random, batch, 3)).exp() * exposure[:, None]
    shading, light = shading * balance[:, None, None], light * balance[:, None]
    specular_term = HEMISPHERICAL_REFLECTANCE * specular * _evaluate_sh(mirrored, light)
    occlusion = views.occlusion[..., None]
    texture = (occlusion * (albedo * shading + specular_term)).clamp(max=1.0)
    # A fit estimates between half and all of the specular term.
    estimated_specular = occlusion * specular_term * (0.5 + 0.5 * _uniform(random, batch, 1, 1, 1))
    return _LitTexture(texture, (texture - estimated_specular).clamp(min=0.0), occlusion * shading, basis)


def _view_albedos(
    lit: _LitTexture,
    visible_skin: Tensor,  # (B, R, R, 1)
    settings: CaptureSettings,
    random: torch.Generator,
) -> tuple[Tensor, Tensor]:
    """De-lit textures (B, R, R, 3) as a fit leaves them, and their scale (B, 3) relative to the true albedo: an
    erroneous shading is divided out, and the albedo scale is estimated."""
    batch = len(lit.texture)
    colorful = 1.0 + 0.3 * _normal(random, batch, 1, 3)
    residual = settings.residual_shading * _normal(random, batch, SH_COUNT, 1) * colorful
    residual[:, 0] = 0.0  # the level is the albedo scale's
    error = torch.einsum("bhwk,bkc->bhwc", lit.basis, residual).exp()
    flat = lit.diffuse / lit.shading.clamp(min=MINIMAL_SHADING) * error
    color = _mean_over(lit.texture, visible_skin)  # (B, 3)
    skin_tone = torch.from_numpy(expected_skin_albedo(color.cpu().numpy(), AlbedoScaleSettings())).to(color)
    skin_tone = skin_tone * (settings.albedo_scale_log_sigma * _normal(random, batch, 1)).exp()
    scale = skin_tone / _mean_over(flat, visible_skin).clamp(min=1e-3)
    return (flat * scale[:, None, None]).clamp(0.0, MAXIMAL_ALBEDO), scale


def _evaluate_sh(basis: Tensor, light: Tensor) -> Tensor:
    """Non-negative values (B, R, R, 3) of spherical harmonics (B, 9, 3) at a basis (B, R, R, 9)."""
    return torch.einsum("bhwk,bkc->bhwc", basis, light).clamp(min=0.0)


def _mean_over(values: Tensor, weight: Tensor) -> Tensor:
    """Weighted means (B, C) of values (B, R, R, C)."""
    return (values * weight).sum((1, 2)) / weight.sum((1, 2)).clamp(min=1e-3)


def _with_occluders(texture: Tensor, settings: CaptureSettings, random: torch.Generator) -> Tensor:
    """Textures (B, R, R, 3), some with an elliptic occluder of a random, mostly grey colour."""
    batch, resolution = len(texture), texture.shape[1]
    blobs = _blobs(batch, resolution, settings.occluder_share, random)[..., None]
    gray = _uniform(random, batch, 1, 1, 1).square()
    color = torch.lerp(gray, _uniform(random, batch, 1, 1, 3).square(), OCCLUDER_SATURATION)
    return torch.lerp(texture, color, blobs)


def _blobs(batch: int, resolution: int, share: float, random: torch.Generator) -> Tensor:
    """Masks (B, R, R) in [0, 1]: a share of them contains a soft-edged ellipse of a random size on the face."""
    centres = (torch.arange(resolution, device=random.device) + 0.5) / resolution
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
    """Maps (B, C, R, R) with a smooth random displacement of up to about `largest` texels."""
    batch, resolution = len(maps), maps.shape[-1]
    knots = (2.0 * _uniform(random, batch, 2, 5, 5) - 1.0) * _uniform(random, batch, 1, 1, 1)
    shift = functional.interpolate(knots, size=(resolution, resolution), mode="bicubic", align_corners=True)
    identity = functional.affine_grid(
        torch.eye(2, 3, device=maps.device).expand(batch, -1, -1), list(maps.shape), align_corners=False
    )
    grid = identity + shift.permute(0, 2, 3, 1) * (2.0 * largest / resolution)
    return functional.grid_sample(maps, grid, mode="bilinear", padding_mode="border", align_corners=False)


def _blurred(images: Tensor, largest: float, random: torch.Generator) -> Tensor:
    """Images (B, C, R, R), each blurred by a Gaussian of a random width up to `largest` texels."""
    batch, channels = images.shape[:2]
    reach = max(1, int(np.ceil(2.0 * largest)))
    offsets = torch.arange(-reach, reach + 1, dtype=torch.float32, device=images.device)
    sigma = (largest * _uniform(random, batch, 1)).clamp(min=0.1)
    kernel = (-0.5 * (offsets / sigma) ** 2).exp()
    kernel = (kernel / kernel.sum(1, keepdim=True)).repeat_interleave(channels, 0)  # (B C, T)
    stacked = functional.pad(images.reshape(1, batch * channels, *images.shape[2:]), (reach,) * 4, mode="replicate")
    rows = functional.conv2d(stacked, kernel[:, None, :, None], groups=batch * channels)
    return functional.conv2d(rows, kernel[:, None, None, :], groups=batch * channels).reshape(images.shape)


def _seed(random: torch.Generator) -> int:
    return int(torch.randint(2**62, (1,), generator=random, device=random.device))


def _uniform(random: torch.Generator, *shape: int) -> Tensor:
    return torch.rand(*shape, generator=random, device=random.device)


def _normal(random: torch.Generator, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=random, device=random.device)
