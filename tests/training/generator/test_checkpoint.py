"""Checkpoints: restored to the bit, damage is reported, and no interruption costs the previous checkpoint."""

import json
import math
import os
import shutil
import signal
import struct
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fitme.errors import ModelFileError
from fitme.training.generator import checkpoint
from fitme.training.generator.checkpoint import (
    INDEX_NAME,
    latest_checkpoint,
    load_checkpoint,
    require_same_settings,
    save_checkpoint,
    settings_text,
)

LARGEST_FILE_BYTES = 16_000_000


def assert_equal_bits(found, expected) -> None:
    """Equal in structure, types and bits, NaN and the sign of zero included."""
    assert type(found) is type(expected)
    if isinstance(expected, torch.Tensor):
        assert found.dtype == expected.dtype and found.shape == expected.shape
        assert torch.equal(
            found.reshape(-1).contiguous().view(torch.uint8), expected.reshape(-1).contiguous().view(torch.uint8)
        )
    elif isinstance(expected, dict):
        assert list(found) == list(expected)  # keys 1 and "1" are not the same
        assert [type(key) for key in found] == [type(key) for key in expected]
        for key, value in expected.items():
            assert_equal_bits(found[key], value)
    elif isinstance(expected, list | tuple):
        assert len(found) == len(expected)
        for one, other in zip(found, expected, strict=True):
            assert_equal_bits(one, other)
    elif isinstance(expected, float):
        assert struct.pack("d", found) == struct.pack("d", expected) or (math.isnan(found) and math.isnan(expected))
    else:
        assert found == expected


def trained(steps: int = 3) -> tuple[torch.nn.Module, torch.optim.Adam]:
    torch.manual_seed(0)
    module = torch.nn.Sequential(torch.nn.Linear(7, 5), torch.nn.BatchNorm1d(5), torch.nn.Linear(5, 2))
    optimizer = torch.optim.Adam(
        [{"params": list(module[0].parameters()), "lr": 0.1 / 3}, {"params": list(module[1:].parameters())}], 1e-3,
        betas=(0.0, 0.99),
    )  # fmt: skip
    for _ in range(steps):
        optimizer.zero_grad()
        module(torch.randn(4, 7)).square().sum().backward()
        optimizer.step()
    return module, optimizer


def test_networks_and_optimisers_come_back_to_the_bit(tmp_path):
    module, optimizer = trained()
    state = {
        "module": dict(module.state_dict()), "optimizer": optimizer.state_dict(), "random": torch.get_rng_state(),
        "values": {"nan": math.nan, "tiny": 5e-324, "third": 1 / 3, "none": None, "flag": True, 3: (1, [2, ()])},
        "half": torch.randn(3, 2).bfloat16(), "empty": torch.zeros(0, 4), "transposed": torch.randn(3, 5).T,
    }  # fmt: skip
    path = save_checkpoint(tmp_path, state, 500, "seed: 0")
    assert path == tmp_path / "checkpoint-000500" and latest_checkpoint(tmp_path) == path
    found = load_checkpoint(path)
    assert (found.step, found.config_text) == (500, "seed: 0")
    assert_equal_bits(found.state, state)
    other, other_optimizer = trained(1)
    other.load_state_dict(found.state["module"])
    other_optimizer.load_state_dict(found.state["optimizer"])
    assert_equal_bits(other_optimizer.state_dict(), optimizer.state_dict())


values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text()
    | st.tuples(
        st.sampled_from([torch.float32, torch.float64, torch.bfloat16, torch.int64, torch.uint8, torch.bool]),
        st.lists(st.integers(0, 7), max_size=3),
    ).map(lambda kind: (torch.randn(kind[1]) * 9).to(kind[0])),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.lists(inner, max_size=3).map(tuple)
        | st.dictionaries(st.text() | st.integers(), inner, max_size=4)
    ),
    max_leaves=12,
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.dictionaries(st.text() | st.integers(), values, max_size=5), st.integers(1, 40))
def test_any_state_survives_being_cut_into_pieces_of_any_size(tmp_path, monkeypatch, state, piece_bytes):
    monkeypatch.setattr(checkpoint, "PIECE_BYTES", max(piece_bytes, 8))
    monkeypatch.setattr(checkpoint, "PARTS_PER_PIECE", 2)
    assert_equal_bits(load_checkpoint(save_checkpoint(tmp_path, state, 1, "")).state, state)


def test_no_file_is_larger_than_a_piece(tmp_path):
    state = {
        "large": torch.randn(9_000_000),
        "small": list(torch.randn(9000, 1)),
        "double": torch.randn(1_900_000, dtype=torch.float64),
    }
    path = save_checkpoint(tmp_path, state, 1, "")
    sizes = [file.stat().st_size for file in path.iterdir()]
    assert max(sizes) <= LARGEST_FILE_BYTES and len(sizes) >= 5
    assert_equal_bits(load_checkpoint(path).state, state)


def test_values_that_no_checkpoint_can_hold_are_refused_before_anything_is_written(tmp_path):
    for state in ({"a": object()}, {(1, 2): 3}, {"a": {True: 1}}):
        with pytest.raises(TypeError, match="checkpoint"):
            save_checkpoint(tmp_path, state, 1, "")
    assert list(tmp_path.iterdir()) == []


def test_a_new_checkpoint_takes_the_place_of_the_ones_before(tmp_path):
    for step in (5, 10, 10, 1_000_000):
        path = save_checkpoint(tmp_path, {"step": step}, step, "")
        assert [entry.name for entry in tmp_path.iterdir()] == [path.name]
    assert latest_checkpoint(tmp_path) == path
    assert latest_checkpoint(tmp_path / "nowhere") is None


def test_a_replacement_that_was_interrupted_between_two_renames_is_undone(tmp_path):
    path = save_checkpoint(tmp_path, {"value": 1}, 7, "")
    path.rename(path.with_name(path.name + ".previous"))
    found = latest_checkpoint(tmp_path)
    assert found is not None and load_checkpoint(found).state == {"value": 1}
    save_checkpoint(tmp_path, {"value": 2}, 8, "")
    assert [entry.name for entry in tmp_path.iterdir()] == ["checkpoint-000008"]


def test_damage_is_named(tmp_path):
    path = save_checkpoint(tmp_path, {"a": torch.randn(4_000_000), "b": torch.randn(9)}, 3, "")
    second = path / "piece-0001.safetensors"
    whole = second.read_bytes()

    def damaged(expected: str) -> None:
        with pytest.raises(ModelFileError, match=expected):
            load_checkpoint(path)

    second.write_bytes(whole[:-1])
    damaged(r"piece-0001\.safetensors holds \d+ bytes instead of \d+.*remove")
    second.write_bytes(whole[:5000] + bytes([whole[5000] ^ 1]) + whole[5001:])
    damaged(r"piece-0001\.safetensors is damaged")
    second.unlink()
    damaged(r"piece-0001\.safetensors is missing")
    second.write_bytes(whole)
    index = path / INDEX_NAME
    text = index.read_text()
    index.write_text(text.replace('"step": 3', '"step": 4'))
    damaged(r"index\.json is damaged")
    index.write_text(json.dumps({**json.loads(text), "format": 99}))
    damaged("format")
    index.write_text(text[:100])
    damaged(r"index\.json is missing or damaged")
    index.unlink()
    damaged(r"index\.json is missing or damaged")
    assert latest_checkpoint(tmp_path) is None


@dataclass(frozen=True)
class Stage:
    texels: int = 64
    steps: int = 2


@dataclass(frozen=True)
class Settings:
    rate: float = 0.1
    betas: tuple[float, ...] = (0.0, 0.99)
    stages: tuple[Stage, ...] = (Stage(), Stage(128))
    folder: Path = Path("a")
    saved_every: int = field(default=3, repr=False)


def test_settings_that_differ_are_listed():
    ours = settings_text(Settings())
    require_same_settings(Path("checkpoint"), ours, settings_text(Settings(saved_every=9)))
    theirs = settings_text(Settings(rate=0.2, betas=(0.5, 0.99), stages=(Stage(), Stage(256), Stage())))
    with pytest.raises(ModelFileError) as caught:
        require_same_settings(Path("checkpoint"), theirs, ours)
    message = str(caught.value)
    for part in ("rate: 0.2 there, 0.1 here", "betas: [0.5, 0.99]", "stages.1.texels: 256 there, 128 here", "stages.2"):
        assert part in message
    assert "stages.0" not in message and "folder:" not in message and "settings, or another folder" in message


# Saves a small checkpoint, then one of 24 MB; what the second raised goes to standard output.
FILL = """
import sys
from pathlib import Path
import torch
from fitme.errors import ModelFileError
from fitme.training.generator.checkpoint import latest_checkpoint, load_checkpoint, save_checkpoint

{limit}
folder = Path(sys.argv[1])
small = {{"value": torch.arange(1000)}}
save_checkpoint(folder, small, 1, "text")
try:
    save_checkpoint(folder, {{"value": torch.zeros(6_000_000)}}, 2, "text")
except ModelFileError as error:
    print("refused:", error)
names = sorted(entry.name for entry in folder.iterdir())
assert names == ["checkpoint-000001"], names
assert torch.equal(load_checkpoint(latest_checkpoint(folder)).state["value"], small["value"])
save_checkpoint(folder, small, 3, "text")
assert sorted(entry.name for entry in folder.iterdir()) == ["checkpoint-000003"]
print("usable")
"""


def run_fill(command: list[str], limit: str) -> str:
    run = subprocess.run(command + [FILL.format(limit=limit)], capture_output=True, text=True, timeout=100, check=False)
    assert run.returncode == 0, run.stderr
    return run.stdout


def assert_refused_but_usable(output: str, cause: str) -> None:
    assert "refused:" in output and cause in output and "usable" in output
    assert "checkpoint-000001 is untouched" in output and "Make room for 24 MB" in output


def test_a_file_that_cannot_grow_leaves_the_checkpoint_before(tmp_path):
    limit = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (2_000_000, 2_000_000))"
    program = [sys.executable, "-c", "import sys; code = sys.argv.pop(); exec(code)", str(tmp_path / "run")]
    assert_refused_but_usable(run_fill(program, limit), "File too large")


def test_a_full_disk_leaves_the_checkpoint_before(tmp_path):
    """On a real file system of 18 MB: the first of the two pieces fits, the second does not."""
    mount = f"mount -t tmpfs -o size=18m tmpfs {tmp_path}"
    private = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c"]
    if (
        shutil.which("unshare") is None
        or subprocess.run([*private, mount], capture_output=True, check=False).returncode
    ):
        pytest.skip("mounting a small file system in a namespace is not permitted here")
    script = f'{mount} && exec "$@"'
    program = [sys.executable, "-c", "import sys; code = sys.argv.pop(); exec(code)", str(tmp_path / "run")]
    assert_refused_but_usable(run_fill([*private, script, "sh", *program], ""), "No space left on device")


SAVE_FOREVER = """
import sys
from pathlib import Path
import torch
from fitme.training.generator.checkpoint import save_checkpoint
for step in range(1, 10_000):
    save_checkpoint(Path(sys.argv[1]), {"step": step, "value": torch.full((12_000_000,), float(step))}, step, "")
"""


@pytest.mark.parametrize("piece", ["piece-0000", "piece-0002"])
def test_a_process_killed_in_the_middle_leaves_a_whole_checkpoint(tmp_path, piece):
    process = subprocess.Popen([sys.executable, "-c", SAVE_FOREVER, str(tmp_path)])
    try:
        deadline = time.monotonic() + 60.0
        writing = f"checkpoint-*.partial/{piece}.safetensors"
        while not (latest_checkpoint(tmp_path) and list(tmp_path.glob(writing))):
            assert time.monotonic() < deadline and process.poll() is None
            time.sleep(0.001)
    finally:
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    newest = latest_checkpoint(tmp_path)
    assert newest is not None
    found = load_checkpoint(newest)
    assert found.step >= 1 and found.state["step"] == found.step
    assert torch.equal(found.state["value"], torch.full((12_000_000,), float(found.step)))
    save_checkpoint(tmp_path, {"step": 0}, found.step + 5, "")
    assert len(list(tmp_path.iterdir())) == 1
