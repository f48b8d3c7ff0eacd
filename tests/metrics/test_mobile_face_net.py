import json

import numpy as np
import pytest
import torch

from fitme.build.mobile_face_net import GRAPH, VALUES, graph_values, parameters
from fitme.errors import ModelFileError
from fitme.metrics.mobile_face_net import MobileFaceNet, mobile_face_net

REFERENCE = (0.00027, 0.02623, 0.01486, -0.00044, -0.05568, 0.00629, -0.05038, 0.16759, 0.02623, -0.15581)
"""First numbers of the embedding of `pattern` by TensorFlow.js 4, from the graph with its activations mended."""


def pattern():
    index = np.arange(112 * 112 * 3, dtype=np.int64)
    return torch.from_numpy(((index * 7919) % 256).astype(np.float32).reshape(1, 112, 112, 3))


def test_it_computes_what_the_mended_graph_does():
    embedding = mobile_face_net()(pattern())[0]
    np.testing.assert_allclose(embedding[: len(REFERENCE)].numpy(), REFERENCE, atol=1e-3)
    assert float(embedding.norm()) == pytest.approx(1.0, abs=1e-5)


def test_no_gradient_of_a_loss_reaches_its_parameters():
    assert not any(parameter.requires_grad for parameter in mobile_face_net().parameters())


def test_a_graph_is_converted_number_by_number(tmp_path):
    # Constants of the graph, with random values, from our own parameters' shapes.
    draw, entries, data = np.random.default_rng(0), [], b""
    ours = mobile_face_net().state_dict()
    names = {
        "MobileFaceNet/MobileFaceNet/SeparableConv2d/mul": (64,),
        "MobileFaceNet/MobileFaceNet/Conv2d_0/Conv2D_weights": (3, 3, 3, 64),
        "MobileFaceNet/Logits/SeparableConv2d/depthwise_weights": (7, 7, 512, 1),
    }
    stored = {name: draw.standard_normal(shape).astype(np.float32) for name, shape in names.items()}
    for name, values in stored.items():
        entries.append({"name": name, "shape": list(values.shape), "dtype": "float32"})
        data += values.tobytes()
    (tmp_path / GRAPH).write_text(json.dumps({"weightsManifest": [{"weights": entries}]}))
    (tmp_path / VALUES).write_bytes(data)
    read = graph_values(tmp_path)
    assert {name: value.shape for name, value in read.items()} == names
    for name, values in stored.items():
        np.testing.assert_array_equal(read[name], values)
    converted = parameters(_Constants(read))
    assert converted.keys() == ours.keys()
    slopes = stored["MobileFaceNet/MobileFaceNet/SeparableConv2d/mul"]
    np.testing.assert_allclose(converted["stem_depthwise.slope"].float().numpy(), -2.0 * slopes, rtol=1e-3)
    weight = stored["MobileFaceNet/Logits/SeparableConv2d/depthwise_weights"]
    assert float(converted["global_weight"][5, 0, 2, 3]) == pytest.approx(float(weight[2, 3, 5, 0]), rel=1e-3)
    weight = stored["MobileFaceNet/MobileFaceNet/Conv2d_0/Conv2D_weights"]
    assert float(converted["stem.weight"][7, 1, 0, 2]) == pytest.approx(float(weight[0, 2, 1, 7]), rel=1e-3)


class _Constants(dict):
    """Constants, with a small one in place of each that is missing."""

    def __contains__(self, name):
        return not name.endswith("/mul") or not (
            "Logits" in name or name.endswith(("MobileFaceNet/Conv/mul", "Conv_1/mul"))
        )

    def __missing__(self, name):
        return np.ones((1, 1, 1, 1) if name.endswith("weights") else (1,), np.float32)


def test_cut_off_values_are_refused(tmp_path):
    entry = {"name": "a", "shape": [4], "dtype": "float32"}
    (tmp_path / GRAPH).write_text(json.dumps({"weightsManifest": [{"weights": [entry]}]}))
    (tmp_path / VALUES).write_bytes(bytes(20))
    with pytest.raises(ValueError, match="20 bytes"):
        graph_values(tmp_path)


def test_another_networks_file_is_refused(tmp_path):
    with pytest.raises(ModelFileError, match="No MobileFaceNet"):
        MobileFaceNet(tmp_path / "missing.safetensors")
    (tmp_path / "other.safetensors").write_bytes(b"no such file")
    with pytest.raises(ModelFileError, match="does not hold"):
        MobileFaceNet(tmp_path / "other.safetensors")
