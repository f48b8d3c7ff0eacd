"""`fitme render`: render or turntable of an avatar."""

import math
from pathlib import Path
from typing import Annotated

import typer

from fitme.errors import InputError

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp")
MOVIE_SUFFIXES = (".mp4",)


def render(
    avatar: Annotated[Path, typer.Argument(help="Folder that `fitme fit` wrote, or its avatar.safetensors.")],
    out: Annotated[Path, typer.Option(help="Image (.png, .jpg) or turntable (.mp4) to write.")],
    yaw: Annotated[float, typer.Option(help="Degrees by which the head looks to the viewer's right.")] = 0.0,
    pitch: Annotated[float, typer.Option(help="Degrees by which the head looks up.")] = 0.0,
    light: Annotated[
        tuple[float, float], typer.Option(help="Azimuth (to the right) and elevation of the key light, degrees.")
    ] = (35.0, 25.0),
    intensity: Annotated[float, typer.Option(min=0.0, help="Brightness of the key light.")] = 1.0,
    expression: Annotated[
        list[str] | None, typer.Option(help="ARKit coefficient, as in jawOpen=0.5; may be repeated.")
    ] = None,
    size: Annotated[int, typer.Option(min=64, max=4096, help="Pixels a side of an image.")] = 1024,
) -> None:
    """Draw an avatar from any side, in any light; an .mp4 shows it turning under a moving light."""
    from PIL import Image

    from fitme.avatar import Avatar
    from fitme.export.portrait import draw_portrait, portrait_light, portrait_pose
    from fitme.export.turntable import write_turntable
    from fitme.shape.model_file import load_default_model

    suffix = out.suffix.lower()
    if suffix not in IMAGE_SUFFIXES + MOVIE_SUFFIXES:
        raise InputError(f"{out}: name an image ({', '.join(IMAGE_SUFFIXES)}) or a turntable (.mp4)")
    coefficients = _coefficients(expression or [])
    loaded, model = Avatar.load(avatar), load_default_model()
    out.parent.mkdir(parents=True, exist_ok=True)
    if suffix in MOVIE_SUFFIXES:
        write_turntable(loaded, model, out.absolute())
        return
    image = draw_portrait(
        loaded,
        model,
        coefficients,
        portrait_pose(math.radians(yaw), math.radians(pitch)),
        portrait_light(math.radians(light[0]), math.radians(light[1]), intensity),
        size,
    )
    Image.fromarray(image).save(out)


def _coefficients(settings: list[str]) -> dict[str, float]:
    """Parse NAME=VALUE. Raises InputError for a name that ARKit does not have or a value that is no number."""
    from fitme.shape.expressions import EXPRESSION_NAMES

    coefficients = {}
    for setting in settings:
        name, _, value = setting.partition("=")
        if name not in EXPRESSION_NAMES:
            raise InputError(f"{name}: not an ARKit expression; there are {', '.join(EXPRESSION_NAMES)}")
        try:
            coefficients[name] = float(value)
        except ValueError as error:
            raise InputError(f"{setting}: give a value as in {name}=0.5") from error
    return coefficients
