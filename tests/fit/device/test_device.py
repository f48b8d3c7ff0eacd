"""The fit on another device than the CPU, without one: on a guarded stand-in, with nvdiffrast's calls checked."""

import inspect
import json
import os
import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from fitme.errors import BackendError
from fitme.fit.keyframe import Keyframe
from fitme.render.rasterizer import check_device

from . import nvdiffrast_stand_in

HERE = Path(__file__).parent
pytestmark = pytest.mark.timeout(600)  # Half a minute of one core, which a busy machine stretches.


@pytest.fixture(scope="module")
def results(photograph: Callable[..., Keyframe], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Fits of one set of keyframes on the CPU and on the guarded device."""
    path = tmp_path_factory.mktemp("device") / "keyframes.pickle"
    path.write_bytes(pickle.dumps([photograph("left", -25.0), photograph("right", 25.0)]))
    program = [sys.executable, "-m", "tests.fit.device.fit_on_device", str(path)]
    # The guard holds for one thread, and a fit uses as many as torch has.
    one_thread = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(program, capture_output=True, text=True, cwd=HERE.parents[2], env=one_thread)
    assert done.returncode == 0, done.stderr[-4000:]
    found: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return found


def test_a_fit_ends_alike_on_another_device(results):
    ours, theirs = results["cpu"], results["guarded"]
    # Shading rounds otherwise in torch than in the CPU's kernels, so that single bytes of a render differ, which flow
    # and tracks turn into 0.001 of identity. Adam's first steps follow the gradient's sign, which turns it into steps.
    for name, tolerance in {"identity": 0.01, "w_plus": 0.1, "diffuse": 0.005}.items():
        np.testing.assert_allclose(theirs[name], ours[name], atol=tolerance, err_msg=name)
    assert theirs["losses"] == pytest.approx(ours["losses"], rel=0.02)
    assert theirs["frame_loss"] == pytest.approx(ours["frame_loss"], rel=0.05)
    assert theirs["image"] == pytest.approx(ours["image"], abs=0.1)
    assert theirs["tuned"].keys() == ours["tuned"].keys()


def test_steps_copy_nothing_from_the_device(results):
    # A slice of inversion or tuning reads its losses, and its result, once, however many steps it takes.
    assert results["crossings"]["2"] == results["crossings"]["1"]
    assert 0 < results["crossings"]["1"]["to cpu"] < 30


def test_a_fit_moves_between_devices(results):
    assert results["resumed"]["w_plus"] == results["cpu"]["w_plus"]
    assert results["resumed"]["tuned"] == sorted(results["cpu"]["tuned"])


@pytest.mark.parametrize(
    "name", ["rasterize", "interpolate", "texture", "antialias", "antialias_construct_topology_hash"]
)
def test_the_stand_in_has_nvdiffrast_s_signatures(name: str):
    nvdiffrast = pytest.importorskip("nvdiffrast.torch")
    for function in (name, "RasterizeCudaContext"):
        real, stand_in = (inspect.signature(getattr(m, function)) for m in (nvdiffrast, nvdiffrast_stand_in))
        assert [(p.name, p.default) for p in stand_in.parameters.values()] == [
            (p.name, p.default) for p in real.parameters.values()
        ]


def test_a_device_that_is_not_there_is_named():
    check_device("cpu")
    if not torch.cuda.is_available():
        with pytest.raises(BackendError, match="--device cpu"):
            check_device("cuda")
