"""ARKit's names as other programs spell them: in any case, and with _L and _R for Left and Right."""

from fitme.shape.expressions import EXPRESSION_NAMES

_INDEX = {name.lower(): index for index, name in enumerate(EXPRESSION_NAMES)}
_INDEX |= {
    name.lower().removesuffix(side) + short: index
    for index, name in enumerate(EXPRESSION_NAMES)
    for side, short in (("left", "_l"), ("right", "_r"))
    if name.lower().endswith(side) and name.lower() not in ("jawleft", "jawright", "mouthleft", "mouthright")
}


def index_of(name: str) -> int | None:
    """Position of a name in `EXPRESSION_NAMES`, however it is spelled; None if ARKit has none like it."""
    return _INDEX.get(name.lower())
