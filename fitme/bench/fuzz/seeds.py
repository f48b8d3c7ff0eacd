"""Small intact pictures and videos of many formats, which fuzzing damages."""

import io
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import av
import numpy as np
from PIL import Image, ImageCms

from fitme.arrays import UInt8Array

FRAMES_OF_ANIMATION = 3
RATE_HZ = 30
_FOCAL_TAG, _ORIENTATION_TAG, _EXIF_IFD = 0xA405, 0x0112, 0x8769


@dataclass(frozen=True)
class Seed:
    """Intact file."""

    name: str
    """Name with the ending by which players open it."""
    content: bytes


def picture_seeds(image: UInt8Array) -> list[Seed]:
    """One picture (H, W, 3) uint8 sRGB in the formats and modes that readers of photos meet."""
    rgb = Image.fromarray(image)
    grey, palette, transparent = rgb.convert("L"), rgb.convert("P"), rgb.convert("RGBA")
    animated: dict[str, Any] = {"save_all": True, "append_images": [rgb.rotate(5.0)] * (FRAMES_OF_ANIMATION - 1)}
    exif = Image.Exif()
    exif[_ORIENTATION_TAG] = 6
    exif.get_ifd(_EXIF_IFD)[_FOCAL_TAG] = 26
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    deep = Image.fromarray(np.asarray(grey).astype(np.uint16) * 257)
    return [
        _picture("camera.jpg", rgb, exif=exif, icc_profile=profile),
        _picture("progressive.jpg", rgb, progressive=True),
        _picture("grey.jpg", grey),
        _picture("print.jpg", rgb.convert("CMYK")),
        _picture("stereo.mpo", rgb, **animated),
        _picture("plain.png", rgb, exif=exif),
        _picture("deep.png", deep),
        _picture("palette.png", palette, transparency=0),
        _picture("animated.png", transparent, **animated),
        _picture("animated.gif", rgb, **animated),
        _picture("lossy.webp", rgb, exif=exif),
        _picture("animated.webp", rgb, lossless=True, **animated),
        _picture("raw.tiff", rgb),
        _picture("lzw.tiff", rgb, compression="tiff_lzw"),
        _picture("jpeg.tiff", rgb, compression="jpeg"),
        _picture("plain.bmp", rgb),
        _picture("plain.avif", rgb),
        _picture("plain.jp2", rgb),
        _picture("plain.ppm", rgb),
        _picture("plain.tga", rgb, compression="tga_rle"),
        _picture("plain.ico", rgb),
        _picture("plain.qoi", rgb),
        _picture("plain.dds", rgb),
        _picture("plain.pcx", rgb),
        _picture("plain.sgi", rgb),
    ]


def video_seeds(images: Sequence[UInt8Array]) -> list[Seed]:
    """One video of pictures (H, W, 3) uint8 sRGB in the containers and codecs that people have; sides are even."""
    fast = {"preset": "ultrafast"}
    hdr = {"color_primaries": 9, "color_trc": 18, "colorspace": 9}
    return [
        _video("phone.mp4", images, "libx264", options=fast),
        _video("screen.mp4", images, "libx264", "yuv444p", options=fast),
        _video("interlaced.mp4", images, "libx264", options={**fast, "x264-params": "tff=1"}),
        _video("phone.mov", images, "libx265", "yuv420p10le", {**fast, "x265-params": "log-level=none"}, hdr),
        _video("camera.mov", images, "prores", "yuv422p10le"),
        _video("recording.mkv", images, "libx264", options=fast),
        _video("lossless.mkv", images, "ffv1"),
        _video("browser.webm", images, "libvpx", options={"deadline": "realtime"}),
        _video("site.webm", images, "libvpx-vp9", options={"deadline": "realtime", "cpu-used": "8"}),
        _video("site.mp4", images, "libsvtav1", options={"preset": "11"}),
        _video("webcam.avi", images, "mjpeg", "yuvj420p"),
        _video("old.avi", images, "mpeg4"),
        _video("disc.mpg", images, "mpeg2video"),
        _video("broadcast.ts", images, "libx264", options=fast),
        _video("stream.flv", images, "libx264", options=fast),
        _video("old.3gp", images, "mpeg4"),
        _video("raw.h264", images, "libx264", options=fast),
        _video("raw.y4m", images, "wrapped_avframe"),
    ]


def _picture(name: str, image: Image.Image, **options: Any) -> Seed:  # noqa: ANN401 (Pillow's own options)
    file = io.BytesIO()
    image.save(file, Image.registered_extensions()[f".{name.rpartition('.')[2]}"], **options)
    return Seed(name, file.getvalue())


def _video(
    name: str,
    images: Sequence[UInt8Array],
    codec: str,
    pixels: str = "yuv420p",
    options: dict[str, str] | None = None,
    color: dict[str, int] | None = None,
) -> Seed:
    file = io.BytesIO()
    with av.open(file, "w", format=_FORMATS[name.rpartition(".")[2]]) as container:
        stream: Any = container.add_stream(codec, rate=RATE_HZ, options=options or {})
        stream.height, stream.width = images[0].shape[:2]
        stream.pix_fmt = pixels
        for field, value in (color or {}).items():
            setattr(stream.codec_context, field, value)
        for index, image in enumerate(images):
            frame = av.VideoFrame.from_ndarray(image, format="rgb24").reformat(format=pixels)
            frame.pts, frame.time_base = index, Fraction(1, RATE_HZ)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return Seed(name, file.getvalue())


_FORMATS = {
    "mp4": "mp4",
    "mov": "mov",
    "mkv": "matroska",
    "webm": "webm",
    "avi": "avi",
    "mpg": "mpeg",
    "ts": "mpegts",
    "flv": "flv",
    "3gp": "3gp",
    "h264": "h264",
    "y4m": "yuv4mpegpipe",
}
"""FFmpeg's name of the format of each ending."""
