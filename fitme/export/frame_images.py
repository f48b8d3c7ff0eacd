"""PNG files of an output folder that compare a fit with a frame: the frame, its render, the render's mask."""

from pathlib import Path

from PIL import Image

from fitme.arrays import UInt8Array


def write_frame_images(folder: Path, name: str, image: UInt8Array, render: UInt8Array, mask: UInt8Array) -> None:
    """Write a frame as `NAME_input.png`, its render as `NAME_render.png` and the render's mask as `NAME_mask.png`.

    :param image: (H, W, 3) sRGB, the frame.
    :param render: (H, W, 3) sRGB.
    :param mask: (H, W), 255 where the head covers a pixel.
    """
    for kind, pixels in (("input", image), ("render", render), ("mask", mask)):
        Image.fromarray(pixels).save(folder / f"{name}_{kind}.png", compress_level=1)
