"""MobileFaceNet (Chen et al., CCBR 2018), an identity network that no loss of the fit or of training sees.

What a fit is optimised for improves by more than what it is worth; a second network tells by how much.
"""

import functools
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
import torch
import torch.nn.functional as functional
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from fitme.arrays import Float32Array, UInt8Array
from fitme.errors import ModelFileError
from fitme.track.identity_crop import ARCFACE_ALIGNMENT

WEIGHTS: Final = Path(__file__).parent / "weights" / "mobile_face_net.safetensors"
"""Parameters in half precision, written by `fitme.build.mobile_face_net`."""
EMBEDDING_SIZE: Final = 192
STEM_CHANNELS: Final = 64
INPUT_CENTER: Final = 127.5
INPUT_SCALE: Final = 128.0
CROP_PX: Final = 112
LAST_SIDE: Final = 7
"""Side of the last features, pixels."""


class Bottleneck(NamedTuple):
    """Inverted residual of the network (Sandler et al., CVPR 2018): channels within and after it, and its stride."""

    inner: int
    outer: int
    stride: int


BOTTLENECKS: Final = (
    Bottleneck(128, 64, 2),
    *[Bottleneck(128, 64, 1)] * 4,
    Bottleneck(256, 128, 2),
    *[Bottleneck(256, 128, 1)] * 6,
    Bottleneck(512, 128, 2),
    *[Bottleneck(256, 128, 1)] * 2,
)


class _Convolution(nn.Module):
    """Convolution with a bias, batch normalisation folded in, and an activation; "same" padding as TensorFlow's, whose
    odd pixel lies on the right and at the bottom."""

    def __init__(
        self, channels_in: int, channels: int, side: int, *, stride: int = 1, depthwise: bool = False, slopes: bool
    ) -> None:
        """`slopes`: whether negative values are scaled by a slope of each channel (PReLU) rather than kept."""
        super().__init__()
        self.stride, self.side, self.groups = stride, side, channels if depthwise else 1
        self.weight = nn.Parameter(torch.empty(channels, 1 if depthwise else channels_in, side, side))
        self.bias = nn.Parameter(torch.empty(channels))
        self.slope = nn.Parameter(torch.empty(channels)) if slopes else None

    def forward(self, x: Tensor) -> Tensor:
        height, width = ((-(-n // self.stride) - 1) * self.stride + self.side - n for n in x.shape[-2:])
        x = functional.pad(x, (width // 2, width - width // 2, height // 2, height - height // 2))
        x = functional.conv2d(x, self.weight, self.bias, self.stride, groups=self.groups)
        return x if self.slope is None else functional.prelu(x, self.slope)


class _Bottleneck(nn.Module):
    """Expansion, depthwise convolution and projection, added to the input where the shapes agree."""

    def __init__(self, channels_in: int, shape: Bottleneck) -> None:
        super().__init__()
        self.expand = _Convolution(channels_in, shape.inner, 1, slopes=True)
        self.depthwise = _Convolution(shape.inner, shape.inner, 3, stride=shape.stride, depthwise=True, slopes=True)
        self.project = _Convolution(shape.inner, shape.outer, 1, slopes=False)
        self.residual = shape.stride == 1 and channels_in == shape.outer

    def forward(self, x: Tensor) -> Tensor:
        new: Tensor = self.project(self.depthwise(self.expand(x)))
        return x + new if self.residual else new


class MobileFaceNet(nn.Module):
    """`IdentityEmbedder` that scores fits and is part of none. Its parameters are frozen."""

    same_person_distance: float = 0.8
    """L2 distance between unit embeddings below which two faces are one person: at most 0.71 between a neutral and a
    smiling photograph of each of 35 people of the London set, at least 0.90 between those of different people."""

    def __init__(self, weights: Path = WEIGHTS) -> None:
        """Read the parameters; raises ModelFileError if the file is missing or another network's."""
        super().__init__()
        self.stem = _Convolution(3, STEM_CHANNELS, 3, stride=2, slopes=True)
        self.stem_depthwise = _Convolution(STEM_CHANNELS, STEM_CHANNELS, 3, depthwise=True, slopes=True)
        self.stem_project = _Convolution(STEM_CHANNELS, STEM_CHANNELS, 1, slopes=False)
        inputs = (STEM_CHANNELS, *(shape.outer for shape in BOTTLENECKS))
        self.bottlenecks = nn.Sequential(
            *(_Bottleneck(channels, shape) for channels, shape in zip(inputs, BOTTLENECKS, strict=False))
        )
        self.widen = _Convolution(inputs[-1], 512, 1, slopes=True)
        self.global_weight = nn.Parameter(torch.empty(512, 1, LAST_SIDE, LAST_SIDE))
        self.global_bias = nn.Parameter(torch.empty(512))
        self.hidden = _Convolution(512, 512, 1, slopes=False)
        self.embedding = _Convolution(512, EMBEDDING_SIZE, 1, slopes=False)
        self._read(weights)
        self.requires_grad_(False)
        self.eval()

    def _read(self, weights: Path) -> None:
        if not weights.is_file():
            raise ModelFileError(
                f"No MobileFaceNet at {weights}: build it with `python -m fitme.build.mobile_face_net`."
            )
        try:
            self.load_state_dict({name: value.float() for name, value in load_file(weights).items()})
        except (SafetensorError, RuntimeError) as error:
            raise ModelFileError(f"{weights} does not hold a MobileFaceNet: {error}") from error

    def forward(self, crops: Tensor) -> Tensor:
        """(B, 192) unit embeddings of aligned crops (B, 112, 112, 3), sRGB-encoded, [0, 255]."""
        x = (crops.permute(0, 3, 1, 2) - INPUT_CENTER) / INPUT_SCALE
        x = self.stem_project(self.stem_depthwise(self.stem(x)))
        x = self.widen(self.bottlenecks(x))  # (B, 512, 7, 7)
        x = functional.conv2d(x, self.global_weight, self.global_bias, groups=len(self.global_bias))
        return functional.normalize(self.embedding(self.hidden(x)).flatten(1))

    def embed(self, image: UInt8Array, landmarks: Float32Array) -> Float32Array:
        """See `IdentityEmbedder`: (192,) of unit length."""
        crop = torch.from_numpy(np.ascontiguousarray(ARCFACE_ALIGNMENT.crop(image, landmarks))).float()[None]
        with torch.inference_mode():
            embedding: Float32Array = self(crop)[0].numpy()
        return embedding


@functools.cache
def mobile_face_net() -> MobileFaceNet:
    """The package's network, read on first use."""
    return MobileFaceNet()
