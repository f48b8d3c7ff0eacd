"""`fitme export`: avatar files for other programs."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from fitme.errors import InputError

SUFFIXES = (".glb", ".vrm", ".obj")


class CompressionOption(StrEnum):
    """Values of --compress."""

    MESHOPT = "meshopt"
    DRACO = "draco"


class TexturesOption(StrEnum):
    """Values of --textures."""

    WEBP = "webp"
    KTX2 = "ktx2"


def export(
    avatar: Annotated[Path, typer.Argument(help="Folder that `fitme fit` wrote, or its avatar.safetensors.")],
    out: Annotated[
        Path, typer.Option(help="File to write: .glb with everything, .vrm with a body, or .obj with the neutral head.")
    ],
    body: Annotated[bool, typer.Option("--body", help="Add a body; the file is a VRM 1.0 as well.")] = False,
    take: Annotated[Path | None, typer.Option(help="Recorded motion (.jsonl) to play as the file's animation.")] = None,
    author: Annotated[str | None, typer.Option(help="Author that a VRM names.")] = None,
    compress: Annotated[CompressionOption | None, typer.Option(help="Compress geometry and blendshapes.")] = None,
    textures: Annotated[TexturesOption | None, typer.Option(help="Smaller textures than PNG.")] = None,
) -> None:
    """Write an avatar for other programs: maps, skeleton, 52 ARKit blendshapes, 15 visemes; docs/tools has a page each.

    meshopt and draco need Node.js with gltfpack or gltf-transform, ktx2 KTX-Software.
    """
    from fitme.atomic_file import atomic_file
    from fitme.avatar import Avatar
    from fitme.export.gltf.avatar import ExportOptions, glb_bytes
    from fitme.export.gltf.compression import Compression, TextureFormat, compressed
    from fitme.export.gltf.vrm import VrmMeta
    from fitme.export.obj_scene import write_obj_scene
    from fitme.motion.take import read_take
    from fitme.shape.model_file import load_default_model

    suffix = out.suffix.lower()
    if suffix not in SUFFIXES:
        raise InputError(f"{out}: name a {', '.join(SUFFIXES[:-1])} or {SUFFIXES[-1]} file")
    if suffix != ".glb" and (compress or textures):
        raise InputError(f"{out}: --compress and --textures are for .glb files")
    if suffix == ".obj" and take is not None:
        raise InputError(f"{out}: an .obj holds no motion; export a .glb with --take")
    loaded, model = Avatar.load(avatar), load_default_model()
    options = ExportOptions(
        body=body or suffix == ".vrm",
        vrm=VrmMeta(loaded.name, (author or "unknown",)),
        take=None if take is None else read_take(take),
    )
    content = glb_bytes(loaded, model, options)
    out.parent.mkdir(parents=True, exist_ok=True)
    if suffix == ".obj":
        write_obj_scene(content, out)
        return
    geometry = None if compress is None else Compression(compress.value)
    content = compressed(content, geometry, None if textures is None else TextureFormat(textures.value))
    with atomic_file(out) as partial:
        partial.write_bytes(content)
