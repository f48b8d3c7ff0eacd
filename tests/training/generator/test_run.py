"""Run in its folder: calls in parts end with the weights of a whole run, the best weights are kept, another run's
folder is not touched."""

import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import load_file
from typer.testing import CliRunner

from fitme.commands.train import app
from fitme.errors import BackendError, ConfigError, FitmeError, InputError, ModelFileError
from fitme.reflectance.generator import ReflectanceGenerator
from fitme.reflectance.weights import load_generator
from fitme.training.data.dataset import build_dataset
from fitme.training.generator.checkpoint import latest_checkpoint, load_checkpoint
from fitme.training.generator.config import load_training_config
from fitme.training.generator.loss_curves import MEASURE, read_rows
from fitme.training.generator.run import Outcome, RunBudget, train
from fitme.training.objectives.discriminator import BranchedDiscriminator
from fitme.training.objectives.reconstruction import by_modality, encoded_outputs

CONFIGS = Path(__file__).parents[3] / "configs"
STEPS = 8
THREADS = 1
# Checkpoints after steps 3 and 6, measurements after steps 4 and 8.
SETTINGS = {
    "skins": 6,
    "data_workers": 1,
    "phases": [
        {"resolution": 16, "steps": 3, "batch": 2},
        {"resolution": 64, "steps": STEPS - 3, "batch": 2, "adversarial": True},
    ],
    "warm_up_steps": 1,
    "path_length_weight": 0.1,
    "path_length_interval": 2,
    "path_length_resolution": 16,
    "checkpoint_steps": 3,
    "sample_steps": 4,
    "measured_heads": 2,
    "adversary": {"interval": 1, "augmentation_images": 8},
    "generator": {
        "resolution": 64,
        "noise_size": 8,
        "latent_size": 12,
        "mapping_layers": 2,
        "trunk_channels": [16, 16, 12],
        "branches": {"diffuse": [8, 6], "specular": [4, 4], "normals": [6, 4]},
        "trunk_positions": 2,
        "branch_positions": 3,
        "feature_count": 5,
        "detail_maps": [3, 2, 2],
        "linear_components": 5,
        "linear_resolution": 32,
    },
    "discriminator": {"resolution": 32, "branch_channels": [4, 6], "joint_channels": [8, 8]},
}


def settings_file(folder: Path, **changes: object) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "settings.yaml"
    path.write_text(yaml.safe_dump({**SETTINGS, **changes}))
    return path


@pytest.fixture(scope="module")
def maps(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("training_maps")
    build_dataset(folder, 6, 64)
    return folder


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """Sums depend on how many threads share them, so every run of this module uses as many."""
    before = torch.get_num_threads()
    torch.set_num_threads(THREADS)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, maps: Path) -> tuple[Path, Outcome]:
    """A run that was never stopped."""
    folder = tmp_path_factory.mktemp("whole")
    return folder / "run", train(settings_file(folder), folder / "run", data=maps)


def weights_of(run: Path, name: str) -> dict[str, torch.Tensor]:
    return load_file(run / f"{name}.safetensors")


def figures_of(run: Path) -> list[tuple[int, str, float]]:
    return [(row.step, row.loss, row.value) for row in read_rows(run / "losses.csv")]


def assert_equal_state(found: object, expected: object) -> None:
    if isinstance(expected, torch.Tensor):
        assert torch.equal(found, expected)
    elif isinstance(expected, dict):
        assert found.keys() == expected.keys()
        for key, value in expected.items():
            assert_equal_state(found[key], value)
    elif isinstance(expected, list | tuple):
        assert len(found) == len(expected)
        for one, other in zip(found, expected, strict=True):
            assert_equal_state(one, other)
    else:
        assert found == expected


def assert_same_run(run: Path, other: Path) -> None:
    """Equal to the bit: weights, optimisers, augmentation, record."""
    for name in ("generator", "last"):
        assert_equal_state(weights_of(run, name), weights_of(other, name))
    assert figures_of(run) == figures_of(other)
    found, expected = (load_checkpoint(latest_checkpoint(folder)) for folder in (run, other))
    assert found.config_text == expected.config_text
    assert_equal_state(found.state, expected.state)


def test_a_run_leaves_weights_curves_and_pictures(whole):
    run, outcome = whole
    assert outcome.finished and outcome.step == STEPS and outcome.checkpoint.name == "checkpoint-000008"
    names = {path.name for path in run.iterdir()}
    assert names == {
        "checkpoint-000008", "generator.safetensors", "last.safetensors", "losses.csv", "curves.png",
        "samples_000004.png", "samples_000008.png", "rebuilt_000004.png", "rebuilt_000008.png", "held_out",
        "start.safetensors",
    }  # fmt: skip
    assert load_generator(run / "generator.safetensors").config.resolution == 64
    figures = figures_of(run)
    assert {loss for _, loss, _ in figures} >= {"maps_16", "maps_64", "adversarial", "discriminator", "path_length"}


def test_the_best_weights_are_kept_and_not_the_last(whole):
    run, outcome = whole
    measured = {step: value for step, loss, value in figures_of(run) if loss == MEASURE}
    assert list(measured) == [4, 8]
    assert outcome.best_db == pytest.approx(max(measured.values()), rel=1e-4)
    best, last = weights_of(run, "generator"), weights_of(run, "last")
    assert all(torch.equal(best[name], last[name]) for name in last) == (measured[8] > measured[4])


def test_pieces_give_what_a_whole_run_gives(whole, maps, tmp_path):
    config, run = settings_file(tmp_path), tmp_path / "run"
    assert train(config, run, data=maps, budget=RunBudget(steps=2)).step == 2
    assert train(config, run, data=maps, budget=RunBudget(minutes=0.0)).step == 3
    assert not (run / "last.safetensors").exists()
    third = train(config, run, data=maps, budget=RunBudget(steps=2))
    assert third.step == 5 and not third.finished and third.best_db is not None
    last = train(config, run, data=maps)
    assert last == Outcome(STEPS, True, whole[1].best_db, run / "checkpoint-000008")
    assert_same_run(run, whole[0])
    assert train(config, run, data=maps) == last
    assert_same_run(run, whole[0])


def running(config: Path, run: Path, maps: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "fitme.cli", "train", "reflectance", "--config", config, "--out", run]
    options = ["--data", str(maps), "--device", "cpu", "--threads", str(THREADS)]
    return subprocess.Popen([*map(str, command), *options], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def wait_for(condition: Callable[[], object], process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 120.0
    while not condition():
        assert time.monotonic() < deadline and process.poll() is None
        time.sleep(0.005)


def test_a_killed_run_is_resumed_to_the_same_weights(whole, maps, tmp_path):
    config, run = settings_file(tmp_path, checkpoint_steps=1), tmp_path / "run"
    process = running(config, run, maps)
    try:
        wait_for(lambda: (newest := latest_checkpoint(run)) and int(newest.name[-6:]) >= 2, process)
    finally:
        process.send_signal(signal.SIGKILL)
        process.communicate()
    killed_at = load_checkpoint(latest_checkpoint(run)).step
    assert 2 <= killed_at < STEPS
    assert train(config, run, data=maps).finished
    assert_same_run(run, whole[0])


def test_an_interrupt_ends_the_step_and_saves(maps, tmp_path):
    phases = [{"resolution": 64, "steps": 5000, "batch": 1}]
    config, run = settings_file(tmp_path, phases=phases, sample_steps=5000), tmp_path / "run"
    process = running(config, run, maps)
    try:
        wait_for(lambda: latest_checkpoint(run), process)
        process.send_signal(signal.SIGINT)
        output, errors = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 0, errors
    step = load_checkpoint(latest_checkpoint(run)).step
    assert 3 <= step < 5000 and f"stopped after step {step}" in " ".join(output.split())
    assert max(step for step, _, _ in figures_of(run)) == step
    assert (run / "curves.png").exists()


def test_another_run_s_folder_is_refused_and_stays_as_it_is(whole, maps, tmp_path):
    run, _ = whole
    before = {path: path.stat().st_mtime_ns for path in run.rglob("*")}
    other = tmp_path / "maps"
    build_dataset(other, 6, 64, first_seed=50)
    for data, changes, message in [
        (maps, {"learning_rate": 0.5}, r"other settings \(learning_rate: 0\.003 there, 0\.5 here\)"),
        (maps, {"adversary": {**SETTINGS["adversary"], "weight": 0.5}}, r"adversary\.weight: 0\.004 there, 0\.5 here"),
        (other, {}, "trained on other maps"),
    ]:
        with pytest.raises(ModelFileError, match=message):
            train(settings_file(tmp_path, **changes), run, data=data)
    assert {path: path.stat().st_mtime_ns for path in run.rglob("*")} == before


def test_impossible_runs_are_reported(maps, tmp_path):
    config = settings_file(tmp_path)
    smaller = {**SETTINGS["generator"], "resolution": 32, "detail_maps": [3, 2],
               "branches": {"diffuse": [8], "specular": [4], "normals": [6]}}  # fmt: skip
    small = settings_file(tmp_path / "small", generator=smaller, phases=[{"resolution": 32, "steps": 1, "batch": 1}])
    cases: list[tuple[Path, Path, Path, str, type[FitmeError], str]] = [
        (config, config, maps, "cpu", InputError, "is a file"),
        (config, tmp_path / "a", tmp_path / "none", "cpu", InputError, "fitme data build"),
        (small, tmp_path / "b", maps, "cpu", ConfigError, "64 texels.*want 32.*--resolution 32"),
        (config, tmp_path / "c", maps, "abacus", ConfigError, "cpu or cuda"),
        (config, tmp_path / "c", maps, "mps", ConfigError, "cpu or cuda"),
        (settings_file(tmp_path / "d", measured_heads=0), tmp_path / "c", maps, "cpu", ConfigError, "measured_heads"),
    ]
    for settings, out, data, device, error, message in cases:
        with pytest.raises(error, match=message):
            train(settings, out, data=data, device=device)
    if not torch.cuda.is_available():
        with pytest.raises(BackendError, match="no CUDA device"):
            train(config, tmp_path / "c", data=maps, device="cuda")


def test_a_file_that_cannot_be_written_is_reported_and_the_run_is_resumed_later(maps, tmp_path):
    config, run = settings_file(tmp_path), tmp_path / "run"
    obstacle = run / "last.safetensors.partial"
    obstacle.mkdir(parents=True)
    with pytest.raises(ModelFileError, match="resumes from checkpoint-000003"):
        train(config, run, data=maps)
    obstacle.rmdir()
    assert train(config, run, data=maps, budget=RunBudget(steps=1)).step == 4
    assert (run / "generator.safetensors").exists()


def test_the_command_line_trains_in_parts(maps, tmp_path):
    options = ["--config", settings_file(tmp_path), "--out", tmp_path / "run", "--data", maps, "--device", "cpu"]
    result = CliRunner().invoke(app, ["reflectance", *map(str, options), "--steps", "2"])
    assert result.exit_code == 0, result.output
    assert "stopped after step 2" in " ".join(result.output.split())
    for name in ("reflectance", "translation", "encoder"):
        assert CliRunner().invoke(app, [name, "--help"]).exit_code == 0


def test_the_command_imports_torch_only_when_it_runs():
    code = "import sys, fitme.commands.train; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], timeout=60, check=False).returncode == 0


def test_the_settings_for_a_gpu_build_networks_of_their_sizes():
    """On torch's meta device, which computes shapes alone."""
    config = load_training_config(CONFIGS / "train_gpu.yaml")
    assert config.generator.latent_size == 512 and config.path_length_interval == 16 and config.mixed_precision
    assert config.phases[-1].adversarial and config.phases[-1].resolution == config.generator.resolution == 512
    with torch.device("meta"):
        generator, discriminator = ReflectanceGenerator(config.generator), BranchedDiscriminator(config.discriminator)
        z = torch.zeros(2, config.generator.noise_size)
        position = torch.zeros(1, 2, 512, 512)
    pyramid = generator.raw_pyramid(generator.broadcast(generator.mapping(z)))
    assert list(pyramid) == [64, 128, 256, 512] and config.path_length_resolution in pyramid
    maps = encoded_outputs(pyramid[512])
    assert maps.shape == (2, 6, 512, 512)
    assert discriminator(by_modality(maps), position).shape == (2,)
