"""Names of the devices that `select_backend` has a rasterizer for. Imports no torch, for the command line."""

from typing import Literal

DeviceName = Literal["cpu", "cuda"]
"""CPU with numba kernels, or CUDA with nvdiffrast."""
