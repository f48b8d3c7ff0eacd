"""FitMe: relightable 3D face avatars fitted to photos and video.

After Lattas et al., "FitMe: Deep Photorealistic 3D Morphable Model Avatars", CVPR 2023.

    import fitme

    fitted = fitme.fit_avatar("me.jpg", seconds=20)
    image = fitme.render_avatar(fitted.avatar, yaw=20, light=fitme.key_light(azimuth=60), expression={"jawOpen": 0.3})
    fitme.write_glb(fitted.avatar, "me.glb")

Nothing is imported before it is used. The package is usable without any server; nothing in it imports `stream`.
"""

from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fitme.api.fit import Fit, fit_avatar, resume_fit
    from fitme.api.rendering import (
        environment_light,
        key_light,
        load_avatar,
        render_avatar,
        write_glb,
        write_turntable,
    )
    from fitme.avatar import Avatar
    from fitme.errors import FitmeError
    from fitme.shape.expressions import EXPRESSION_NAMES

__all__ = [
    "EXPRESSION_NAMES",
    "Avatar",
    "Fit",
    "FitmeError",
    "__version__",
    "environment_light",
    "fit_avatar",
    "key_light",
    "load_avatar",
    "render_avatar",
    "resume_fit",
    "write_glb",
    "write_turntable",
]

_MODULES = {
    "EXPRESSION_NAMES": "fitme.shape.expressions",
    "Avatar": "fitme.avatar",
    "Fit": "fitme.api.fit",
    "FitmeError": "fitme.errors",
    "environment_light": "fitme.api.rendering",
    "fit_avatar": "fitme.api.fit",
    "key_light": "fitme.api.rendering",
    "load_avatar": "fitme.api.rendering",
    "render_avatar": "fitme.api.rendering",
    "resume_fit": "fitme.api.fit",
    "write_glb": "fitme.api.rendering",
    "write_turntable": "fitme.api.rendering",
}
"""Module of each public name, imported when the name is first used."""


def __getattr__(name: str) -> object:
    if name == "__version__":
        try:
            return version("fitme")
        except PackageNotFoundError:  # A source tree on the path, not installed.
            return "0+unknown"
    if name not in _MODULES:
        raise AttributeError(f"module 'fitme' has no attribute {name!r}")
    try:
        value: object = getattr(import_module(_MODULES[name]), name)
    except ImportError:
        from fitme.native_libraries import check_native_libraries

        check_native_libraries()
        raise
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
