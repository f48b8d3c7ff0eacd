"""Panoramas from files, and files that are none."""

import struct
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest

from fitme.errors import InputError
from fitme.render.environment.files import EXPANSION, load_environment, read_panorama


@pytest.fixture
def radiance() -> np.ndarray:
    return np.random.default_rng(0).gamma(0.5, 4.0, (32, 64, 3)).astype(np.float32)


def test_a_radiance_file_has_more_than_eight_bits(tmp_path: Path, radiance) -> None:
    cv2.imwrite(str(tmp_path / "room.hdr"), np.ascontiguousarray(radiance[..., ::-1]))
    found = read_panorama(tmp_path / "room.hdr")
    # A common exponent of three channels.
    np.testing.assert_allclose(found, radiance, atol=float(radiance.max(-1).max()) / 128)
    assert found.max() > 5.0


def test_white_of_an_ordinary_image_is_expanded(tmp_path: Path) -> None:
    image = np.full((32, 64, 3), 100, np.uint8)
    image[4:8, 10:20] = 255
    cv2.imwrite(str(tmp_path / "room.png"), image)
    found = read_panorama(tmp_path / "room.png")
    assert found[5, 15, 0] == pytest.approx(1.0 + EXPANSION)
    assert found[20, 40, 0] == pytest.approx(0.127, abs=2e-3)


def test_a_name_is_a_preset(tmp_path: Path) -> None:
    assert len(load_environment("sunset").directions) == 1
    with pytest.raises(InputError, match="studio, window"):
        load_environment(tmp_path / "nothing.hdr")


def _png(width: int, height: int) -> bytes:
    """PNG whose header says a size and whose data are few."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


def exr(width: int, height: int) -> bytes:
    """OpenEXR file that ends after the attribute of its size."""
    return b"v/1\x01\x02\0\0\0dataWindow\0box2i\0" + struct.pack("<Iiiii", 16, 0, 0, width - 1, height - 1) + b"\0"


@pytest.mark.parametrize(
    ("name", "data", "words"),
    [
        ("words.hdr", b"this is no picture", "not a Radiance file"),
        ("words.jpg", b"this is no picture", "not an image"),
        ("cut.hdr", b"#?RADIANCE\nFORMAT=32-bit_rle_rgbe\n\n-Y 64 +X 128\n\x02\x02", "not an image"),
        ("large.png", _png(20000, 10000), "20000 x 10000"),
        ("words.exr", b"this is no picture", "not an OpenEXR file"),
        ("cut.exr", exr(128, 64), "not an image"),
        ("large.exr", exr(20000, 10000), "20000 x 10000"),
        ("large.hdr", b"#?RADIANCE\n\n-Y 10000 +X 20000\n", "million at most"),
        ("empty.png", b"", "not an image"),
    ],
)
def test_what_is_no_panorama_is_refused_in_words(tmp_path: Path, name: str, data: bytes, words: str) -> None:
    (tmp_path / name).write_bytes(data)
    with pytest.raises(InputError, match=words):
        read_panorama(tmp_path / name)


def test_an_ordinary_photo_is_no_panorama(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "photo.jpg"), np.zeros((48, 64, 3), np.uint8))
    with pytest.raises(InputError, match="twice as wide as high"):
        read_panorama(tmp_path / "photo.jpg")
