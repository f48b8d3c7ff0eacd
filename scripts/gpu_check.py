"""Check of the CUDA path: backends, renders, fits and training against the CPU's, with times, in one table.

``python scripts/gpu_check.py [--quick] [--clips FILE ...] [--json FILE]`` on a machine with a CUDA device, nvcc and the
package nvdiffrast takes at most ten minutes, `--quick` at most a hundred seconds. Clips are files of
`check_clips.py`; without any, two synthetic ones are rendered and tracked first. Every part reports its own failure,
and the others still run. `--device cpu` compares the CPU with itself, to try the check without a GPU.
"""

import argparse
import importlib.metadata
import json
import os
import platform
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
try:
    import mediapipe  # noqa: F401
except ImportError:
    # Clips come with their masks: nothing calls MediaPipe, which modules of the fit import.
    sys.modules["mediapipe"] = ModuleType("mediapipe")

import torch
from check_clips import PreparedClip, load_clip, prepare_synthetic
from check_fits import SKINS, FittedClip, compare_fits, compare_generators, compare_training, fit_clip
from check_operators import Row, compare_operators, compare_renders

from fitme.render.rasterizer import RasterizerBackend, select_backend
from fitme.shape.model_file import load_default_model
from fitme.track.identity import DlibEmbedder

SEEDS = (7, 11)
"""People of the clips that are made where none are given."""
STEPS, QUICK_STEPS = 100, 30
"""Steps of training on the device."""
CPU_STEPS, QUICK_CPU_STEPS = 20, 3
QUICK_HELD_OUT = 3
"""Held-out frames that a quick check scores."""
PACKAGES = ("torch", "nvdiffrast", "diffrp-nvdiffrast", "numpy", "numba", "scipy", "opencv-python-headless")


class Check:
    """Parts that ran, their figures and failures; each is printed, and written, as soon as it is known."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._begin = time.perf_counter()
        self.content: dict[str, Any] = {"machine": machine(), "rows": [], "failures": {}, "seconds": {}}
        print(json.dumps(self.content["machine"], indent=1), flush=True)

    def part(self, name: str, work: Callable[[], Sequence[Row]]) -> None:
        """Run a part."""
        start = time.perf_counter()
        try:
            rows = work()
        except Exception:  # noqa: BLE001 -- whatever fails, the other parts are to run
            rows = []
            self.content["failures"][name] = traceback.format_exc()
            print(f"FAILED {name}\n{traceback.format_exc()}", flush=True)
        for row in rows:
            self.content["rows"].append(row)
            print(f"{row[0]:<22} {row[1]:<86} {row[2]:>12.5g}", flush=True)
        seconds = time.perf_counter() - start
        self.content["seconds"][name] = seconds
        print(f"-- {name}: {seconds:.1f} s, {time.perf_counter() - self._begin:.0f} s since the start", flush=True)
        if self._path is not None:
            self._path.write_text(json.dumps(self.content, indent=1))


def machine() -> dict[str, Any]:
    """Processor, device and versions."""
    versions = {}
    for package in PACKAGES:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else None
    return {
        "device": device, "cuda": torch.version.cuda, "processor": platform.processor() or platform.machine(),
        "cores": os.cpu_count(), "python": platform.python_version(), "versions": versions, "nvcc": _nvcc(),
    }  # fmt: skip


def _nvcc() -> str | None:
    try:
        found = subprocess.run(["nvcc", "--version"], capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return found.stdout.strip().splitlines()[-1]


class BackendBuild:
    """Backend of a device, which is compiled on another thread while the CPU has work."""

    def __init__(self, device: str) -> None:
        self._device = device
        self._backend: RasterizerBackend | None = None
        self._error: BaseException | None = None
        self._seconds = 0.0
        self._thread = threading.Thread(target=self._build, name="build")
        self._thread.start()

    def backend(self) -> RasterizerBackend:
        """The backend; raises what its construction raised."""
        self._thread.join()
        if self._error is not None:
            raise self._error
        assert self._backend is not None
        return self._backend

    def rows(self) -> list[Row]:
        """The time that it took."""
        self.backend()
        return [("backend", "importing and compiling, s", self._seconds)]

    def _build(self) -> None:
        begin = time.perf_counter()
        try:
            self._backend = select_backend(self._device)
        except Exception as error:  # noqa: BLE001 -- raised again by `backend`
            self._error = error
        self._seconds = time.perf_counter() - begin


def run(arguments: argparse.Namespace) -> dict[str, Any]:
    """All parts; what they found."""
    check, device, quick = Check(arguments.json), arguments.device, arguments.quick
    build, model = BackendBuild(device), load_default_model()
    clips: list[PreparedClip] = []
    fits: dict[tuple[str, str], FittedClip] = {}
    embedder: list[DlibEmbedder | None] = [None]

    def read_clips() -> list[Row]:
        clips.extend(load_clip(path) for path in arguments.clips)
        if not clips:
            clips.extend(prepare_synthetic(seed) for seed in SEEDS)
        if quick:
            clips[:] = [replace(clips[0], held_out=clips[0].held_out[:QUICK_HELD_OUT])]
        return [("clips", f"{clip.name}: keyframes", len(clip.keyframes)) for clip in clips]

    def read_embedder() -> list[Row]:
        embedder[0] = DlibEmbedder(arguments.identity)
        return []

    def fit(clip: PreparedClip, place: str) -> list[Row]:
        found = fits[clip.name, place] = fit_clip(clip, model, embedder[0], place)
        return [(f"fit {clip.name}", f"{name} on {place}, s", seconds) for name, seconds in found.seconds.items()]

    def warm_up() -> list[Row]:
        few = replace(clips[0], keyframes=clips[0].keyframes[::4], expression_frames=(), held_out=())
        return [
            (
                "backend",
                "a fit of few keyframes on cpu meanwhile, s",
                fit_clip(few, model, None, "cpu").seconds["total"],
            )
        ]

    # Meanwhile the backend is compiled. The first fit loads numba's kernels.
    check.part("clips", read_clips)
    check.part("identity network", read_embedder)
    check.part("warm-up", warm_up)
    check.part("backend", build.rows)
    check.part("operators", lambda: compare_operators(model, device, build.backend()))
    check.part("render", lambda: compare_renders(model, device, build.backend()))
    for clip in clips:
        # A device's first fit loads its kernels; the second is the one that counts.
        for place in (device, device, "cpu") if clip is clips[0] else (device, "cpu"):
            check.part(f"fit {clip.name} on {place}", lambda c=clip, p=place: fit(c, p))
        check.part(
            f"fit {clip.name}",
            lambda c=clip: compare_fits(c, fits[c.name, "cpu"], fits[c.name, device], device),
        )
    check.part("generator", lambda: compare_generators(device))
    steps, cpu_steps = (QUICK_STEPS, QUICK_CPU_STEPS) if quick else (STEPS, CPU_STEPS)
    with tempfile.TemporaryDirectory() as temporary:
        folder, workers = arguments.skins or Path(temporary), min(os.cpu_count() or 1, SKINS)
        check.part("training", lambda: compare_training(folder, device, steps, cpu_steps, workers))
    return check.content


def main() -> None:
    """Command line; exit code 1 if a part failed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="one clip, fewer steps")
    parser.add_argument("--clips", type=Path, nargs="+", default=[], help="files of check_clips.py")
    parser.add_argument("--identity", type=Path, help="dlib's weights (.safetensors), by default the package's")
    parser.add_argument("--skins", type=Path, help="folder in which skins are kept from one check to the next")
    parser.add_argument("--json", type=Path, help="file for figures and failures")
    parser.add_argument("--device", default="cuda", choices=("cuda", "cpu"))
    failures = run(parser.parse_args())["failures"]
    print(f"{len(failures)} parts failed{': ' + ', '.join(failures) if failures else ''}")
    sys.exit(bool(failures))


if __name__ == "__main__":
    main()
