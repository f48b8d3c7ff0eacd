"""Program that fits keyframes on the CPU and on the guarded device, and prints both results as JSON.

A program of its own, since the device changes torch for good. Its argument is a file of keyframes, pickled.
"""

import json
import pickle
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch

from fitme.fit import fitter as fitter_module
from fitme.fit.fitter import IncrementalFitter
from fitme.fit.inversion.settings import InversionSettings
from fitme.fit.keyframe import Keyframe
from fitme.fit.settings import FitSettings
from fitme.fit.state import FitState
from fitme.hair.settings import HairSettings
from fitme.reflectance.generator import ReflectanceGenerator
from fitme.reflectance.generator_config import GeneratorConfig
from fitme.render.nvdiffrast_backend import NvdiffrastBackend
from fitme.render.rasterizer import RasterizerBackend, select_backend
from fitme.shape.model_file import load_default_model
from fitme.track.identity import DlibEmbedder

from . import guarded, nvdiffrast_stand_in

STEPS = 1
INVERSION = InversionSettings(
    crop_resolution=64, coarse_stages=((1, 1.0),), coarse_resolution=16, coarse_steps=STEPS, inversion_steps=STEPS,
    tuning_steps=STEPS, refresh_steps=1,
)  # fmt: skip
SETTINGS = FitSettings(map_resolution=64, alignment_rounds=1, inversion=INVERSION, hair=HairSettings(enabled=False))
CONFIG = GeneratorConfig(
    resolution=64,
    noise_size=8,
    latent_size=16,
    trunk_channels=(16, 16, 16, 16),
    branches={"diffuse": (8,), "specular": (8,), "normals": (8,)},
    detail_maps=(4, 4),
)


def backend_of(device: torch.device | str) -> RasterizerBackend:
    """`select_backend`, with the backend of CUDA for the guarded device."""
    return NvdiffrastBackend(device) if torch.device(device).type == guarded.NAME else select_backend(device)


def small_generator() -> ReflectanceGenerator:
    torch.manual_seed(0)
    generator = ReflectanceGenerator(CONFIG)
    generator.measure_mean_w(64)
    return generator


def fitter_of(device: str, keyframes: list[Keyframe]) -> IncrementalFitter:
    fitter = IncrementalFitter(load_default_model(), small_generator(), SETTINGS, DlibEmbedder(), device)
    for keyframe in keyframes:
        fitter.add_keyframe(keyframe)
    return fitter


def crossings_per_slice(fitter: IncrementalFitter) -> dict[str, dict[str, int]]:
    """Copies from the device, and readings of numbers on it, of slices of inversion and tuning, by steps."""
    found = {}
    for steps in (1, 2):
        guarded.crossings.clear()
        fitter._stages.invert(steps)
        fitter._stages.tune(steps)
        found[str(steps)] = dict(guarded.crossings)
    return found


def converged(fitter: IncrementalFitter) -> dict[str, Any]:
    """Fit to convergence; what is to be equal on all devices."""
    losses: dict[str, float] = {}
    while not fitter.converged:
        losses |= fitter.refine(0.0).losses
    state, avatar, first = fitter.state(), fitter.avatar(), fitter.keyframes[0]
    frame = fitter.fit_frame(first.observation, first.image)
    image, _ = fitter.render_estimate(frame, first.observation.camera)
    assert state.w_plus is not None
    return {
        "identity": state.identity.tolist(),
        "w_plus": state.w_plus.ravel().tolist(),
        "tuned": {name: float(np.abs(value).mean()) for name, value in state.tuned.items()},
        "diffuse": avatar.maps.diffuse.mean((0, 1, 2)).tolist(),
        "losses": losses,
        "frame_loss": frame.loss,
        "image": float(image.mean()),
    }


def resumed(state: FitState, device: str) -> dict[str, Any]:
    """Latent and tuned weights of a fit after it was resumed on a device."""
    state = IncrementalFitter.from_state(state, load_default_model(), small_generator(), SETTINGS, None, device).state()
    assert state.w_plus is not None
    return {"w_plus": state.w_plus.ravel().tolist(), "tuned": sorted(state.tuned)}


def main() -> None:
    keyframes = pickle.loads(Path(sys.argv[1]).read_bytes())
    guarded.register()
    sys.modules.update(nvdiffrast_stand_in.modules())
    fitter_module.select_backend = backend_of
    with guarded.device():
        fitters = {device: fitter_of(device, keyframes) for device in ("cpu", guarded.NAME)}
        results: dict[str, Any] = {device: converged(fitter) for device, fitter in fitters.items()}
        results["resumed"] = resumed(fitters["cpu"].state(), guarded.NAME)
        results["crossings"] = crossings_per_slice(fitters[guarded.NAME])
    print(json.dumps(results))


if __name__ == "__main__":
    main()
