"""Start of `fitme fit`: imports only the libraries that it needs."""

import gc
import json
import subprocess
import sys
import time

import pytest

from fitme.commands.fit.startup import uncollected

SLOW_LIBRARIES = {"numpy", "torch", "numba", "scipy", "mediapipe", "cv2", "av", "zarr", "icechunk", "matplotlib"}


def modules_after(code: str) -> set[str]:
    """Names of the modules that a new process has imported after running `code`."""
    listing = f"{code}\nimport json, sys\nprint(json.dumps([name for name in sys.modules if sys.modules[name]]))"
    run = subprocess.run([sys.executable, "-c", listing], capture_output=True, text=True, timeout=120, check=True)
    return set(json.loads(run.stdout.splitlines()[-1]))


@pytest.mark.parametrize("arguments", [["--help"], ["fit", "--help"], ["fit", "--device", "abacus", "a.jpg"]])
def test_the_command_line_does_not_import_slow_libraries(arguments: list[str]):
    asked = f"import contextlib, sys, fitme.cli\nsys.argv = {['fitme', *arguments]}\n"
    loaded = modules_after(f"{asked}with contextlib.suppress(SystemExit):\n    fitme.cli.main()")
    assert not loaded & SLOW_LIBRARIES


def test_faces_are_detected_before_torch_is_imported():
    loaded = modules_after("import fitme.commands.fit.startup")
    assert "mediapipe.tasks.python.vision.face_landmarker" in loaded
    assert not loaded & (SLOW_LIBRARIES - {"numpy", "mediapipe", "cv2"})


def test_the_fit_does_not_import_libraries_of_the_output():
    loaded = modules_after("import fitme.commands.fit.pipeline")
    assert {"torch", "numba", "fitme.fit.fitter", "fitme.track.tracker"} <= loaded
    assert not loaded & {"av", "zarr", "icechunk", "matplotlib", "sounddevice", "onnxruntime", "torch._dynamo"}
    assert not loaded & {
        "scipy.spatial",
        "scipy.optimize",
        "scipy.linalg",
        "scipy.ndimage",
        "scipy.special",
        "fitme.commands.fit.output_folder",
        "fitme.export.gltf.avatar",
    }


def test_garbage_is_collected_only_after_the_start():
    class Ring:
        """Refers to itself, so that only the garbage collector frees it."""

        alive = 0

        def __init__(self) -> None:
            self.itself = self
            Ring.alive += 1

        def __del__(self) -> None:
            Ring.alive -= 1

    with pytest.raises(KeyError), uncollected():
        assert not gc.isenabled()
        raise KeyError
    assert gc.isenabled()
    Ring()
    gc.collect()
    assert Ring.alive == 0


def test_time_is_counted_from_the_start_of_the_process():
    """With an error of a few clock ticks of 10 ms."""
    code = (
        "import time\nfrom fitme.commands.fit.stopwatch import Stopwatch\n"
        "watch = Stopwatch()\nbefore = watch.total\ntime.sleep(0.1)\nprint(before, watch.total - before)"
    )
    start = time.perf_counter()
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    whole_s = time.perf_counter() - start
    before_s, slept_s = map(float, run.stdout.split())
    assert 0.1 <= slept_s < whole_s
    assert 0.01 < before_s < whole_s - slept_s + 0.03
