"""Photos of all common formats are read upright, as sRGB bytes, at the working size; other files are refused."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import ExifTags, Image, ImageCms

from fitme.errors import InputError
from fitme.ingest.frame import WORKING_SIDE_PX
from fitme.ingest.photos import FULL_FRAME_DIAGONAL_MM, read_photo

WIDTH, HEIGHT = 96, 64


@pytest.fixture
def upright() -> np.ndarray:
    """Smooth image whose four quarters have different colours, so that all orientations differ."""
    image = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    image[: HEIGHT // 2, : WIDTH // 2] = (200, 40, 40)
    image[: HEIGHT // 2, WIDTH // 2 :] = (40, 200, 40)
    image[HEIGHT // 2 :, : WIDTH // 2] = (40, 40, 200)
    image[HEIGHT // 2 :, WIDTH // 2 :] = (180, 180, 60)
    return image


STORED_FROM_UPRIGHT = {
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.swapaxes(0, 1),
    6: lambda a: np.rot90(a, 1),
    7: lambda a: a[::-1, ::-1].swapaxes(0, 1),
    8: lambda a: np.rot90(a, -1),
}
"""Stored pixels of an upright image, by EXIF orientation."""


@pytest.mark.parametrize("orientation", sorted(STORED_FROM_UPRIGHT))
def test_exif_orientation_is_applied(tmp_path: Path, upright: np.ndarray, orientation: int):
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    stored = np.ascontiguousarray(STORED_FROM_UPRIGHT[orientation](upright))
    Image.fromarray(stored).save(tmp_path / "a.png", exif=exif)
    assert np.array_equal(read_photo(tmp_path / "a.png").image, upright)


def test_greyscale_becomes_three_equal_channels(tmp_path: Path, upright: np.ndarray):
    grey = upright[..., 1]
    Image.fromarray(grey).save(tmp_path / "a.png")
    image = read_photo(tmp_path / "a.png").image
    assert image.shape == (HEIGHT, WIDTH, 3)
    assert all(np.array_equal(image[..., c], grey) for c in range(3))


def test_transparent_pixels_show_mid_grey(tmp_path: Path, upright: np.ndarray):
    alpha = np.full((HEIGHT, WIDTH, 1), 255, np.uint8)
    alpha[:10] = 0
    alpha[10:20] = 128
    Image.fromarray(np.concatenate([upright, alpha], -1)).save(tmp_path / "a.png")
    image = read_photo(tmp_path / "a.png").image.astype(int)
    assert (image[:10] == 128).all()
    assert np.abs(image[10:20] - (upright[10:20] / 2 + 64)).max() <= 1.5
    assert np.array_equal(image[20:], upright[20:])


def test_palette_with_transparency(tmp_path: Path, upright: np.ndarray):
    Image.fromarray(upright).convert("P").save(tmp_path / "a.gif", transparency=0)
    assert read_photo(tmp_path / "a.gif").image.shape == (HEIGHT, WIDTH, 3)


def test_sixteen_bits_are_scaled_not_clipped(tmp_path: Path, upright: np.ndarray):
    Image.fromarray(upright[..., 0].astype(np.uint16) * 257).save(tmp_path / "a.png")
    assert np.array_equal(read_photo(tmp_path / "a.png").image[..., 0], upright[..., 0])


def test_cmyk(tmp_path: Path, upright: np.ndarray):
    Image.fromarray(upright).convert("CMYK").save(tmp_path / "a.tif")
    assert np.abs(read_photo(tmp_path / "a.tif").image.astype(int) - upright).max() <= 2


@pytest.mark.parametrize("ending", ["gif", "webp", "png", "tif", "avif"])
def test_an_animated_or_paged_image_is_its_first_image(tmp_path: Path, ending: str):
    images = [Image.new("RGB", (64, 48), (40 * index, 0, 0)) for index in range(1, 4)]
    images[0].save(tmp_path / f"a.{ending}", save_all=True, append_images=images[1:])
    image = read_photo(tmp_path / f"a.{ending}").image
    assert image.shape == (48, 64, 3)
    assert np.abs(image.astype(int) - (40, 0, 0)).mean() < 2


def test_embedded_profile_is_converted_to_srgb(tmp_path: Path, upright: np.ndarray):
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    Image.fromarray(upright).save(tmp_path / "a.png", icc_profile=profile)
    assert np.abs(read_photo(tmp_path / "a.png").image.astype(int) - upright).max() <= 1
    Image.fromarray(upright).save(tmp_path / "b.png", icc_profile=b"no profile at all")
    assert np.array_equal(read_photo(tmp_path / "b.png").image, upright)


def test_twenty_megapixels_are_reduced(tmp_path: Path, upright: np.ndarray):
    Image.fromarray(upright).resize((5472, 3648), Image.Resampling.NEAREST).save(tmp_path / "a.jpg", quality=60)
    image = read_photo(tmp_path / "a.jpg").image
    assert image.shape == (round(WORKING_SIDE_PX * 3648 / 5472), WORKING_SIDE_PX, 3)
    corners = image[[20, 20, -20, -20], [20, -20, 20, -20]].astype(int)
    assert np.abs(corners - upright[[0, 0, -1, -1], [0, -1, 0, -1]]).max() <= 6


def test_focal_length_from_exif(tmp_path: Path, upright: np.ndarray):
    exif = Image.Exif()
    exif.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.FocalLengthIn35mmFilm] = 50
    Image.fromarray(upright).save(tmp_path / "a.jpg", exif=exif)
    focal = read_photo(tmp_path / "a.jpg").focal
    assert focal == pytest.approx(50 / FULL_FRAME_DIAGONAL_MM * np.hypot(WIDTH, HEIGHT) / WIDTH)


def test_the_focal_length_of_a_cropped_photo_is_ignored(tmp_path: Path, upright: np.ndarray):
    exif = Image.Exif()
    camera = exif.get_ifd(ExifTags.IFD.Exif)
    camera[ExifTags.Base.FocalLengthIn35mmFilm] = 50
    camera[ExifTags.Base.ExifImageWidth], camera[ExifTags.Base.ExifImageHeight] = 400, 100
    Image.fromarray(upright).save(tmp_path / "a.jpg", exif=exif)
    assert read_photo(tmp_path / "a.jpg").focal is None


@pytest.mark.parametrize("suffix", ["png", "jpg"])
def test_truncated_image_is_refused(tmp_path: Path, suffix: str):
    noise = np.random.default_rng(0).integers(0, 255, (200, 200, 3), np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(noise).save(buffer, "JPEG" if suffix == "jpg" else "PNG")
    path = tmp_path / f"a.{suffix}"
    path.write_bytes(buffer.getvalue()[: len(buffer.getvalue()) // 2])
    with pytest.raises(InputError, match="truncated"):
        read_photo(path)


@pytest.mark.parametrize(
    ("content", "message"), [(b"just words\n" * 20, "not an image"), (b"", "not an image"), (None, "no such file")]
)
def test_a_file_without_an_image_is_refused(tmp_path: Path, content: bytes | None, message: str):
    path = tmp_path / "a.jpg"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InputError, match=message):
        read_photo(path)


def test_tiny_image_is_refused(tmp_path: Path):
    Image.new("RGB", (20, 200)).save(tmp_path / "a.png")
    with pytest.raises(InputError, match="too few"):
        read_photo(tmp_path / "a.png")
