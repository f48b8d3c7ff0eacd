"""Run of the training on people in a folder (`fitme train people`).

::

    checkpoint-000500/         state from which the run is resumed, see `fitme.training.generator.checkpoint`
    generator.safetensors      weights of the generator, averaged, its mapping network fitted to the people's latents
    encoder.safetensors        texture encoder of that generator
    map_encoder.safetensors    encoder of whole maps, for measurements
    losses.csv                 losses of every step
    samples.png                maps of random samples: diffuse albedo, specular albedo, normals
    rebuilt.png                heads mixed from people above the generator's reconstructions; shows people: not to ship
"""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from rich.console import Console
from safetensors.torch import save_file
from torch import Tensor

from fitme.atomic_file import atomic_file
from fitme.reflectance.layers import downsample
from fitme.reflectance.raw_outputs import decode, encode_raw
from fitme.reflectance.texture_encoder import load_body, save_encoder
from fitme.reflectance.weights import load_generator, save_generator
from fitme.training.contact_sheets import map_sheet, sample_maps, write_image
from fitme.training.encoder.trainer import EncoderTrainer
from fitme.training.generator.checkpoint import (
    latest_checkpoint,
    load_checkpoint,
    require_same_settings,
    save_checkpoint,
    settings_text,
)
from fitme.training.generator.loss_curves import LossRecord, LossRow
from fitme.training.generator.run import device_of, stop_requests
from fitme.training.people.config import PeopleTrainingConfig, load_people_config
from fitme.training.people.mixing import PeopleBank
from fitme.training.people.people_set import load_people_set
from fitme.training.people.trainer import PeopleTrainer
from fitme.training.people.views_file import load_views

GENERATOR_NAME, ENCODER_NAME, MAP_ENCODER_NAME = (
    "generator.safetensors",
    "encoder.safetensors",
    "map_encoder.safetensors",
)
LOSSES_NAME, SAMPLES_NAME, REBUILT_NAME = "losses.csv", "samples.png", "rebuilt.png"
SHEET_COLUMNS = 6
REPORT_SECONDS = 10.0
"""Wall time between two printed lines."""
ENCODER_HEADS = 4096
"""Random heads that the texture encoder is trained on."""
DRAW_BATCH = 16


@dataclass(frozen=True)
class PeopleOutcome:
    """State of a run at the end of a call."""

    step: int
    finished: bool
    """Whether the generator's wall time is over and all files are written."""


def train_people(
    config: Path,
    out: Path,
    data: Path,
    start: Path,
    *,
    start_encoder: Path | None = None,
    device: str = "cpu",
    seconds: float | None = None,
    console: Console | None = None,
) -> PeopleOutcome:
    """Start the run of the folder `out`, or resume it, until it is finished or the call's time is over.

    :param data: a set of `fitme data build --people`.
    :param start: weights of the generator to begin with and to rehearse.
    :param start_encoder: texture encoder whose body is the start of the new one's.
    :param seconds: wall time of this call's training of the generator.
    :raises ConfigError: for impossible settings.
    :raises InputError: for data that cannot be used.
    :raises ModelFileError: for weights or a checkpoint that are damaged or of other settings.
    :raises BackendError: for a device that is not available.
    """
    began = time.monotonic()
    settings, torch_device = load_people_config(config), device_of(device)
    console = console or Console()
    if torch_device.type == "cuda":
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True
        torch.backends.cudnn.benchmark = True
    bank = PeopleBank(load_people_set(data), torch_device)
    trainer = PeopleTrainer(settings, bank, load_generator(start), torch_device)
    out.mkdir(parents=True, exist_ok=True)
    if (path := latest_checkpoint(out)) is not None:
        found = load_checkpoint(path)
        require_same_settings(path, found.config_text, settings_text(settings))
        trainer.restore(found.state)
        console.print(f"resuming from {path}", markup=False)
    _train(trainer, settings, out, seconds, began, console)
    if trainer.progress < 1.0:
        save_checkpoint(out, trainer.state(), trainer.step, settings_text(settings))
        return PeopleOutcome(trainer.step, False)
    _write_generator(trainer, out)
    console.print(f"{time.monotonic() - began:.0f} s: generator written", markup=False)
    _train_encoder(trainer, settings, data, out, start_encoder, torch_device, console)
    console.print(f"{time.monotonic() - began:.0f} s: encoder written", markup=False)
    return PeopleOutcome(trainer.step, True)


def _train(
    trainer: PeopleTrainer,
    settings: PeopleTrainingConfig,
    out: Path,
    seconds: float | None,
    began: float,
    console: Console,
) -> None:
    """Train until the generator's wall time or the call's is over, with checkpoints in between."""
    record = LossRecord(out / LOSSES_NAME, trainer.step)
    printed = saved = time.monotonic()
    with stop_requests() as stop_requested:
        while trainer.progress < 1.0:
            report = trainer.train_step()
            now = time.monotonic()
            record.write(
                LossRow(report.step, trainer.seconds, report.resolution, n, v) for n, v in report.losses.items()
            )
            if now - printed > REPORT_SECONDS:
                printed = now
                values = " ".join(f"{name} {value:.4f}" for name, value in report.losses.items())
                console.print(
                    f"{trainer.seconds:.0f} s, step {report.step}, {report.resolution}: {values}", markup=False
                )
            if now - saved > settings.checkpoint_seconds:
                record.flush()
                save_checkpoint(out, trainer.state(), trainer.step, settings_text(settings))
                saved = time.monotonic()
            if stop_requested() or (seconds is not None and now - began > seconds):
                break
    record.close()


def _write_generator(trainer: PeopleTrainer, out: Path) -> None:
    """Write the finished generator, the encoder of maps, and contact sheets."""
    generator = trainer.finished_generator()
    save_generator(generator, out / GENERATOR_NAME)
    with atomic_file(out / MAP_ENCODER_NAME) as partial:
        state = trainer.encoder_average.state_dict()
        save_file({name: value.half().cpu().contiguous() for name, value in state.items()}, partial)
    write_image(map_sheet(sample_maps(generator, SHEET_COLUMNS)), out / SAMPLES_NAME)
    sheets = [map_sheet(decode(encode_raw(maps.cpu()))) for maps in trainer.rebuilt(SHEET_COLUMNS)]
    write_image(torch.cat([torch.from_numpy(sheet) for sheet in sheets]).numpy(), out / REBUILT_NAME)


def _train_encoder(
    trainer: PeopleTrainer,
    settings: PeopleTrainingConfig,
    data: Path,
    out: Path,
    start: Path | None,
    device: torch.device,
    console: Console,
) -> None:
    """Train the texture encoder of the written generator, and write it."""
    encoder = settings.encoder
    # The written weights are rounded: an encoder belongs to exactly these.
    generator = load_generator(out / GENERATOR_NAME)
    maps = torch.cat(list(_small_heads(trainer, encoder.network.resolution)))
    training = EncoderTrainer(
        generator, maps, encoder.training, encoder.network, encoder.capture, views=load_views(data), device=device
    )
    if start is not None:
        own = training.encoder.state_dict()
        body = load_body(start)
        training.set_body({name: value for name, value in body.items() if own[name].shape == value.shape})
    for phase in (training.learn_components(), training.learn_samples(), training.learn_maps()):
        for report in phase:
            if report.step % 100 == 0 or report.step == report.steps:
                console.print(f"{report.phase} {report.step}: {report.loss:.4f}", markup=False)
    trained = training.encoder.cpu()
    save_encoder(trained, out / ENCODER_NAME)


def _small_heads(trainer: PeopleTrainer, resolution: int) -> Iterator[Tensor]:
    """Random heads (B, 6, r, r) on the bank's device, `ENCODER_HEADS` in all."""
    random = torch.Generator(trainer.bank.device).manual_seed(2)
    for _ in range(ENCODER_HEADS // DRAW_BATCH):
        maps = trainer.bank.draw(DRAW_BATCH, random).maps
        yield downsample(maps, maps.shape[-1] // resolution).half()
