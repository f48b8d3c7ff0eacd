"""Rasterizer backends compared for `gpu_check.py`: values, gradients and times of each operation and of renders."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from fitme.geometry import Camera, transform
from fitme.reflectance.maps import ReflectanceMaps
from fitme.render.light import Light
from fitme.render.occlusion import head_occlusion
from fitme.render.rasterizer import RasterizerBackend, select_backend
from fitme.render.renderer import clip_positions, render
from fitme.shape.expressions import EXPRESSION_COUNT
from fitme.shape.morphable_model import MorphableModel

Row = tuple[str, str, float]
"""Part, name and value of a figure."""

SIDE_PX = 256
BATCH = 2
MAP_RESOLUTION = 256
REPEATS = 10
RENDER_SIDES_PX = (192, 512)


@dataclass(frozen=True)
class Scene:
    """Two heads of random people before a camera, on the CPU."""

    model: MorphableModel
    vertices: Tensor
    """(B, V, 3)."""
    rotation: Tensor
    """(B, 3)."""
    translation: Tensor
    """(B, 3)."""
    maps: ReflectanceMaps
    light: Light
    occlusion: Tensor
    """(V,)."""

    def to(self, device: str) -> "Scene":
        """The scene on a device."""
        return Scene(
            self.model.to(device), self.vertices.to(device), self.rotation.to(device), self.translation.to(device),
            self.maps.to(device), self.light.to(device), self.occlusion.to(device),
        )  # fmt: skip


def make_scene(model: MorphableModel) -> Scene:
    """The scene of all comparisons."""
    random = torch.Generator().manual_seed(0)
    identity = torch.randn(BATCH, model.identity_count, generator=random) * 0.8
    expression = torch.rand(BATCH, EXPRESSION_COUNT, generator=random) * 0.2
    with torch.no_grad():
        vertices = model.vertices(identity, expression)
    smooth = torch.nn.functional.interpolate(
        torch.rand(1, 4, 32, 32, generator=random), size=MAP_RESOLUTION, mode="bicubic"
    ).clamp(0.0, 1.0)
    normals = torch.randn(1, MAP_RESOLUTION, MAP_RESOLUTION, 3, generator=random) * 0.05
    normals[..., 2] = 1.0
    maps = ReflectanceMaps(
        (0.2 + 0.5 * smooth[:, :3]).permute(0, 2, 3, 1).contiguous(),
        (0.3 + 0.4 * smooth[:, 3:]).permute(0, 2, 3, 1).contiguous(),
        torch.nn.functional.normalize(normals, dim=-1),
    )
    sh = Light.ambient(0.6).sh
    sh[0, 1], sh[0, 3] = 0.15, 0.2
    light = Light(sh, torch.tensor([[[0.6, 0.3, 0.74]]]), torch.tensor([[[0.5, 0.45, 0.4]]]))
    rotation = torch.tensor([[0.05, 0.3, 0.0], [-0.1, -0.5, 0.05]])
    translation = torch.tensor([[0.0, 0.0, -0.5], [0.01, 0.0, -0.45]])
    return Scene(model, vertices, rotation, translation, maps, light, head_occlusion(model))


def synchronize(device: str) -> None:
    """Wait until a device has done its work."""
    if device == "cuda":
        torch.cuda.synchronize()


def milliseconds(device: str, work: Callable[[], object], repeats: int = REPEATS) -> float:
    """Mean time of a call, after two to warm up."""
    for _ in range(2):
        work()
    synchronize(device)
    begin = time.perf_counter()
    for _ in range(repeats):
        work()
    synchronize(device)
    return 1000.0 * (time.perf_counter() - begin) / repeats


def compare_operators(model: MorphableModel, device: str, backend: RasterizerBackend) -> list[Row]:
    """Values and gradients of the four operations on a head against those of the CPU backend."""
    scene = make_scene(model)
    camera = Camera.centered(0.95 * SIDE_PX, SIDE_PX, SIDE_PX)
    clip = clip_positions(transform(scene.rotation, scene.translation, scene.vertices), [camera])
    here = _operations(select_backend("cpu"), scene, clip)
    there = _operations(backend, scene.to(device), clip.to(device))
    rows: list[Row] = []
    # Triangles may differ where two are equally near; all else is compared where they agree.
    ours, theirs = (found["rasterize"][0] for found in (here, there))
    same = (ours[..., 3] == theirs[..., 3]) & (ours[..., 3] > 0)
    covered = ours[..., 3] > 0
    rows.append(("rasterize", "share of covered pixels with another triangle", 1.0 - _share(same, covered)))
    rows.append(("rasterize", "pixels covered by one alone", float((covered != (theirs[..., 3] > 0)).sum())))
    for name, (value, gradients) in here.items():
        other, other_gradients = there[name]
        channels = slice(0, 3) if name == "rasterize" else slice(None)
        difference = (value[..., channels] - other[..., channels]).abs()[same]
        rows.append((name, "values: largest difference where triangles agree", float(difference.max())))
        rows.append((name, "values: mean difference there", float(difference.mean())))
        for which, gradient in gradients.items():
            rows.append(
                (name, f"gradient of {which}: relative difference", _relative(gradient, other_gradients[which]))
            )
    return rows


def _operations(backend: RasterizerBackend, scene: Scene, clip: Tensor) -> dict[str, tuple[Tensor, dict[str, Tensor]]]:
    """Result of each operation on the CPU, and gradients of its product with a fixed pattern."""
    model, results = scene.model, {}

    def run(name: str, result: Tensor, leaves: dict[str, Tensor]) -> None:
        pattern = _pattern(result)
        if name == "rasterize":
            pattern = pattern * torch.tensor([1.0, 1.0, 0.0, 0.0], device=pattern.device)
        found = torch.autograd.grad((result * pattern).sum(), list(leaves.values()))
        results[name] = (
            result.detach().cpu(),
            {leaf: value.cpu() for leaf, value in zip(leaves, found, strict=True)},
        )

    positions = clip.clone().requires_grad_()
    rast = backend.rasterize(positions, model.triangles, (SIDE_PX, SIDE_PX))
    run("rasterize", rast, {"positions": positions})
    rast = rast.detach().requires_grad_()
    attributes = scene.vertices.clone().requires_grad_()
    run("interpolate", backend.interpolate(attributes, rast, model.triangles), {"attributes": attributes, "rast": rast})
    with torch.no_grad():
        place = backend.interpolate(model.uv[None], rast.detach(), model.uv_triangles)
    uv, texture = place.clone().requires_grad_(), scene.maps.diffuse.clone().requires_grad_()
    sampled = backend.texture(texture, uv)
    run("texture", sampled, {"texture": texture, "uv": uv})
    color = (sampled * (rast[..., 3:] > 0)).detach().requires_grad_()
    positions = clip.clone().requires_grad_()
    blended = backend.antialias(color, rast.detach(), positions, model.triangles)
    run("antialias", blended, {"color": color, "positions": positions})
    return results


def compare_renders(model: MorphableModel, device: str, backend: RasterizerBackend) -> list[Row]:
    """Renders of both backends: their difference, that of the gradients, and times."""
    rows: list[Row] = []
    scene, cpu = make_scene(model), select_backend("cpu")
    there = scene.to(device)
    for side in RENDER_SIDES_PX:
        camera = Camera.centered(0.95 * side, side, side)
        for shadows in (False, True):
            label = f"{side} px{' with cast shadows' if shadows else ''}"
            ours, our_gradients = _rendered(scene, camera, cpu, shadows=shadows)
            theirs, their_gradients = _rendered(there, camera, backend, shadows=shadows)
            error = (ours - theirs).square().mean()
            rows.append(("render", f"{label}: PSNR of one against the other, dB", float(-10.0 * error.log10())))
            for name, gradient in our_gradients.items():
                difference = _relative(gradient, their_gradients[name])
                rows.append(("render", f"{label}: gradient of {name}: relative difference", difference))
        for name, where, place, rasterizer in (("cpu", "cpu", scene, cpu), (device, device, there, backend)):
            rows.append((
                "render", f"{side} px, two heads, forward on {name}, ms",
                milliseconds(where, partial(_forward, place, camera, rasterizer)),
            ))  # fmt: skip
            rows.append((
                "render", f"{side} px, two heads, forward and backward on {name}, ms",
                milliseconds(where, partial(_rendered, place, camera, rasterizer, shadows=False)),
            ))  # fmt: skip
    return rows


@torch.no_grad()
def _forward(scene: Scene, camera: Camera, backend: RasterizerBackend) -> Tensor:
    return render(
        scene.model, scene.vertices, scene.rotation, scene.translation, camera, scene.maps, scene.light,
        occlusion=scene.occlusion, shadows=False, backend=backend,
    ).image  # fmt: skip


def _rendered(
    scene: Scene, camera: Camera, backend: RasterizerBackend, *, shadows: bool
) -> tuple[Tensor, dict[str, Tensor]]:
    """Render on the CPU and gradients of its squares' mean."""
    leaves = {
        "vertices": scene.vertices.clone().requires_grad_(),
        "rotation": scene.rotation.clone().requires_grad_(),
        "albedo": scene.maps.diffuse.clone().requires_grad_(),
        "light": scene.light.sh.clone().requires_grad_(),
    }
    maps = ReflectanceMaps(leaves["albedo"], scene.maps.specular, scene.maps.normals)
    light = Light(leaves["light"], scene.light.directions, scene.light.colors)
    image = render(
        scene.model, leaves["vertices"], leaves["rotation"], scene.translation, camera, maps, light,
        occlusion=scene.occlusion, shadows=shadows, backend=backend,
    ).image  # fmt: skip
    gradients = torch.autograd.grad((image - 0.3).square().mean(), list(leaves.values()))
    return image.detach().cpu(), {name: value.cpu() for name, value in zip(leaves, gradients, strict=True)}


def _pattern(like: Tensor) -> Tensor:
    """Fixed pseudo-random weights in the shape and on the device of a tensor."""
    return torch.rand(like.shape, generator=torch.Generator().manual_seed(1)).to(like.device)


def _share(part: Tensor, whole: Tensor) -> float:
    return float((part & whole).sum() / whole.sum())


def _relative(ours: Tensor, theirs: Tensor) -> float:
    """Norm of the difference over the norm."""
    return float((ours - theirs).norm() / ours.norm().clamp(min=1e-30))
