"""Split of the people whose photographs the generator learns from: some are never trained on, and measured with."""

from pathlib import Path

HELD_OUT_LONDON = (
    "003", "027", "030", "041", "044", "045", "063", "066", "092", "115", "118", "126", "136", "137", "140",
)  # fmt: skip
"""Numbers of the 15 people of the Face Research Lab London Set (DeBruine and Jones 2017) that no network is trained on,
spread over groups of origin, genders and ages. Figures of the real set are of these people."""


def is_held_out(path: Path) -> bool:
    """Whether a portrait shows one of the held-out people; portraits of the set are named NNN_neutral, NNN_smiling."""
    number, _, expression = path.stem.partition("_")
    return expression in ("neutral", "smiling") and number in HELD_OUT_LONDON
