"""Images of an output folder by which a fit is compared with each frame: the frame, its render, the render's mask."""

from pathlib import Path

from PIL import Image

from fitme.arrays import UInt8Array


def write_triple(folder: Path, name: str, image: UInt8Array, render: UInt8Array, mask: UInt8Array) -> None:
    """Write a frame `NAME_input.png` and its `NAME_render.png` (H, W, 3), sRGB, and the render's mask `NAME_mask.png`
    (H, W), 255 where the head covers a pixel."""
    for kind, pixels in (("input", image), ("render", render), ("mask", mask)):
        Image.fromarray(pixels).save(folder / f"{name}_{kind}.png", compress_level=1)
