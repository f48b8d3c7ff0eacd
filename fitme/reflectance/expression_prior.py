"""What expressions change in people's skin, on average: the folds of a smile, for people of whom none was seen.

Means over many people at few texels; no map of anybody is contained. `fitme train expressions` writes the file.
"""

from dataclasses import dataclass
from functools import cache
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from fitme.atomic_file import atomic_file
from fitme.errors import ModelFileError

EXPRESSION_PRIOR_FILE = Path(__file__).parent / "weights" / "expression_prior.safetensors"
"""Prior of the package."""
FORMAT, FORMAT_VERSION = "fitme-expression-prior", "1"
LARGEST_CHANGE = 0.6
"""Largest stored change; changes are stored in 8 bits."""
_STEPS = 127.0


@dataclass(frozen=True, eq=False)
class ExpressionPrior:
    """Mean changes of albedo with P expressions."""

    expressions: Tensor
    """(P, 52) float32 ARKit coefficients."""
    changes: Tensor
    """(P, r, r, 3) float32 logarithm of the albedo over that of the neutral face, 0 where skin is not seen."""


@cache
def packaged_expression_prior() -> ExpressionPrior:
    """Prior of the package. Raises ModelFileError if its file is missing or damaged."""
    return load_expression_prior(EXPRESSION_PRIOR_FILE)


def save_expression_prior(prior: ExpressionPrior, path: Path) -> None:
    """Write a prior atomically."""
    steps = (prior.changes / LARGEST_CHANGE).clamp(-1.0, 1.0) * _STEPS
    tensors = {"expressions": prior.expressions.contiguous(), "changes": steps.round().to(torch.int8).contiguous()}
    with atomic_file(path) as partial:
        save_file(tensors, partial, {"format": FORMAT, "version": FORMAT_VERSION})


def load_expression_prior(path: Path) -> ExpressionPrior:
    """Inverse of `save_expression_prior`. Raises ModelFileError if the file is missing or not a prior."""
    try:
        with safe_open(path, "pt") as file:
            about = file.metadata() or {}
            if (about.get("format"), about.get("version")) != (FORMAT, FORMAT_VERSION):
                raise ModelFileError(f"{path} is no prior of expressions: write it by `fitme train expressions`")
            changes = file.get_tensor("changes").float() * (LARGEST_CHANGE / _STEPS)
            return ExpressionPrior(file.get_tensor("expressions"), changes)
    except (OSError, SafetensorError) as error:
        raise ModelFileError(
            f"{path} holds no prior of expressions ({error}): write it by `fitme train expressions`"
        ) from error
