"""Names of the devices that `select_backend` has a rasterizer for. Free of torch, for the command line."""

from typing import Literal

DeviceName = Literal["cpu", "cuda"]
"""The processor, with numba kernels, or a CUDA device, with nvdiffrast."""
