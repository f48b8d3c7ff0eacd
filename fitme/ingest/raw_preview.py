"""Camera raw files by the image that the camera stored beside its sensor's values: already developed, in sRGB.

Only containers that are TIFF files are read, as DNG, NEF, CR2 and ARW are.
"""

import io
import logging
from collections.abc import Iterator
from pathlib import Path

from PIL import ExifTags, Image, ImageOps
from tifffile import COMPRESSION, PHOTOMETRIC, TiffFile, TiffFileError, TiffPage

from fitme.errors import InputError

SMALLEST_PREVIEW_PX = 1000
"""Longer side below which a stored image is a thumbnail, too small for a fit."""

LARGEST_PREVIEW_PIXELS = 150_000_000
"""Number of pixels above which a stored image is refused before it is decoded."""

# Damage is reported by `InputError`, in one line.
logging.getLogger("tifffile").setLevel(logging.CRITICAL)

_COLOR = (PHOTOMETRIC.RGB, PHOTOMETRIC.YCBCR)
_JPEG = (COMPRESSION.JPEG, COMPRESSION.OJPEG)
_ORIENTATION, _EXIF = "Orientation", "ExifTag"
_JPEG_OFFSET, _JPEG_BYTES = "JPEGInterchangeFormat", "JPEGInterchangeFormatLength"
_UPRIGHT = 1
_CHANNELS = 3
_DAMAGE = (TypeError, AttributeError, LookupError, ArithmeticError)
"""What tifffile raises on tags of unexpected types and values."""


def read_preview(path: Path) -> tuple[Image.Image, int | None]:
    """Largest developed image (RGB) of a raw file, upright, and the focal length, millimetres of the 35 mm equivalent,
    if the file names it.

    :raises InputError: the file holds none whose longer side has `SMALLEST_PREVIEW_PX`, or is damaged.
    """
    try:
        with TiffFile(path) as tiff:
            developed = [page for page in _pages(tiff) if _is_developed(page)]
            largest = max(developed, key=lambda page: page.imagewidth * page.imagelength, default=None)
            if largest is None or max(largest.imagewidth, largest.imagelength) < SMALLEST_PREVIEW_PX:
                raise InputError(f"{path}: this camera raw file has no image of full size in it; export it as JPEG")
            if largest.imagewidth * largest.imagelength > LARGEST_PREVIEW_PIXELS:
                raise InputError(f"{path}: the image in this camera raw file is too large; export it as a smaller JPEG")
            image = _image(largest, tiff)
            first = tiff.pages[0].aspage()
            orientation = first.tags.valueof(_ORIENTATION, _UPRIGHT)
            camera = first.tags.valueof(_EXIF, {})
    except TiffFileError as error:
        raise InputError(f"{path}: camera raw files of this kind are not read; export it as JPEG") from error
    except _DAMAGE as error:
        raise InputError(f"{path}: the camera raw file is damaged ({error})") from error
    # A stored JPEG may have its own orientation; else that of the file holds.
    exif = image.getexif()
    exif[ExifTags.Base.Orientation] = exif.get(ExifTags.Base.Orientation, orientation)
    image.info["exif"] = exif.tobytes()
    focal = camera.get("FocalLengthIn35mmFilm") if isinstance(camera, dict) else None
    return ImageOps.exif_transpose(image), focal if isinstance(focal, int) else None


def _pages(tiff: TiffFile) -> Iterator[TiffPage]:
    """All images of a file, those beside others (SubIFDs) included."""
    for index in range(len(tiff.pages)):
        page = tiff.pages[index].aspage()
        yield page
        for sub in page.pages or ():
            yield sub.aspage()


def _is_developed(page: TiffPage) -> bool:
    """Whether a page is an image in colours, not the sensor's values."""
    flat = (page.imagelength, page.imagewidth, _CHANNELS)
    return page.photometric in _COLOR and page.bitspersample == 8 and page.shape == flat


def _image(page: TiffPage, tiff: TiffFile) -> Image.Image:
    """Decoded image of a page: a whole JPEG in one strip, or plain values."""
    if page.compression in _JPEG:
        offset = page.tags.valueof(_JPEG_OFFSET, page.dataoffsets[0])
        tiff.filehandle.seek(offset)
        data = tiff.filehandle.read(page.tags.valueof(_JPEG_BYTES, page.databytecounts[0]))
        image = Image.open(io.BytesIO(data))
        image.load()
        return image
    return Image.fromarray(page.asarray())
