"""Camera raw files: the largest image that the camera has stored in one is the photo."""

import io
import struct
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tifffile import TiffWriter

from fitme.errors import InputError
from fitme.ingest.photos import read_photo

COLORS = np.array([[[200, 30, 30], [30, 200, 30]], [[30, 30, 200], [200, 200, 30]]], np.uint8)
"""Of the quarters of the photo."""
DNG_VERSION = (50706, "B", 4, (1, 4, 0, 0), True)
TURNED_RIGHT = 6


def photo(width: int, height: int) -> np.ndarray:
    return np.repeat(np.repeat(COLORS, height // 2, 0), width // 2, 1)


def write_raw(path: Path, width: int, orientation: int = 1) -> None:
    """As cameras do: a thumbnail, beside it the sensor's values and a developed image."""
    sensor = np.zeros((900, 1200), np.uint16)
    with TiffWriter(path) as tiff:
        tags = [DNG_VERSION, (274, "H", 1, orientation, True)]
        tiff.write(photo(160, 120), subifds=2, subfiletype=1, photometric="rgb", extratags=tags)
        tiff.write(sensor, photometric=32803, extratags=[(33421, "H", 2, (2, 2)), (33422, "B", 4, (0, 1, 1, 2))])
        tiff.write(photo(width, width * 3 // 4), subfiletype=1, photometric="rgb")


def write_raw_with_jpeg(path: Path) -> None:
    """A file whose only page is a JPEG in one strip, as in CR2."""
    encoded = io.BytesIO()
    Image.fromarray(photo(1200, 900)).save(encoded, "JPEG", quality=95)
    data = encoded.getvalue()
    entries = [(256, 4, 1200), (257, 4, 900), (258, 3, 8), (259, 3, 6), (262, 3, 6), (273, 4, 0), (277, 3, 3)]
    entries += [(278, 4, 900), (279, 4, len(data))]
    begin = 8 + 2 + 12 * len(entries) + 4
    entries = [(tag, kind, begin if tag == 273 else value) for tag, kind, value in entries]
    packed = b"".join(struct.pack("<HHII", tag, kind, 1, value) for tag, kind, value in entries)
    head = struct.pack("<2sHI", b"II", 42, 8) + struct.pack("<H", len(entries))
    path.write_bytes(head + packed + struct.pack("<I", 0) + data)


def quarters(image: np.ndarray) -> np.ndarray:
    height, width = image.shape[:2]
    return image[height // 4 :: height // 2, width // 4 :: width // 2]


def test_the_largest_stored_image_is_read(tmp_path: Path):
    write_raw(tmp_path / "a.dng", 1200)
    image = read_photo(tmp_path / "a.dng", 4096).image
    assert image.shape == (900, 1200, 3)
    np.testing.assert_array_equal(quarters(image), COLORS)


def test_a_stored_jpeg_is_read(tmp_path: Path):
    write_raw_with_jpeg(tmp_path / "a.cr2")
    np.testing.assert_allclose(quarters(read_photo(tmp_path / "a.cr2", 4096).image), COLORS, atol=6)


def test_the_camera_s_orientation_is_applied(tmp_path: Path):
    write_raw(tmp_path / "a.dng", 1200, TURNED_RIGHT)
    image = read_photo(tmp_path / "a.dng", 4096).image
    assert image.shape == (1200, 900, 3)
    np.testing.assert_array_equal(quarters(image), np.rot90(COLORS, -1))


def test_a_thumbnail_is_no_photo(tmp_path: Path):
    write_raw(tmp_path / "a.dng", 640)
    with pytest.raises(InputError, match="no image of full size"):
        read_photo(tmp_path / "a.dng")


def test_damage_is_one_error(tmp_path: Path):
    write_raw(tmp_path / "a.dng", 1200)
    whole = (tmp_path / "a.dng").read_bytes()
    generator = np.random.default_rng(0)
    read = 0
    for _ in range(60):
        damaged = bytearray(whole[: generator.choice([len(whole), len(whole) // 2, 400])])
        for place in generator.integers(0, 400, 6):
            damaged[place] = generator.integers(256)
        (tmp_path / "b.dng").write_bytes(damaged)
        try:
            read_photo(tmp_path / "b.dng")
            read += 1
        except InputError as error:
            assert "\n" not in str(error)
    assert read < 60
