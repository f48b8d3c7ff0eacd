"""Names of the files that `fitme fit` writes to a folder, and those that an earlier fit wrote there.

`report.json` lists the files of its fit; no other file of a folder is taken for an output. Free of torch.
"""

import json
import re
from pathlib import Path
from typing import Any

REPORT_FILE = "report.json"
HOLDOUT_FOLDER = "holdout"
AVATAR_FILES = (
    "avatar.safetensors",
    "avatar.glb",
    "diffuse.png",
    "specular.png",
    "normal.png",
    "observed.png",
    "turntable.mp4",
    REPORT_FILE,
)
"""Files that every fit writes."""
IMAGE_KINDS = ("input", "render", "mask")
"""Images of each keyframe and of each held-out frame, as in `001_input.png`."""

_FRAME_FILE = re.compile(rf"\d{{3,}}\.obj|({HOLDOUT_FOLDER}/)?\d{{3,}}_({'|'.join(IMAGE_KINDS)})\.png", re.ASCII)


def frame_name(index: int) -> str:
    """Number of a keyframe or a held-out frame in the names of its files; `index` counts from 0."""
    return f"{index + 1:03d}"


def planned_files(keyframes: int, held_out: int) -> list[str]:
    """Paths, relative to its folder, of all files of a fit with so many keyframes and held-out frames."""
    return _files([frame_name(index) for index in range(keyframes)], [frame_name(index) for index in range(held_out)])


def is_output_name(name: str) -> bool:
    """Whether a path relative to a fit's folder is one that a fit may write."""
    return name in AVATAR_FILES or _FRAME_FILE.fullmatch(name) is not None


def written_files(folder: Path) -> frozenset[str]:
    """Paths, relative to `folder`, that an earlier fit wrote there by its report; empty without a fit's report.

    Names that no fit writes, and files in folders that a link leads out of `folder`, are left out, whatever the report
    lists.
    """
    try:
        report = json.loads((folder / REPORT_FILE).read_text("utf-8"))
    except (OSError, ValueError):
        return frozenset()
    if not isinstance(report, dict) or not isinstance(report.get("fitme"), str):
        return frozenset()
    root = folder.resolve()
    return frozenset(
        name
        for name in (*_listed(report), REPORT_FILE)
        if is_output_name(name) and (folder / name).parent.resolve().is_relative_to(root)
    )


def _listed(report: dict[str, Any]) -> list[str]:
    """Files that a report lists; those of reports of earlier versions, without a list, follow from their frames."""
    files = report.get("files")
    if isinstance(files, list):
        return [name for name in files if isinstance(name, str)]
    holdout = report.get("holdout")
    return _files(_names(report.get("keyframes")), _names(holdout.get("frames") if isinstance(holdout, dict) else None))


def _names(entries: object) -> list[str]:
    """Names of a report's frames."""
    if not isinstance(entries, list):
        return []
    return [entry["name"] for entry in entries if isinstance(entry, dict) and isinstance(entry.get("name"), str)]


def _files(keyframes: list[str], held_out: list[str]) -> list[str]:
    """Paths of a fit's files from the names of its frames."""
    return [
        *AVATAR_FILES,
        *(f"{name}.obj" for name in keyframes),
        *(f"{name}_{kind}.png" for name in keyframes for kind in IMAGE_KINDS),
        *(f"{HOLDOUT_FOLDER}/{name}_{kind}.png" for name in held_out for kind in IMAGE_KINDS),
    ]
