"""Reader of photos of all common formats as upright 8-bit sRGB."""

import io
import math
import struct
import warnings
from pathlib import Path

import numpy as np
from PIL import ExifTags, Image, ImageCms, ImageOps, TiffImagePlugin, UnidentifiedImageError

from fitme.arrays import UInt8Array
from fitme.errors import InputError
from fitme.ingest.frame import DETAIL_SIDE_PX, WORKING_SIDE_PX, Frame, working_size

SMALLEST_SIDE_PX = 32
"""Shorter side, pixels, below which an image is refused: it cannot show a usable face."""
LARGEST_PIXELS = 150_000_000
"""Number of pixels above which an image is refused before it is decoded."""
FULL_FRAME_DIAGONAL_MM = 43.27
"""Diagonal of the 36 x 24 mm frame that a 35 mm equivalent focal length refers to (CIPA DCG-001)."""
BACKDROP_SRGB = (128, 128, 128)
"""Colour behind transparent pixels: neutral, so that it shifts neither exposure nor white balance."""

RAW_SUFFIXES = frozenset((".dng", ".cr2", ".cr3", ".nef", ".arw", ".raf", ".orf", ".rw2"))
"""Camera raw files, of which Pillow would read the thumbnail: see `fitme.ingest.raw_preview`."""

DECODER_ERRORS = (OSError, SyntaxError, ValueError, EOFError, RuntimeError, LookupError, struct.error)
"""What decoders of images raise on damaged ones."""

_ASPECT_TOLERANCE = 0.02
_DRAWINGS = ("EPS", "WMF")
"""Formats of Pillow that are rendered, not decoded."""
_HEIF_BRANDS = (b"heic", b"heix", b"hevc", b"hevx", b"heim", b"heis", b"mif1", b"msf1")
"""Major brands of HEIF (ISO/IEC 23008-12)."""
_DNG_VERSION_TAG, _SUBFILE_TYPE_TAG, _REDUCED_RESOLUTION = 50706, 254, 1


def read_photo(path: Path, side_px: int = WORKING_SIDE_PX) -> Frame:
    """Read a photo: orientation from EXIF applied, colours converted to sRGB, the longer side reduced to `side_px`.

    Greyscale, palette, 16-bit, CMYK and transparent images are supported; transparent pixels are composited over mid
    grey. HEIC needs the optional package pillow-heif; a camera raw file
    is read by the image that the camera stored in it.

    :raises InputError: if the file is missing, no image, truncated, too small or too large.
    """
    if not path.is_file():
        raise InputError(f"{path}: there is no such file")
    if is_heif(path):
        _register_heif(path)
    try:
        if path.suffix.lower() in RAW_SUFFIXES:
            # Imported only for such files.
            from fitme.ingest.raw_preview import read_preview

            stored, equivalent_mm = read_preview(path)
            focal = None if equivalent_mm is None else _focal_of_equivalent(equivalent_mm, stored)
            return Frame(np.asarray(_reduced(_to_srgb(stored), side_px)), 0.0, focal, 0, path.name)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            with Image.open(path) as opened:
                _check_content(path, opened)
                _check_size(path, *opened.size)
                focal = _focal_over_longer_side(opened)
                opened.draft("RGB", (2 * side_px, 2 * side_px))
                opened.load()
                image = _reduced(_to_srgb(ImageOps.exif_transpose(opened)), side_px)
    except UnidentifiedImageError as error:
        raise InputError(f"{path}: not an image in a known format; convert it to JPEG or PNG") from error
    except Image.DecompressionBombError as error:
        raise InputError(f"{path}: the image is too large; make it smaller than {LARGEST_PIXELS:,} pixels") from error
    except DECODER_ERRORS as error:
        raise InputError(f"{path}: the image is truncated or damaged ({error})") from error
    return Frame(np.asarray(image), 0.0, focal, 0, path.name)


def is_heif(path: Path) -> bool:
    """Whether a file is a HEIC or HEIF image, by its content."""
    try:
        with path.open("rb") as opened:
            head = opened.read(12)
    except OSError:
        return False
    return head[4:8] == b"ftyp" and head[8:12] in _HEIF_BRANDS


def _register_heif(path: Path) -> None:
    try:
        from pillow_heif import register_heif_opener
    except ImportError as error:
        raise InputError(
            f"{path}: HEIC images need the package pillow-heif (pip install pillow-heif); or export it as JPEG"
        ) from error
    register_heif_opener()


def _check_content(path: Path, opened: Image.Image) -> None:
    """Raise InputError for drawings, and for previews of what is not in the file's first image."""
    if opened.format in _DRAWINGS:
        raise InputError(f"{path}: a drawing ({opened.format}), not a photo; export it as JPEG or PNG")
    if isinstance(opened, TiffImagePlugin.TiffImageFile):
        subfile_type = opened.tag_v2.get(_SUBFILE_TYPE_TAG, 0)
        if _DNG_VERSION_TAG in opened.tag_v2 or subfile_type & _REDUCED_RESOLUTION:
            raise InputError(f"{path}: a camera raw file or a preview, not a photo; export it as JPEG")


def frame_of_image(image: UInt8Array, name: str) -> Frame:
    """Frame of an image (H, W, 3) uint8 sRGB, whose longer side is reduced to `DETAIL_SIDE_PX`.

    :raises InputError: it has another shape or type, or is too small or too large.
    """
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        raise InputError(f"{name}: give an image (H, W, 3) uint8 in sRGB, not {image.shape} {image.dtype}")
    _check_size(name, image.shape[1], image.shape[0])
    return Frame(np.asarray(_reduced(Image.fromarray(image), DETAIL_SIDE_PX)), 0.0, None, 0, name)


def _check_size(path: Path | str, width: int, height: int) -> None:
    if min(width, height) < SMALLEST_SIDE_PX:
        raise InputError(f"{path}: {width} x {height} pixels are too few; use at least {SMALLEST_SIDE_PX} a side")
    if width * height > LARGEST_PIXELS:
        raise InputError(f"{path}: {width} x {height} pixels are too many; make it smaller than {LARGEST_PIXELS:,}")


def _focal_over_longer_side(image: Image.Image) -> float | None:
    """Focal length from EXIF's 35 mm equivalent, unless the image was cropped to another aspect since."""
    camera = image.getexif().get_ifd(ExifTags.IFD.Exif)
    equivalent_mm = camera.get(ExifTags.Base.FocalLengthIn35mmFilm)
    if not isinstance(equivalent_mm, int) or equivalent_mm <= 0:
        return None
    longer, shorter = max(image.size), min(image.size)
    width, height = camera.get(ExifTags.Base.ExifImageWidth), camera.get(ExifTags.Base.ExifImageHeight)
    if isinstance(width, int) and isinstance(height, int) and width > 0 and height > 0:
        taken_aspect = max(width, height) / min(width, height)
        if abs(taken_aspect - longer / shorter) > _ASPECT_TOLERANCE * taken_aspect:
            return None
    return _focal_of_equivalent(equivalent_mm, image)


def _focal_of_equivalent(equivalent_mm: int, image: Image.Image) -> float:
    """Focal length over the longer side, of a 35 mm equivalent."""
    return equivalent_mm / FULL_FRAME_DIAGONAL_MM * math.hypot(*image.size) / max(image.size)


def _to_srgb(image: Image.Image) -> Image.Image:
    """Convert any mode to RGB with sRGB's primaries and curve."""
    if image.mode.startswith("I") or image.mode == "F":
        image = _sixteen_bit_to_grey(image)
    transparent = image.has_transparency_data
    if transparent:
        image = image.convert("RGBA")
        backdrop = Image.new("RGBA", image.size, (*BACKDROP_SRGB, 255))
        backdrop.info = image.info
        image = Image.alpha_composite(backdrop, image).convert("RGB")
    elif image.mode not in ("RGB", "L", "CMYK"):
        image = image.convert("RGB")
    profile = image.info.get("icc_profile")
    if profile:
        try:
            source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
            converted = ImageCms.profileToProfile(image, source, ImageCms.createProfile("sRGB"), outputMode="RGB")
        except (ImageCms.PyCMSError, OSError):
            converted = None  # Damaged, or of another mode: colours are taken for sRGB.
        if converted is not None:
            return converted
    return image.convert("RGB")


def _sixteen_bit_to_grey(image: Image.Image) -> Image.Image:
    """8-bit grey of an integer image in 0..65535 (PNG, TIFF) or a float image in 0..1, which `convert` would clip."""
    values = np.asarray(image).astype(np.float64)
    full_scale = 1.0 if image.mode == "F" else 65535.0
    grey = np.rint(np.clip(np.nan_to_num(values) / full_scale, 0.0, 1.0) * 255.0)
    return Image.fromarray(grey.astype(np.uint8), "L")


def _reduced(image: Image.Image, side_px: int) -> Image.Image:
    size = working_size(*image.size, side_px)
    return image if size == image.size else image.resize(size, Image.Resampling.LANCZOS, reducing_gap=3.0)
