"""Array types: NumPy arrays by what they hold. Shapes, units and frames are in the docstrings of their uses."""

from typing import TypeAlias

import numpy as np
import numpy.typing as npt

Float32Array: TypeAlias = npt.NDArray[np.float32]
Float64Array: TypeAlias = npt.NDArray[np.float64]
RealArray: TypeAlias = Float32Array | Float64Array
"""Of either precision."""
Int32Array: TypeAlias = npt.NDArray[np.int32]
Int64Array: TypeAlias = npt.NDArray[np.int64]
IndexArray: TypeAlias = npt.NDArray[np.intp]
"""Indices into another array, as NumPy's own functions give them."""
BoolArray: TypeAlias = npt.NDArray[np.bool_]
UInt8Array: TypeAlias = npt.NDArray[np.uint8]
"""Images (H, W, 3) in sRGB and masks (H, W), unless stated otherwise."""
