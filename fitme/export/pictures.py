"""The pictures of an output folder that show how well a fit explains each frame."""

from pathlib import Path

from PIL import Image

from fitme.arrays import UInt8Array


def write_triple(folder: Path, name: str, image: UInt8Array, render: UInt8Array, mask: UInt8Array) -> None:
    """Write `NAME_input.png` and `NAME_render.png` (H, W, 3), and `NAME_mask.png` (H, W), 255 where the render is."""
    for kind, picture in (("input", image), ("render", render), ("mask", mask)):
        Image.fromarray(picture).save(folder / f"{name}_{kind}.png", compress_level=1)
