"""Upright sRGB image of one decoded video frame: colour, fields, shape of pixels, display matrix."""

import struct
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import av
import numpy as np
from av.sidedata.sidedata import Type as SideDataType
from av.video.reformatter import Colorspace
from PIL import Image

from fitme.arrays import Float32Array, UInt8Array
from fitme.ingest.frame import working_size
from fitme.ingest.hdr import linear_of_hlg, linear_of_pq, srgb_primaries_of_bt2020

LARGEST_PIXEL_ASPECT = 4.0
"""Width of a pixel over its height, or the reverse, beyond which metadata are not believed."""
LARGEST_SD_HEIGHT_PX = 576
"""Height above which video without metadata has the colours of HD, BT.709, as ITU-R BT.709 and players have it."""

# ITU-T H.273: matrix coefficients, primaries, transfer characteristics.
_UNSPECIFIED = 2
_BT2020_PRIMARIES = 9
_PQ, _HLG = 16, 18
_FIXED_POINT = 65536.0
_SIXTEEN_BIT = 65535.0
_MATRIX_BYTES = 36


@dataclass(frozen=True)
class _DisplayMatrix:
    """Symmetry that turns decoded frames upright."""

    transposed: bool = False
    mirrored_x: bool = False
    """After the transposition."""
    mirrored_y: bool = False

    def apply(self, image: UInt8Array) -> UInt8Array:
        turned = image.swapaxes(0, 1) if self.transposed else image
        turned = turned[:, ::-1] if self.mirrored_x else turned
        turned = turned[::-1] if self.mirrored_y else turned
        return np.ascontiguousarray(turned)


def upright_rgb(frame: av.VideoFrame, pixel_aspect: Fraction | None) -> UInt8Array:
    """(H, W, 3) sRGB of a decoded frame, at the working size, as a player shows it.

    Of interlaced video one field is taken. HDR becomes SDR with its white at 203 cd/m2; brighter light is clipped.

    :param pixel_aspect: width of a pixel over its height; square if None.
    """
    width, height = working_size(*_display_size(frame, pixel_aspect))
    if frame.color_trc in (_PQ, _HLG) or frame.color_primaries == _BT2020_PRIMARIES:
        image = _sdr_of_hdr(frame, width, height)
    elif frame.interlaced_frame:
        # The two fields show different moments: all of it would have combed edges.
        field = _rgb(frame, frame.width, frame.height)[::2]
        image = np.asarray(Image.fromarray(field).resize((width, height), Image.Resampling.BICUBIC))
    else:
        image = _rgb(frame, width, height)
    return _display_matrix(frame).apply(image)


def _display_size(frame: av.VideoFrame, pixel_aspect: Fraction | None) -> tuple[int, int]:
    aspect = float(pixel_aspect) if pixel_aspect else 1.0
    if not 1.0 / LARGEST_PIXEL_ASPECT <= aspect <= LARGEST_PIXEL_ASPECT:
        aspect = 1.0
    return max(1, round(frame.width * aspect)), frame.height


def _rgb(frame: av.VideoFrame, width: int, height: int) -> UInt8Array:
    converted = frame.to_ndarray(format="rgb24", width=width, height=height, src_colorspace=_matrix(frame))
    return converted.astype(np.uint8, copy=False)


def _matrix(frame: av.VideoFrame) -> int | None:
    """Matrix of luma and chroma, where the frame does not name one."""
    if frame.colorspace != _UNSPECIFIED:
        return None  # The frame's own.
    return Colorspace.ITU709 if frame.height > LARGEST_SD_HEIGHT_PX else Colorspace.ITU601


def _sdr_of_hdr(frame: av.VideoFrame, width: int, height: int) -> UInt8Array:
    # Imports torch, which other videos do without.
    from fitme.color import linear_to_bytes

    codes = frame.to_ndarray(format="rgb48le", width=width, height=height, src_colorspace=_matrix(frame))
    encoded: Float32Array = (codes / np.float32(_SIXTEEN_BIT)).astype(np.float32)
    if frame.color_trc == _HLG:
        linear = linear_of_hlg(encoded)
    elif frame.color_trc == _PQ:
        linear = linear_of_pq(encoded)
    else:  # SDR with wide primaries: displays decode BT.2020's curve as BT.1886 does.
        linear = (encoded**2.4).astype(np.float32)
    if frame.color_primaries == _BT2020_PRIMARIES:
        linear = srgb_primaries_of_bt2020(linear)
    return linear_to_bytes(linear)


def _display_matrix(frame: av.VideoFrame) -> _DisplayMatrix:
    """Symmetry of the frame's display matrix (ISO/IEC 14496-12, 8.3.2): x' = a x + c y, y' = b x + d y."""
    side_data: Any = frame.side_data  # Its stubs name another type of key.
    entry = side_data.get(SideDataType.DISPLAYMATRIX)
    if entry is None:
        return _DisplayMatrix()
    a, b, _, c, d, *_ = (value / _FIXED_POINT for value in struct.unpack("<9i", bytes(entry)[:_MATRIX_BYTES]))
    if abs(a) + abs(d) >= abs(b) + abs(c):
        return _DisplayMatrix(mirrored_x=a < 0, mirrored_y=d < 0)
    return _DisplayMatrix(transposed=True, mirrored_x=c < 0, mirrored_y=b < 0)
