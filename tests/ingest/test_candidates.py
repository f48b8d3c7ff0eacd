"""Candidates of photos, folders and videos, in order; errors name a file that is neither an image nor a video."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fitme.errors import InputError
from fitme.export.video import write_mp4
from fitme.ingest import candidates as gathering
from fitme.ingest.candidates import gather, read
from fitme.ingest.prefetch import Prefetcher


@pytest.fixture
def inputs(tmp_path: Path) -> Path:
    for index in range(3):
        Image.new("RGB", (64, 48), (80 * index, 0, 0)).save(tmp_path / f"photo{index}.png")
    write_mp4((np.full((48, 64, 3), 5 * i, np.uint8) for i in range(40)), 20, tmp_path / "clip.mp4")
    (tmp_path / "notes.txt").write_text("nothing to see\n" * 50)
    return tmp_path


def test_photos_folders_and_videos(inputs: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(gathering, "CANDIDATES", 8)
    assert [candidate.path.name for candidate in gather([inputs])] == ["photo0.png", "photo1.png", "photo2.png"]
    candidates = gather([inputs / "photo2.png", inputs / "clip.mp4", inputs / "photo0.png"])
    assert len(candidates) == 1 + 8 + 1
    images = list(read(candidates[::2]))
    assert [found.frame for found, _ in images] == [candidate.frame for candidate in candidates[::2]]
    times = [frame.timestamp_s for found, frame in images if found.video is not None]
    assert times == [found.frame / 20 for found, _ in images if found.video is not None]
    assert images[0][1].source == "photo2.png"


@pytest.mark.parametrize(
    ("name", "message"),
    [("notes.txt", "notes.txt: not a video"), ("missing.jpg", "missing.jpg: there is no such file")],
)
def test_errors_name_the_file(inputs: Path, name: str, message: str):
    with pytest.raises(InputError, match=message):
        gather([inputs / "photo0.png", inputs / name])


def test_a_damaged_image_is_reported_as_an_image(inputs: Path):
    path = inputs / "photo1.png"
    path.write_bytes(path.read_bytes()[:60])
    with pytest.raises(InputError, match=r"photo1.png: the image is truncated"):
        list(read(gather([path])))
    path.write_bytes(b"\0" * 60)
    with pytest.raises(InputError, match=r"photo1.png: not an image"):
        list(read(gather([path])))


def test_empty_folder_is_refused(tmp_path: Path):
    with pytest.raises(InputError, match="no photos"):
        gather([tmp_path])


def test_images_that_an_earlier_fit_wrote_are_not_photos(inputs: Path):
    Image.new("RGB", (64, 48)).save(inputs / "diffuse.png")
    (inputs / "report.json").write_text('{"fitme": "0.1.0", "files": ["diffuse.png", "photo0.png"]}')
    assert [candidate.path.name for candidate in gather([inputs])] == ["photo0.png", "photo1.png", "photo2.png"]
    for index in range(3):
        (inputs / f"photo{index}.png").unlink()
    with pytest.raises(InputError, match="only images that an earlier fit wrote"):
        gather([inputs])


@pytest.mark.parametrize("name", ["a:b.mp4", "-dash.mp4", "портрет.mp4", "file:a.mp4", "100%d.mp4"])
def test_videos_of_any_name_are_read(inputs: Path, monkeypatch: pytest.MonkeyPatch, name: str):
    monkeypatch.chdir(inputs)
    Path("clip.mp4").rename(name)
    candidates = gather([Path(name)])
    assert len(list(read(candidates[:2]))) == 2


def test_what_a_folder_holds_beside_photos_is_skipped_with_the_reason(inputs: Path):
    (inputs / "._photo0.jpg").write_bytes(b"\0\5\x16\7\0\2\0\0Mac OS X        " + bytes(4000))
    half = (inputs / "photo1.png").read_bytes()
    (inputs / "half.png").write_bytes(half[: len(half) // 2])
    (inputs / "drawing.eps").write_text("%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 90 90\n%%EndComments\n")
    (inputs / "raw.dng").write_bytes(half)
    (inputs / "phone.heic").write_bytes(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(100))
    with Prefetcher(gather([inputs])) as prefetcher:
        names = [prefetched.frame.source for prefetched in prefetcher]
    assert names == ["photo0.png", "photo1.png", "photo2.png"]
    reasons = prefetcher.unreadable
    assert set(reasons) == {"._photo0.jpg", "half.png", "drawing.eps", "raw.dng", "phone.heic"}
    assert "not an image" in reasons["._photo0.jpg"]
    assert "truncated" in reasons["half.png"]
    assert "a drawing (EPS)" in reasons["drawing.eps"]
    assert "camera raw" in reasons["raw.dng"]
    for name in reasons:
        with pytest.raises(InputError, match=name.replace(".", r"\.")), Prefetcher(gather([inputs / name])) as named:
            list(named)


def test_a_reduced_image_of_a_tiff_is_no_photo(tmp_path: Path):
    Image.new("RGB", (64, 48)).save(tmp_path / "preview.tif", tiffinfo={254: 1})
    with pytest.raises(InputError, match="camera raw"):
        list(read(gather([tmp_path / "preview.tif"])))


def test_heic_is_read_whole_or_names_what_is_missing(tmp_path: Path):
    path = tmp_path / "IMG_0001.HEIC"
    try:
        from pillow_heif import register_heif_opener
    except ImportError:
        path.write_bytes(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(100))
        with pytest.raises(InputError, match="pillow-heif"):
            list(read(gather([path])))
        return
    register_heif_opener()
    Image.new("RGB", (700, 640), (200, 30, 30)).save(path, format="HEIF")
    ((_, frame),) = read(gather([path]))
    assert frame.image.shape == (640, 700, 3)
