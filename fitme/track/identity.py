"""Identity embeddings of faces: vectors whose distances separate people."""

from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final, Protocol

import numpy as np
import torch
import torch.nn.functional as functional
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from fitme.arrays import Float32Array, UInt8Array
from fitme.errors import BackendError, ModelFileError
from fitme.track.identity_crop import ARCFACE_ALIGNMENT, DLIB_ALIGNMENT
from fitme.track.identity_sampling import sample_aligned

DLIB_WEIGHTS: Final = Path(__file__).parent / "weights" / "dlib_face_recognition_resnet_v1.safetensors"
"""dlib's face recognition ResNet (CC0-1.0), converted from dlib's format."""
DLIB_SAME_PERSON_DISTANCE: Final = 0.6
"""L2 distance of dlib's embeddings below which two faces are one person (the published threshold)."""
ARCFACE_SAME_PERSON_DISTANCE: Final = 1.2
"""L2 distance between unit ArcFace embeddings of one person: cosine similarity 0.28."""

_INPUT_MEAN_RGB: Final = (122.782, 117.001, 104.298)
_INPUT_SCALE: Final = 256.0
_STEM_FILTERS: Final = 32
_STEM_KERNEL: Final = 7
_LEVELS: Final = ((32, 3, False), (64, 4, True), (128, 3, True), (256, 3, True), (256, 1, True))
"""(filters, residual blocks, whether the first block halves the resolution), from the input on."""
_EMBEDDING_SIZE: Final = 128


class IdentityEmbedder(Protocol):
    """Network from a face in an image to its identity embedding."""

    @property
    def same_person_distance(self) -> float:
        """L2 distance below which two embeddings are taken for one person."""
        ...

    def embed(self, image: UInt8Array, landmarks: Float32Array) -> Float32Array:
        """(D,) embedding of the face with landmarks (478, 2) px in an image (H, W, 3) uint8 sRGB."""
        ...


class _Convolution(nn.Module):
    """Square filters and a bias, uninitialised: their values are read from a file."""

    def __init__(self, channels_in: int, channels: int, side: int, *, stride: int = 1, padding: int = 0) -> None:
        super().__init__()
        self.stride, self.padding = stride, padding
        self.weight = nn.Parameter(torch.empty(channels, channels_in, side, side))
        self.bias = nn.Parameter(torch.empty(channels))

    def forward(self, x: Tensor) -> Tensor:
        return functional.conv2d(x, self.weight, self.bias, self.stride, self.padding)


class _Affine(nn.Module):
    """Per-channel scale and shift, read from a file: a batch normalisation with its statistics folded in."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.empty(channels))
        self.shift = nn.Parameter(torch.empty(channels))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.scale[:, None, None] + self.shift[:, None, None]


class _Residual(nn.Module):
    """dlib's residual block; where the shapes of its two paths differ, the smaller one is padded with zeros."""

    def __init__(self, channels_in: int, channels: int, *, halve: bool) -> None:
        super().__init__()
        self.halve = halve
        self.first = _Convolution(channels_in, channels, 3, stride=2 if halve else 1, padding=0 if halve else 1)
        self.first_affine = _Affine(channels)
        self.second = _Convolution(channels, channels, 3, padding=1)
        self.second_affine = _Affine(channels)

    def forward(self, x: Tensor) -> Tensor:
        new = self.second_affine(self.second(functional.relu(self.first_affine(self.first(x)))))
        old = functional.avg_pool2d(x, 2) if self.halve else x
        shape = [max(a, b) for a, b in zip(new.shape[1:], old.shape[1:], strict=True)]
        return functional.relu(_pad_to(new, shape) + _pad_to(old, shape))


class DlibEmbedder(nn.Module):
    """dlib's face recognition ResNet (D. King, 2017; public domain), in torch, with gradients.

    Parameters are frozen; gradients flow to the input.
    """

    same_person_distance: float = DLIB_SAME_PERSON_DISTANCE
    _mean: Tensor

    def __init__(self, weights: Path = DLIB_WEIGHTS) -> None:
        """Read the parameters from a safetensors file, by default the package's: dlib's own, converted.

        :raises ModelFileError: if it is missing or another network's.
        """
        super().__init__()
        self.stem = _Convolution(3, _STEM_FILTERS, _STEM_KERNEL, stride=2)
        self.stem_affine = _Affine(_STEM_FILTERS)
        levels = []
        channels = _STEM_FILTERS
        for filters, blocks, halves in _LEVELS:
            level = [_Residual(channels, filters, halve=halves)]
            level += [_Residual(filters, filters, halve=False) for _ in range(blocks - 1)]
            levels.append(nn.Sequential(*level))
            channels = filters
        self.levels = nn.ModuleList(levels)
        self.head = nn.Parameter(torch.empty(_EMBEDDING_SIZE, channels))
        self.register_buffer("_mean", torch.tensor(_INPUT_MEAN_RGB)[:, None, None], persistent=False)
        self._read(weights)
        self.requires_grad_(False)
        self.eval()

    def _read(self, weights: Path) -> None:
        if not weights.is_file():
            raise ModelFileError(f"No identity network at {weights}.")
        try:
            self.load_state_dict(load_file(weights))
        except (SafetensorError, RuntimeError) as error:
            raise ModelFileError(f"{weights} does not hold dlib's face recognition ResNet: {error}") from error

    def forward(self, crops: Tensor) -> Tensor:
        """(B, 128) embeddings of aligned crops (B, 150, 150, 3), sRGB-encoded, [0, 255]."""
        return self.features(crops)[1]

    def features(self, crops: Tensor) -> tuple[tuple[Tensor, ...], Tensor]:
        """Features, which are the outputs of the stem and of the first four levels, and the embedding.

        :param crops: (B, 150, 150, 3) aligned crops, sRGB-encoded, [0, 255].
        :return: features (B, 32, 35, 35), (B, 32, 35, 35), (B, 64, 17, 17), (B, 128, 8, 8), (B, 256, 4, 4), and the
            embeddings (B, 128).
        """
        x = (crops.permute(0, 3, 1, 2) - self._mean) / _INPUT_SCALE
        x = functional.max_pool2d(functional.relu(self.stem_affine(self.stem(x))), 3, stride=2)
        outputs = [x]
        for level in self.levels:
            x = level(x)
            outputs.append(x)
        return tuple(outputs[:-1]), functional.linear(x.mean((2, 3)), self.head)

    def crops(self, images: Tensor, landmarks: Float32Array) -> Tensor:
        """Differentiable crops (B, 150, 150, 3) of images (B, H, W, 3), from landmarks (B, 478, 2) px."""
        matrices = np.stack([DLIB_ALIGNMENT.matrix(points) for points in landmarks])
        return sample_aligned(images, torch.from_numpy(matrices), DLIB_ALIGNMENT.size)

    def embed(self, image: UInt8Array, landmarks: Float32Array) -> Float32Array:
        """See `IdentityEmbedder`."""
        crop = torch.from_numpy(DLIB_ALIGNMENT.crop(image, landmarks)).float()[None]
        with torch.inference_mode():
            embedding: Float32Array = self(crop)[0].numpy()
        return embedding


class ArcFaceEmbedder:
    """An ArcFace network of an insightface pack (non-commercial licence, downloaded by the user), through ONNX."""

    same_person_distance: float = ARCFACE_SAME_PERSON_DISTANCE

    def __init__(self, pack: Path) -> None:
        """Open a pack's folder (its largest `.onnx` file whose output is 512 numbers) or one `.onnx` file.

        :raises BackendError: without onnxruntime.
        :raises ModelFileError: if there is no such network.
        """
        if find_spec("onnxruntime") is None:
            raise BackendError("ArcFace needs onnxruntime: install the extra `arcface`, or use the default embedder.")
        import onnxruntime

        candidates = [pack] if pack.is_file() else sorted(pack.glob("*.onnx"), key=_file_size, reverse=True)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        for candidate in candidates:
            try:
                session = onnxruntime.InferenceSession(str(candidate), options, providers=["CPUExecutionProvider"])
            except Exception as error:
                raise ModelFileError(f"{candidate} is not a readable ONNX network: {error}") from error
            if list(session.get_outputs()[0].shape)[1:] == [512]:
                self._session: Any = session
                self._input = str(session.get_inputs()[0].name)
                return
        raise ModelFileError(
            f"No ArcFace network (512 outputs) in {pack}: give the folder of a pack such as buffalo_l."
        )

    def embed(self, image: UInt8Array, landmarks: Float32Array) -> Float32Array:
        """See `IdentityEmbedder`: (512,) of unit length."""
        crop = ARCFACE_ALIGNMENT.crop(image, landmarks).astype(np.float32)
        network_input = (crop.transpose(2, 0, 1)[None] - 127.5) / 127.5
        (output,) = self._session.run(None, {self._input: network_input})
        return np.asarray(output[0] / np.linalg.norm(output[0]), np.float32)


def _pad_to(x: Tensor, shape: list[int]) -> Tensor:
    """Features (B, C, H, W) padded with zeros to `shape` (C, H, W)."""
    channels, height, width = (wanted - got for wanted, got in zip(shape, x.shape[1:], strict=True))
    return functional.pad(x, (0, width, 0, height, 0, channels)) if channels or height or width else x


def _file_size(path: Path) -> int:
    return path.stat().st_size
