"""Fits and training for `gpu_check.py`: the same work on the CPU and on a device, with results and times."""

import tempfile
import time
from collections import defaultdict
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch
from check_clips import PreparedClip, PreparedVisibility
from check_operators import Row, milliseconds, synchronize

from fitme.fit.fitter import IncrementalFitter
from fitme.fit.state import FitState
from fitme.metrics.similarity import image_psnr
from fitme.reflectance.generator import ReflectanceGenerator
from fitme.reflectance.generator_config import GeneratorConfig
from fitme.reflectance.packaged_models import packaged_generator
from fitme.shape.morphable_model import MorphableModel
from fitme.skin.texel_geometry import default_texel_geometry
from fitme.stage import Stage
from fitme.track.identity import DlibEmbedder
from fitme.training.data.dataset import build_dataset, texel_weight
from fitme.training.generator.config import Phase, TrainingConfig
from fitme.training.generator.run import digest_of, training_start
from fitme.training.generator.trainer import Trainer

SKINS = 8
"""Painted heads that the check trains on."""
COMPONENTS = 6
"""Components of the linear model, features of the mapping network, positional maps: fewer than the skins."""
COMPARED_STEPS = 3
"""Steps of training after which losses on both devices are compared; rounding makes later ones differ."""
GENERATOR_BATCH = 4


@dataclass
class FittedClip:
    """Result of a fit."""

    seconds: dict[str, float] = field(default_factory=lambda: defaultdict(float))
    """By stage, until the first avatar, and in total."""
    losses: dict[str, float] = field(default_factory=dict)
    state: FitState | None = None
    psnr_db: float = float("nan")
    """Median over held-out frames."""
    diffuse: torch.Tensor | None = None


def fit_clip(clip: PreparedClip, model: MorphableModel, embedder: DlibEmbedder | None, device: str) -> FittedClip:
    """Fit a clip to convergence, with its correctives, as `fitme fit` does."""
    result = FittedClip()
    begin = time.perf_counter()
    fitter = IncrementalFitter(
        model, packaged_generator(), None, embedder, device,
        PreparedVisibility(clip),  # type: ignore[arg-type] -- the masks alone
    )  # fmt: skip
    for frame in clip.keyframes:
        fitter.add_keyframe(frame.keyframe)
    for frame in clip.expression_frames:
        fitter.add_expression_frame(frame.keyframe)
    result.seconds["setting up"] = time.perf_counter() - begin
    while not fitter.converged:
        task, start = fitter.next_task, time.perf_counter()
        report = fitter.refine(0.0)
        synchronize(device)
        result.seconds[f"stage {task}"] += time.perf_counter() - start
        result.losses |= report.losses
        if report.stage.has_reached(Stage.SKIN) and "first avatar" not in result.seconds:
            result.seconds["first avatar"] = time.perf_counter() - begin
    start = time.perf_counter()
    while fitter.correctives_pending:
        fitter.extract_corrective()
    fitter.apply_correctives()
    result.seconds["expression frames"] = time.perf_counter() - start
    result.seconds["total"] = time.perf_counter() - begin
    result.state, result.diffuse = fitter.state(), fitter.avatar().maps.diffuse
    scores = []
    for frame in clip.held_out:
        keyframe = frame.keyframe
        estimate = fitter.fit_frame(keyframe.observation, keyframe.image)
        image, mask = fitter.render_estimate(estimate, keyframe.observation.camera)
        region = (mask > 0) & (frame.usable > 0.5)
        scores.append(image_psnr(image, keyframe.image, region))
    result.psnr_db = float(np.median(scores)) if scores else float("nan")
    return result


def compare_fits(clip: PreparedClip, ours: FittedClip, theirs: FittedClip, device: str) -> list[Row]:
    """Times and results of a clip's fits on the CPU and on a device."""
    rows: list[Row] = []
    part = f"fit {clip.name}"
    rows += [
        (part, f"{name}: seconds on cpu over seconds on {device}", value / theirs.seconds[name])
        for name, value in ours.seconds.items()
        if theirs.seconds.get(name)
    ]
    rows += [
        (part, f"held-out PSNR on {place}, dB", found.psnr_db) for place, found in (("cpu", ours), (device, theirs))
    ]
    rows += [
        (part, f"loss {name}: {device} over cpu", theirs.losses.get(name, float("nan")) / value)
        for name, value in ours.losses.items()
        if value
    ]
    if ours.state is not None and theirs.state is not None:
        rows.append((
            part, "identity: root mean square difference, standard deviations",
            float(np.sqrt(np.square(ours.state.identity - theirs.state.identity).mean())),
        ))  # fmt: skip
        rows.append((part, "focal length: ratio", theirs.state.focal / ours.state.focal))
    if ours.diffuse is not None and theirs.diffuse is not None:
        rows.append((part, "diffuse albedo: mean difference", float((ours.diffuse - theirs.diffuse).abs().mean())))
    return rows


def compare_generators(device: str) -> list[Row]:
    """The package's generator on both devices: maps and gradients in full precision, and times as a fit computes."""
    rows: list[Row] = []
    results = {}
    for place in ("cpu", device):
        generator = packaged_generator().to(place).requires_grad_(True)
        noise = torch.randn(GENERATOR_BATCH, generator.latent_size, generator=torch.Generator().manual_seed(0)).to(
            place
        )
        for batch in (1, GENERATOR_BATCH):
            latent = generator.broadcast(generator.mapping(noise[:batch])).detach().requires_grad_()
            # Convolutions of CUDA round to TF32 unless told otherwise.
            with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
                maps = _maps_of(generator, latent)
                maps.square().mean().backward()  # type: ignore[no-untyped-call]
            assert latent.grad is not None
            results[place, batch] = maps.detach().cpu(), latent.grad.cpu()
            repeats = 3 if place == "cpu" else 20
            rows.append((
                "generator", f"{batch} x {generator.config.resolution} texels, forward and backward on {place}, ms",
                milliseconds(place, lambda g=generator, w=latent: _step(g, w), repeats),
            ))  # fmt: skip
    for batch in (1, GENERATOR_BATCH):
        (maps, gradient), (other, other_gradient) = results["cpu", batch], results[device, batch]
        rows.append(("generator", f"batch {batch}: maps: largest difference", float((maps - other).abs().max())))
        relative = (gradient - other_gradient).norm() / gradient.norm()
        rows.append(("generator", f"batch {batch}: gradient of W+: relative difference", float(relative)))
    return rows


def _maps_of(generator: ReflectanceGenerator, latent: torch.Tensor) -> torch.Tensor:
    return torch.cat(list(generator.synthesize(latent).by_name().values()), -1)


def _step(generator: ReflectanceGenerator, latent: torch.Tensor) -> None:
    generator.zero_grad(set_to_none=True)
    _maps_of(generator, latent).square().mean().backward()  # type: ignore[no-untyped-call]


def compare_training(folder: Path, device: str, steps: int, cpu_steps: int, workers: int) -> list[Row]:
    """Steps of the generator's adversarial training at full resolution on both devices.

    :param folder: of painted skins; they are painted by `workers` processes where it does not hold them.
    """
    generator = replace(
        GeneratorConfig(), linear_components=COMPONENTS, feature_count=COMPONENTS, branch_positions=COMPONENTS
    )
    phase = Phase(generator.resolution, steps, GENERATOR_BATCH, adversarial=True)
    config = TrainingConfig(phases=(phase,), warm_up_steps=1, generator=generator)
    begin = time.perf_counter()
    dataset = build_dataset(folder, SKINS, config.generator.resolution, workers=workers)
    weight = texel_weight(default_texel_geometry(config.generator.resolution))
    with tempfile.TemporaryDirectory() as temporary:
        path = Path(temporary) / "start.safetensors"
        start = training_start(path, config, dataset, digest_of(dataset), weight)
    rows: list[Row] = [("training", "painting skins and principal components, s", time.perf_counter() - begin)]
    losses: dict[str, list[dict[str, float]]] = {}
    for place, count in (("cpu", cpu_steps), (device, steps), (f"{device} bfloat16", steps)):
        where, mixed = place.split()[0], place.endswith("bfloat16")
        trainer = Trainer(replace(config, mixed_precision=mixed), dataset, weight, start, where)
        losses[place], seconds = [], []
        for _ in range(count):
            begin = time.perf_counter()
            losses[place].append(dict(trainer.train_step().losses))
            synchronize(where)
            seconds.append(time.perf_counter() - begin)
        rows.append(("training", f"{count} steps on {place}, s", sum(seconds)))
        rows.append(("training", f"a step on {place}, median, ms", 1000.0 * float(np.median(seconds))))
        last = losses[place][-1]
        rows += [("training", f"loss {name} on {place} after {count} steps", value) for name, value in last.items()]
    compared = min(COMPARED_STEPS, cpu_steps)
    ours, theirs = losses["cpu"][compared - 1], losses[device][compared - 1]
    rows += [
        ("training", f"loss {name} at step {compared}: {device} over cpu", theirs[name] / value)
        for name, value in ours.items()
        if value and name in theirs
    ]
    return rows
