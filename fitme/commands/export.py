"""`fitme export`: avatar files for other programs."""

from pathlib import Path
from typing import Annotated

import typer

from fitme.errors import InputError


def export(
    avatar: Annotated[Path, typer.Argument(help="Folder that `fitme fit` wrote, or its avatar.safetensors.")],
    out: Annotated[Path, typer.Option(help="File to write: .glb with everything, or .obj with the neutral head.")],
) -> None:
    """Write an avatar as a binary glTF with maps and 52 blendshapes, or as a plain mesh."""
    import torch

    from fitme.avatar import Avatar
    from fitme.export.gltf import write_glb
    from fitme.export.obj import write_obj
    from fitme.export.portrait import portrait_pose
    from fitme.shape.model_file import load_default_model

    suffix = out.suffix.lower()
    if suffix not in (".glb", ".obj"):
        raise InputError(f"{out}: name a .glb or an .obj file")
    loaded, model = Avatar.load(avatar), load_default_model()
    out.parent.mkdir(parents=True, exist_ok=True)
    if suffix == ".glb":
        write_glb(loaded, model, out)
        return
    with torch.no_grad():
        neutral = model.neutral(loaded.identity[None])[0].numpy()
    write_obj(model, neutral, portrait_pose(0.0), out)
