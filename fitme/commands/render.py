"""`fitme render`: render or turntable of an avatar."""

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fitme.errors import InputError

if TYPE_CHECKING:
    from fitme.render.environment.surroundings import Surroundings

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
    environment: Annotated[
        str | None,
        typer.Option(
            help="Light by picture: a panorama (.hdr, .exr, .jpg, .png) or studio, window, overcast, sunset, club."
        ),
    ] = None,
    turn: Annotated[float, typer.Option(help="Degrees by which the surroundings turn, to the left.")] = 0.0,
    expression: Annotated[
        list[str] | None, typer.Option(help="ARKit coefficient, as in jawOpen=0.5; may be repeated.")
    ] = None,
    size: Annotated[int, typer.Option(min=64, max=4096, help="Pixels a side of an image.")] = 1024,
) -> None:
    """Draw an avatar from any side, in any light; an .mp4 shows it turning under a moving light.

    With --environment the surroundings light the avatar instead of the key light, and lie blurred behind it.
    """
    from PIL import Image

    from fitme.avatar import Avatar
    from fitme.export.portrait import draw_portrait, portrait_light, portrait_pose
    from fitme.export.turntable import write_turntable
    from fitme.shape.model_file import load_default_model

    suffix = out.suffix.lower()
    if suffix not in IMAGE_SUFFIXES + MOVIE_SUFFIXES:
        raise InputError(f"{out}: name an image ({', '.join(IMAGE_SUFFIXES)}) or a turntable (.mp4)")
    coefficients = _coefficients(expression or [])
    surroundings = _surroundings(environment, turn)
    loaded, model = Avatar.load(avatar), load_default_model()
    out.parent.mkdir(parents=True, exist_ok=True)
    if suffix in MOVIE_SUFFIXES:
        write_turntable(loaded, model, out.absolute(), surroundings)
        return
    image = draw_portrait(
        loaded,
        model,
        coefficients,
        portrait_pose(math.radians(yaw), math.radians(pitch)),
        surroundings or portrait_light(math.radians(light[0]), math.radians(light[1]), intensity),
        size,
    )
    Image.fromarray(image).save(out)


def _surroundings(source: str | None, turn_deg: float) -> "Surroundings | None":
    """Surroundings of a preset's name or of a panorama's file."""
    if source is None:
        return None
    from fitme.render.environment.files import load_environment
    from fitme.render.environment.surroundings import surroundings_of

    return surroundings_of(load_environment(source), math.radians(turn_deg))


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
